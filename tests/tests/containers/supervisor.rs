//! The process that looks after a container: what it takes, and what is left when it is killed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use kiln_tests::Peer;
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
    // 3 MB as released; of a debug build, whose code is three times as large, more pages are read.
    let released = kiln_tests::kiln_binary().iter().any(|part| part == "release");
    let most = if released { 3 } else { 4 };
    assert!(kilobytes <= most * 1024, "{kilobytes} kB resident:\n{rollup}");
}

#[test]
fn many_at_once_leave_nothing_behind() {
    for world in World::each() {
        let limited = !world.is_rootless(); // an ordinary user has no control groups here
        let groups = groups();
        let mut words = vec!["run", "-d", "--rm"];
        words.extend(limited.then_some("--pids-limit=50"));
        words.extend(["busybox", "true"]);
        let started: Vec<_> = (0..100).map(|_| world.kiln(&words).start()).collect();
        for child in started {
            let output = child.wait_with_output().expect("wait");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        kiln_tests::settle(&world.store());
        assert_eq!(world.kept(), 0);
        let names = fs::read_dir(world.store().join("containers/names")).expect("names");
        assert_eq!(names.count(), 0);
        let made: Vec<_> = fs::read_dir(world.store().join("tmp")).expect("tmp").flatten().collect();
        assert!(made.is_empty(), "{made:?}");
        assert!(!kiln_tests::has_mounts(&world.store()));
        let left: Vec<_> = self::groups().difference(&groups).cloned().collect();
        // Those of other tests that run beside this one have living owners.
        let dead = |group: &&String| {
            let owner = group.rsplit('/').next().and_then(|name| name.split('-').nth(1));
            owner.is_none_or(|owner| !Path::new("/proc").join(owner).exists())
        };
        assert_eq!(left.iter().filter(dead).count(), 0, "{left:?}");
    }
}

/// kiln's control groups of the machine.
fn groups() -> BTreeSet<String> {
    let found = Command::new("find").args(["/sys/fs/cgroup", "-type", "d", "-name", "kiln-*"]).output();
    String::from_utf8_lossy(&found.expect("run find").stdout).lines().map(str::to_owned).collect()
}

#[test]
fn many_networks_at_once_leave_no_link_and_no_rule() {
    if !kiln_tests::is_root() {
        return kiln_tests::skipped("an ordinary user's network is pasta's, which ends with its container");
    }
    let Some(nft) = Peer::find("nft") else { return };
    let world = World::new();
    let words = "run -d --rm -p 127.0.0.1:0:80 busybox sleep 1000";
    let started: Vec<_> = (0..20).map(|_| world.kiln(words.split(' ')).start()).collect();
    let ids = started.into_iter().map(|child| {
        let output = child.wait_with_output().expect("wait");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    });
    let ids: Vec<String> = ids.collect();
    // The host's ends of the links, by numbers that are not given again, and the tables with theirs.
    let peer = |id| world.words(&["exec", id, "cat", "/sys/class/net/eth0/iflink"]).success().stdout();
    let peers: Vec<String> = ids.iter().map(|id| peer(id)).collect();
    let tables = |of: &[String]| -> Vec<String> {
        let text = nft.run(["--handle", "list", "tables"]).success().stdout();
        let is_of = |line: &&str| of.iter().any(|name| line.split(' ').any(|word| word == name));
        text.lines().filter(is_of).map(str::to_owned).collect()
    };
    let names: Vec<String> = links().into_iter().filter(|(_, n)| peers.contains(n)).map(|(l, _)| l).collect();
    let before = tables(&names);
    assert_eq!((names.len(), before.len()), (20, 20), "{names:?} {before:?}");
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    world.words(&[&["stop", "-t", "0"], ids.as_slice()].concat()).success();
    kiln_tests::settle(&world.store());
    assert_eq!(world.kept(), 0);
    let patience = Instant::now() + Duration::from_secs(10);
    while links().iter().any(|(_, number)| peers.contains(number)) {
        assert!(Instant::now() < patience, "links stay: {:?}", links());
        std::thread::sleep(Duration::from_millis(10)); // the kernel takes a namespace down when it likes
    }
    assert!(tables(&names).iter().all(|table| !before.contains(table)));
}

/// The links of the machine, and their numbers.
fn links() -> Vec<(String, String)> {
    let entries = fs::read_dir("/sys/class/net").expect("the links").flatten();
    let number = |path: PathBuf| fs::read_to_string(path.join("ifindex")).ok();
    entries.filter_map(|e| Some((e.file_name().into_string().ok()?, number(e.path())?))).collect()
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
