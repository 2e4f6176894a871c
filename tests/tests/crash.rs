//! `kill -9` at any moment: nothing half made is ever taken for whole, and nothing is left behind.
//!
//! `KILN_CRASHES` says how many moments, `KILN_SEED` which.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use kiln_tests::{Image, Random, TestEnv, amount, has_mounts, is_running, processes_of};
use rustix::process::{Pid, Signal, kill_process};

/// So that the steps' own processes can be told from any other on the machine.
const NAP: &str = "0.0521";

const DOCKERFILE: &str = "\
FROM busybox AS one
ARG N
COPY files /files
RUN --mount=type=cache,target=/cache echo $N > /cache/$N && cat /files/* > /all && echo $N >> /all
FROM busybox AS two
ARG N
RUN mkdir -p /d/e && for i in $(seq 200); do echo $N $i > /d/e/$i; done; sleep 0.0521
FROM busybox
COPY --from=two /d /d
COPY --from=one /files /all /d/
RUN rm -r /d/e/1* && mv /d/e/2 /two && sleep 0.0521
";

fn env() -> TestEnv {
    let env = TestEnv::new();
    env.busybox();
    for n in 0..30 {
        env.file(&format!("files/{n}"), format!("{n}").repeat(1000));
    }
    env.file("Dockerfile", DOCKERFILE);
    env
}

/// `kiln build` into a layout, not started yet.
fn build(env: &TestEnv, n: u64, layout: &str, more: &[&str]) -> std::process::Command {
    let _ = fs::remove_dir_all(env.path(layout));
    let output =
        format!("--output=type=oci,tar=false,rewrite-timestamp=true,dest={}", env.path(layout).display());
    let argument = format!("--build-arg=N={n}");
    let context = env.path("context").display().to_string();
    let words = ["build", "--progress=plain", &*argument, &*output, &*context]
        .into_iter()
        .chain(more.iter().copied());
    let mut command = env.kiln(words).env("SOURCE_DATE_EPOCH", "1700000000").command();
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

#[track_caller]
fn digest(env: &TestEnv, n: u64) -> String {
    let output = build(env, n, "layout", &[]).output().expect("run kiln");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Image::layout(&env.path("layout")).digest
}

/// Starts what runs at once: builds, some of them from scratch, and who tidies meanwhile.
fn start(env: &TestEnv, random: &mut Random) -> Vec<Child> {
    let mut children = Vec::new();
    for place in 0..3 {
        let more: &[&str] = if random.below(3) == 0 { &["--no-cache"] } else { &[] };
        let mut command = build(env, random.below(4), &format!("layout-{place}"), more);
        children.push(command.stderr(Stdio::null()).spawn().expect("start kiln"));
    }
    let other: &[&str] = match random.below(4) {
        0 => &["prune", "-a", "-f"],
        1 => &["prune", "-f", "--filter", "type=regular"],
        2 => &["run", "--rm", "busybox", "sleep", NAP],
        _ => &["tag", "busybox", "other"],
    };
    let mut command = env.kiln(other.iter()).command();
    children.push(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("start kiln"));
    children
}

/// Kills all processes of the store at once, or each with even chances.
fn crash(env: &TestEnv, random: &mut Random) {
    let all = random.below(2) == 0;
    for pid in processes_of(&env.store()) {
        if (all || random.below(2) == 0)
            && let Some(pid) = Pid::from_raw(pid)
        {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

#[track_caller]
fn until(what: &str, condition: impl Fn() -> bool) {
    let patience = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < patience, "{what}");
        std::thread::sleep(Duration::from_millis(5)); // about processes that are not ours to wait for
    }
}

#[test]
fn killed_at_any_moment_a_store_is_sound_and_the_next_build_is_the_same() {
    let env = env();
    let digests: BTreeMap<u64, String> = (0..4).map(|n| (n, digest(&env, n))).collect();
    env.kiln(["prune", "-a", "-f"]).run().success();
    let mut random = Random::new();
    // A workload's length, so that moments fall all over it.
    let begun = Instant::now();
    for mut child in start(&env, &mut random) {
        child.wait().expect("wait");
    }
    let longest = u64::try_from(begun.elapsed().as_micros()).expect("short").max(1000);
    for moment in 0..amount("KILN_CRASHES", 25) {
        let children = start(&env, &mut random);
        std::thread::sleep(Duration::from_micros(random.below(longest))); // the moment
        crash(&env, &mut random);
        for mut child in children {
            child.wait().expect("wait");
        }
        until("a step's process is left", || !is_running(&["sleep", NAP]));
        let checked = env.kiln(["fsck"]).run();
        assert!(checked.code == 0, "moment {moment}: {checked}");
        let n = random.below(4);
        assert_eq!(digest(&env, n), digests[&n], "moment {moment}");
        until("a process is left", || processes_of(&env.store()).is_empty());
        assert!(!has_mounts(&env.store()), "moment {moment}");
        let left = |dir: &str| fs::read_dir(env.store().join(dir)).expect("list").count();
        assert_eq!((left("tmp"), left("leases")), (0, 0), "moment {moment}");
    }
    // Emptying the trash is what prune waits for.
    env.kiln(["prune", "-f"]).run().success();
    until("a process is left", || processes_of(&env.store()).is_empty());
    assert_eq!(fs::read_dir(env.store().join("trash")).expect("list").count(), 0);
}
