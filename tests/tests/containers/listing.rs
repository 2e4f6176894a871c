//! ps and inspect.

use crate::world::World;

#[test]
fn filters_and_formats() {
    let world = World::new();
    world.line("create --name a --label k=v busybox").success();
    world.line("run --name b busybox false").failure(1);
    let id = world.background("--name c --label k=w", "sleep 1000");
    let names = |flags: &str| {
        let words: Vec<&str> = ["ps", "--format", "{{.Names}}"].into_iter().chain(flags.split(' ')).collect();
        world.words(&words).success().stdout().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    for (flags, expected) in [
        ("-a", "c b a"),
        ("-n 2", "c b"),
        ("-l", "c"),
        ("-a --filter status=created", "a"),
        ("--filter status=exited", "b"),
        ("-a --filter exited=1", "b"),
        ("-a --filter exited=0", ""),
        ("-a --filter label=k", "c a"),
        ("-a --filter label=k=v", "a"),
        ("-a --filter name=^b$", "b"),
        ("-a --filter ancestor=busybox", "c b a"),
        ("-a --filter ancestor=debian", ""),
        ("-a --filter status=exited --filter status=created", "b a"),
        ("--no-trunc", "c"),
    ] {
        assert_eq!(names(flags), expected, "{flags}");
    }
    assert_eq!(world.line("ps -q").success().stdout(), format!("{}\n", &id[..12]));
    assert_eq!(world.line("ps -q --no-trunc").success().stdout(), format!("{id}\n"));
    let json = world.line("ps --format json").success().json();
    assert_eq!((json["Names"].as_str(), json["State"].as_str()), (Some("c"), Some("running")));
    let table = world.words(&["ps", "--format", "table {{.Names}}\t{{.Image}}"]).success().stdout();
    assert_eq!(table, "NAMES   IMAGE\nc       busybox\n");
    world
        .line("ps")
        .success()
        .says(["CONTAINER ID", "COMMAND", "\"sh -c 'sleep 1000'\""])
        .says_not(["IMAGE ID"]);
    world.line("ps --filter bogus=1").failure(1).says(["bogus"]);
    world.line("ps --format {{.Nope}}").failure(1).says(["Nope"]);
}

#[test]
fn inspect_tells_what_was_asked_for() {
    let world = World::new();
    let id = world
        .line("create --name i -e A=1 -w /x --label l=m --restart on-failure:3 --stop-timeout 7 -v vol:/v:ro --hostname h busybox sleep 9")
        .success()
        .stdout();
    let value = world.inspect("i");
    for (path, expected) in [
        ("/Id", id.trim()),
        ("/Name", "/i"),
        ("/Path", "sleep"),
        ("/Args/0", "9"),
        ("/State/Status", "created"),
        ("/Config/Hostname", "h"),
        ("/Config/WorkingDir", "/x"),
        ("/Config/Labels/l", "m"),
        ("/HostConfig/RestartPolicy/Name", "on-failure"),
        ("/HostConfig/Binds/0", "vol:/v:ro"),
        ("/Mounts/0/Type", "volume"),
        ("/Mounts/0/Destination", "/v"),
    ] {
        assert_eq!(value.pointer(path).and_then(|value| value.as_str()), Some(expected), "{path}");
    }
    assert_eq!(value["Config"]["StopTimeout"], 7);
    assert_eq!(value["Mounts"][0]["RW"], false);
    assert!(value["Config"]["Env"].as_array().expect("a list").contains(&"A=1".into()));
    // Images are inspected as before.
    assert_eq!(world.line("inspect busybox").success().json()[0]["Os"], "linux");
    world.line("inspect nosuch").failure(1);
}
