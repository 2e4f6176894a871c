//! Restart policies.

use crate::world::World;

#[test]
fn on_failure_starts_it_again_as_often_as_said() {
    for world in World::each() {
        let id = world.background("--restart on-failure:2", "echo run; exit 3");
        let value = world.until(&id, |value| value["State"]["Status"] == "exited");
        assert_eq!((value["RestartCount"].as_u64(), value["State"]["ExitCode"].as_i64()), (Some(2), Some(3)));
        assert_eq!(world.words(&["logs", &id]).success().stdout(), "run\nrun\nrun\n");
        let well = world.background("--restart on-failure", "exit 0");
        let value = world.until(&well, |value| value["State"]["Status"] == "exited");
        assert_eq!(value["RestartCount"], 0);
    }
}

#[test]
fn always_is_until_it_is_stopped() {
    let world = World::new();
    world.background("--name a --restart always", "echo run");
    world.until("a", |value| value["RestartCount"].as_u64() >= Some(2));
    world.line("stop a").success();
    assert_eq!(world.field("a", "{{.State.Status}}"), "exited");
    world.background("--name b --restart unless-stopped", "exec sleep 1000");
    world.line("kill b").success();
    assert_eq!(world.field("b", "{{.State.Status}} {{.RestartCount}}"), "exited 0");
}

#[test]
fn policies_that_make_no_sense_are_refused() {
    let world = World::new();
    world.line("run --rm --restart always busybox true").failure(125).says(["--rm"]);
    world.line("run --restart sometimes busybox true").failure(125).says(["sometimes"]);
    assert_eq!(world.kept(), 0);
}
