//! Steps that take all they can get: processes, memory, disk, output, time after their end.

use std::path::PathBuf;
use std::process::Command;

use kiln_tests::{TestEnv, is_root, is_running, skipped, wait_until};

use crate::outside::Attacked;

#[test]
fn daemons_that_a_step_leaves_behind_end_with_it() {
    for attacked in Attacked::each() {
        let mark = format!("5{}", std::process::id());
        let script = format!(
            "trap '' TERM HUP INT; (setsid sh -c 'trap \"\" TERM HUP; (sleep {mark} &) ; exec sleep {mark}' &) ; nohup sleep {mark} > /dev/null 2>&1 & sleep 0.1; true"
        );
        attacked.build(&format!("FROM busybox\nRUN {script}\n")).success();
        assert!(!is_running(&["sleep", &mark]), "a daemon of the step is still there");
        // Neither does one that holds the step's output open keep kiln waiting.
        attacked.kiln(&["run", "--rm", "busybox", "sh", "-c", &script]).success();
        assert!(wait_until(false, &["sleep", &mark]));
    }
}

#[test]
fn a_fork_bomb_stops_at_its_limit_and_ends_with_its_container() {
    let env = TestEnv::new();
    if env.is_rootless() {
        return skipped("needs root for control groups of its own");
    }
    env.busybox();
    let mark = format!("6{}", std::process::id());
    let script = format!("i=0; while [ $i -lt 300 ]; do sleep {mark} & i=$((i+1)); done; echo all of them");
    let outcome = env.kiln(["run", "--rm", "--pids-limit", "40", "busybox", "sh", "-c", &script]).run();
    assert!(!outcome.stdout().contains("all of them") && outcome.stderr.contains("fork"), "{outcome}");
    assert!(wait_until(false, &["sleep", &mark]), "what was forked is still there");
    let bomb = "bomb() { bomb | bomb & }; bomb; sleep 0.5; echo over";
    env.kiln(["run", "--rm", "--pids-limit", "60", "busybox", "sh", "-c", bomb]).run();
    env.kiln(["run", "--rm", "busybox", "true"]).run().success();
}

#[test]
fn a_step_that_fills_memory_is_killed_and_the_message_says_why() {
    let env = TestEnv::new();
    if env.is_rootless() {
        return skipped("needs root for control groups of its own");
    }
    env.busybox();
    let fill = "x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done";
    env.kiln(["run", "--rm", "--memory", "48m", "busybox", "sh", "-c", fill])
        .run()
        .failure(137)
        .says(["memory limit"]);
    // A memory file system counts as memory.
    let shm = "cat /dev/zero > /dev/shm/full";
    let outcome =
        env.kiln(["run", "--rm", "--memory", "32m", "--shm-size", "1g", "busybox", "sh", "-c", shm]).run();
    assert_ne!(outcome.code, 0, "{outcome}");
}

/// A file system in a file, for a store that can be filled.
struct Small {
    dir: PathBuf,
}

impl Small {
    fn mount(env: &TestEnv, megabytes: u32) -> Option<Self> {
        if !is_root() {
            skipped("needs root to mount a file system");
            return None;
        }
        let (image, dir) = (env.path("disk"), env.store());
        std::fs::create_dir_all(&dir).expect("mkdir");
        std::fs::File::create(&image)
            .and_then(|file| file.set_len(u64::from(megabytes) << 20))
            .expect("a sparse file");
        let done = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
        let on_loop = done(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))
            && done(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&dir));
        // In a container there may be no loop devices.
        let size = format!("size={megabytes}m");
        if !on_loop && !done(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(&dir)) {
            skipped("no small file system can be mounted here");
            return None;
        }
        Some(Self { dir })
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.dir).status();
    }
}

#[test]
fn a_step_that_fills_the_disk_fails_and_leaves_a_store_that_works() {
    let env = TestEnv::new();
    let Some(_small) = Small::mount(&env, 96) else { return };
    env.busybox();
    for script in [
        "cat /dev/zero > /full",
        "i=0; while mkdir -p /d/$i && head -c 65536 /dev/zero > /d/$i/f; do i=$((i+1)); done; exit 1",
        "cat /dev/zero > /full || true",
    ] {
        env.file("Dockerfile", format!("FROM busybox\nRUN {script}\n"));
        let outcome = env.build(["--no-cache"]);
        assert!(!outcome.stderr.contains("panicked at"), "{outcome}");
        // A write that fits in part is an I/O error to some programs.
        let text = outcome.text();
        assert!(text.contains("o space left") || text.contains("I/O error"), "{outcome}");
        assert_ne!(outcome.code, 0, "{outcome}");
        env.file("Dockerfile", "FROM busybox\nRUN echo fine > /fine\n").build(["--no-cache"]).success();
    }
    env.kiln(["fsck"]).run().success();
    let cache = "RUN --mount=type=cache,target=/c cat /dev/zero > /c/full\n";
    env.file("Dockerfile", format!("FROM busybox\n{cache}")).build(["--no-cache"]).failure(1);
}

/// Output without end of line, or of many lines, fills no memory of kiln's.
#[test]
fn a_step_that_writes_without_end_does_not_fill_the_memory_of_kiln() {
    for attacked in Attacked::each() {
        let env = &attacked.env;
        for (script, least) in [
            ("yes 0123456789012345678901234567890123456789 | head -c 20000000", 1000),
            ("head -c 150000000 /dev/zero | tr '\\0' x", 1000),
        ] {
            env.file("Dockerfile", format!("FROM busybox\nRUN {script}; echo; echo the-end\n"));
            let context = env.path("context").display().to_string();
            let outcome = env
                .kiln(["build", "--no-cache", "--progress=plain", &context])
                // Address space, thread stacks and all.
                .through(["prlimit", "--data=120000000"])
                .run()
                .success()
                .says(["the-end"]);
            assert!(outcome.stderr.len() > least);
        }
    }
}
