//! Containers of an ordinary user without subordinate ids: owners are recorded for all their processes.

use std::time::{Duration, Instant};

use kiln_tests::{TestEnv, has_mounts};

use crate::world::World;

#[test]
fn containers_live_on_like_those_of_others() {
    let Some(env) = TestEnv::single_id() else { return };
    let world = World::of(env);
    let kiln = |words: &str| world.line(words);
    let script = "touch /f && chown 5:6 /f; echo up; trap 'exit 3' TERM; while :; do sleep 0.05; done";
    let words = ["run", "-d", "--name", "c", "-v", "data:/data", "-e", "A=1", "busybox", "sh", "-c", script];
    world.words(&words).success();
    world.until_logged("c", "up");
    kiln("ps").success().says(["c", "Up"]);
    assert_eq!(kiln("exec c stat -c %u:%g /f").success().stdout(), "5:6\n");
    assert_eq!(kiln("exec -u 8:9 c id -u").success().stdout(), "8\n");
    // What a process leaves behind can go on asking, and when nobody is left nothing of kiln is.
    kiln("exec c sh -c true").success();
    let own = || kiln_tests::processes_of(&world.store()).len();
    let before = own();
    world.words(&["exec", "c", "sh", "-c", "(sleep 0.2; chown 7:7 /f) & exit 0"]).success();
    world.words(&["exec", "c", "sh", "-c", "while [ $(stat -c %u /f) != 7 ]; do sleep 0.05; done"]).success();
    let patience = Instant::now() + Duration::from_secs(10);
    while own() > before {
        assert!(Instant::now() < patience, "what recorded owners for a process stays");
        std::thread::sleep(Duration::from_millis(10)); // they are nobody's children
    }
    kiln("exec c chown 5:6 /f").success();
    kiln("top c").success().says(["sleep"]);
    kiln("stats --no-stream c").success();
    kiln("pause c").failure(1).says(["cannot pause"]);
    world.write("in/f", "from the host");
    let source = world.path("in").display().to_string();
    world.words(&["cp", "-q", &source, "c:/in"]).success();
    assert_eq!(kiln("exec c stat -c %u:%g /in/f").success().stdout(), "0:0\n");
    kiln("cp -q c:/in/f out").success();
    kiln("diff c").success().says(["A /f", "A /in/f"]);
    kiln("rename c d").success();
    kiln("stop d").success();
    assert_eq!(kiln("wait d").success().stdout(), "3\n");
    // Its files and their owners go on into an image, and out as a tar.
    kiln("commit d made").success();
    assert_eq!(kiln("run --rm made stat -c %u:%g /f").success().stdout(), "5:6\n");
    let tar = kiln("export d").success().stdout;
    let mut archive = tar::Archive::new(tar.as_slice());
    let owner = archive.entries().expect("a tar").find_map(|entry| {
        let entry = entry.expect("an entry");
        let is_it = entry.path().is_ok_and(|path| path.ends_with("f") && path.components().count() == 1);
        is_it.then(|| (entry.header().uid().expect("a uid"), entry.header().gid().expect("a gid")))
    });
    assert_eq!(owner, Some((5, 6)));
    kiln("cp -q d:/f out2").success();
    kiln("start d").success();
    kiln("restart -t 1 d").success();
    kiln("kill d").success();
    kiln("container prune -f").success();
    kiln("volume rm data").success();
    assert_eq!(kiln("ps -aq").success().stdout(), "");
    assert!(!has_mounts(&world.store()));
}
