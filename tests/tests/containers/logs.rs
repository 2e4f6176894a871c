//! logs.

use crate::world::World;

#[test]
fn streams_are_kept_apart_and_lines_chosen() {
    for world in World::each() {
        world.line("run --name l busybox sh -c").failure(2);
        world.line("rm l").success();
        world
            .words(&["run", "--name", "l", "busybox", "sh", "-c", "echo 1; echo 2; echo e >&2; echo 3"])
            .success();
        let outcome = world.line("logs l").success();
        assert_eq!((outcome.stdout().as_str(), outcome.stderr.as_str()), ("1\n2\n3\n", "e\n"));
        assert_eq!(world.line("logs --tail 1 l").success().text(), "3\n");
        assert_eq!(world.line("logs -n 0 l").success().text(), "");
        assert_eq!(world.line("logs --tail=all l").success().stdout(), "1\n2\n3\n");
        assert_eq!(world.line("logs --since 1h l").success().stdout(), "1\n2\n3\n");
        assert_eq!(world.line("logs --until 1h l").success().stdout(), "");
        let line = world.line("logs -t --tail 1 l").success().stdout();
        assert!(line.ends_with("Z 3\n") && line.starts_with("20"), "{line}");
        world.line("logs --since never l").failure(1).says(["never"]);
        world.line("logs nosuch").failure(1).says(["no such container"]);
    }
}

#[test]
fn following_goes_on_until_the_end() {
    let world = World::new();
    world.background("--name f", "echo first; while ! test -e /go; do sleep 0.05; done; echo last");
    world.until_logged("f", "first");
    let following = world.kiln(["logs", "-f", "f"]).start();
    world.line("exec f touch /go").success();
    let output = following.wait_with_output().expect("wait");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "first\nlast\n");
}

#[test]
fn a_log_with_limits_keeps_its_end() {
    let world = World::new();
    let flags = "--name r --log-opt max-size=2k --log-opt max-file=2";
    world.background(flags, "i=0; while test $i -lt 200; do echo line $i; i=$((i+1)); done");
    world.line("wait r").success();
    let text = world.line("logs r").success().stdout();
    assert!(text.ends_with("line 199\n") && !text.contains("line 0\n"), "{text}");
    world.background("--name n --log-driver none", "echo unseen");
    world.line("wait n").success();
    assert_eq!(world.line("logs n").success().text(), "");
}
