//! The process that looks after a container: what it takes, and what is left when it is killed.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

use crate::world::World;

/// The supervisor of a container, found by its command line.
fn supervisor(id: &str) -> i32 {
    let processes = fs::read_dir("/proc").expect("list /proc").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let mut found = pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(id) && status.starts_with("Name:\tkiln-supervisor")
    });
    found.next().expect("a supervisor")
}

#[test]
fn a_killed_supervisor_leaves_a_state_that_is_true() {
    for world in World::each() {
        let id = world.background("--name k", "sleep 1000");
        kill_process(Pid::from_raw(supervisor(&id)).expect("a pid"), Signal::KILL).expect("kill");
        let value = world.until("k", |value| value["State"]["Status"] == "exited");
        assert_eq!(value["State"]["ExitCode"], 255);
        assert!(value["State"]["Error"].as_str().is_some_and(|why| why.contains("killed")));
        world.line("ps").success().says_not([" k"]);
        // It can be started again, and removed.
        world.line("start k").success();
        assert_eq!(world.field("k", "{{.State.Status}}"), "running");
        world.line("rm -f k").success();
        assert_eq!(world.kept(), 0);
    }
}

#[test]
fn after_a_restart_of_the_machine_nothing_runs() {
    let world = World::new();
    let id = world.line("create --name b busybox sleep 1000").success().stdout();
    // What a machine that lost power leaves: a state that says running, and nobody who holds the lock.
    let file = world.store().join("containers").join(id.trim()).join("state.json");
    let text = fs::read_to_string(&file).expect("the state");
    let text = text.replace("\"created\"", "\"running\"").replace("\"boot\":\"\"", "\"boot\":\"another\"");
    fs::write(&file, text).expect("write");
    assert_eq!(world.field("b", "{{.State.Status}} {{.State.ExitCode}}"), "exited 255");
    assert!(world.field("b", "{{.State.Error}}").contains("machine was restarted"));
    world.line("start b").success();
    world.line("rm -f b").success();
}

#[test]
fn a_supervisor_takes_little_memory() {
    let world = World::new();
    let id = world.background("", "sleep 1000");
    let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", supervisor(&id))).expect("smaps");
    let resident = rollup.lines().find_map(|line| line.strip_prefix("Rss:")).expect("a line");
    let kilobytes: u64 = resident.trim().trim_end_matches(" kB").parse().expect("a number");
    // 3 MB as released; a debug build's pages hold less.
    assert!(kilobytes <= 4 * 1024, "{kilobytes} kB resident:\n{rollup}");
}

#[test]
fn many_at_once_leave_nothing_behind() {
    for world in World::each() {
        let started: Vec<_> = (0..20)
            .map(|_| world.kiln(["run", "-d", "--rm", "busybox", "sh", "-c", "echo x; sleep 1000"]).start())
            .collect();
        for child in started {
            assert!(child.wait_with_output().expect("wait").status.success());
        }
        let ids = world.line("ps -q").success().stdout();
        let ids: Vec<&str> = ids.split_whitespace().collect();
        assert_eq!(ids.len(), 20);
        world.words(&[&["stop", "-t", "0"], ids.as_slice()].concat()).success();
        assert_eq!(world.kept(), 0);
        let names = fs::read_dir(world.store().join("containers/names")).expect("names");
        assert_eq!(names.count(), 0);
        assert!(!kiln_tests::has_mounts(&world.store()));
    }
}

#[test]
fn the_store_keeps_what_a_container_stands_on() {
    let world = World::new();
    world.line("create --name s busybox echo still here").success();
    world.line("rmi busybox").success();
    world.line("prune -a -f").success();
    assert_eq!(world.line("start -a s").success().stdout(), "still here\n");
    world.line("rm s").success();
    world.line("prune -a -f").success();
    let layers = fs::read_dir(world.store().join("layers")).expect("layers");
    assert_eq!(layers.count(), 0);
}
