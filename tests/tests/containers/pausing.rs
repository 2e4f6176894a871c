//! `kiln pause` and `kiln unpause`.

use kiln_tests::skipped;

use crate::world::World;

const COUNT: &str = "trap 'exit 0' TERM; echo up; while :; do echo tick; sleep 0.01; done";

/// Whether containers can be frozen here.
fn can_freeze() -> bool {
    let groups = std::path::Path::new("/sys/fs/cgroup");
    let found = kiln_tests::is_root()
        && (groups.join("freezer").is_dir() || groups.join("cgroup.subtree_control").exists());
    if !found {
        skipped("pausing needs root and control groups");
    }
    found
}

#[test]
fn a_paused_container_stands_still_until_it_goes_on() {
    if !can_freeze() {
        return;
    }
    let world = World::new();
    world.background("--name c", COUNT);
    world.until_logged("c", "tick");
    assert_eq!(world.line("pause c").success().stdout(), "c\n");
    assert_eq!(world.inspect("c")["State"]["Paused"], true);
    assert!(world.line("ps").success().stdout().contains("(Paused)"));
    let before = world.line("logs c").success().stdout;
    // A new process of kiln takes longer than a tick.
    world.line("top c").success();
    assert_eq!(world.line("logs c").success().stdout, before);
    world.line("pause c").failure(1).says(["container c is already paused"]);
    world.line("exec c true").failure(1).says(["is paused, unpause the container before exec"]);
    world.line("start c").failure(1).says(["cannot start a paused container, try unpause instead"]);
    // Its files can be looked at.
    world.line("diff c").success();
    assert_eq!(world.line("container unpause c").success().stdout(), "c\n");
    world.line("exec c true").success();
    world.line("unpause c").failure(1).says(["container c is not paused"]);

    // It can be ended as it stands.
    world.line("pause c").success();
    world.line("stop c").success();
    assert_eq!(world.field("c", "{{.State.Status}}"), "exited");
    world.line("pause c").failure(1).says(["container c is not running"]);
    world.line("start c").success();
    world.line("pause c").success();
    world.line("kill c").success();
    assert_eq!(world.field("c", "{{.State.ExitCode}}"), "137");
}

#[test]
fn what_a_killed_supervisor_left_frozen_is_let_go() {
    if !can_freeze() {
        return;
    }
    let world = World::new();
    world.background("--name c", COUNT);
    world.until_logged("c", "tick");
    world.line("pause c").success();
    let pid = world.field("c", "{{.State.Pid}}");
    let process = std::path::PathBuf::from(format!("/proc/{pid}"));
    let kept = std::fs::read_dir(world.store().join("containers")).expect("containers").flatten();
    let group = kept.filter_map(|entry| std::fs::read_to_string(entry.path().join("frozen")).ok()).next();
    let group = std::path::PathBuf::from(group.expect("it is noted where its group is"));
    assert!(group.exists());
    let supervisor = kiln_tests::processes_of(&world.store());
    for pid in supervisor {
        let pid = rustix::process::Pid::from_raw(pid).expect("a process");
        // It may have ended with another.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    world.until("c", |value| value["State"]["Status"] == "exited");
    world.line("rm c").success();
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while process.exists() || group.exists() {
        assert!(std::time::Instant::now() < patience, "it is frozen for ever");
        std::thread::sleep(std::time::Duration::from_millis(10)); // the kernel ends it when it likes
    }
}

#[test]
fn an_ordinary_user_without_groups_is_told_so() {
    let Some(env) = kiln_tests::TestEnv::rootless() else { return };
    let world = World::of(env);
    world.background("--name c", COUNT);
    let outcome = world.line("pause c");
    if outcome.code != 0 {
        outcome.failure(1).says(["cannot pause container c"]);
        assert_eq!(world.field("c", "{{.State.Status}}"), "running");
    }
}
