//! System calls that a step may not make, made by a program without a C library in between.

use std::path::Path;
use std::process::Command;

use kiln_tests::{TestEnv, skipped};

use crate::outside::Attacked;

/// Compiles the probe, static, into the build context.
fn probe(env: &TestEnv) -> bool {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attacks/probe.c");
    let compiled = env.path("home/probe");
    let output = Command::new("cc").args(["-static", "-O1", "-o"]).arg(&compiled).arg(source).output();
    match output {
        Ok(output) if output.status.success() => {
            env.file("probe", std::fs::read(compiled).expect("the probe")).mode("probe", 0o755);
            true
        }
        Ok(output) => {
            skipped(&format!("the probe does not compile: {}", String::from_utf8_lossy(&output.stderr)));
            false
        }
        Err(error) => {
            skipped(&format!("no C compiler: {error}"));
            false
        }
    }
}

/// What the probe found out: a line for each call.
fn answers(text: &str) -> Vec<(&str, &str)> {
    text.lines().filter_map(|line| line.split_once(' ')).collect()
}

#[test]
fn no_forbidden_system_call_succeeds() {
    for attacked in Attacked::each() {
        let env = &attacked.env;
        if !probe(env) {
            return;
        }
        env.file("Dockerfile", "FROM busybox\nCOPY probe /\nRUN /probe > /out 2>&1\n");
        let image = env.image([]);
        let out = image.content("out");
        assert!(out.ends_with("end\n"), "{out}");
        let answers = answers(&out);
        assert!(answers.len() > 45, "{out}");
        for (name, answer) in &answers {
            // A call that is not there lets the C library fall back.
            let missing = ["clone3", "32:clone3", "new-call", "x32-keyctl", "x32-mount", "32:socketcall"]
                .contains(name);
            let expected: &[&str] = match *name {
                _ if missing => &["ENOSYS"],
                "socket-alg" | "socket-vsock" | "32:socket-alg" => &["EPERM", "EAFNOSUPPORT"],
                _ => &["EPERM"],
            };
            assert!(expected.contains(answer), "{name}: {answer}, expected {expected:?}\n{out}");
        }
    }
}

/// The same in a container with rights of its own choice: an added capability opens its calls, and no others.
#[test]
fn an_added_capability_opens_its_own_calls_alone() {
    let env = TestEnv::new();
    env.busybox();
    if !probe(&env) {
        return;
    }
    env.file("Dockerfile", "FROM busybox\nCOPY probe /\n").build(["--tag=probe"]).success();
    let run = |arguments: &[&str]| {
        let all = ["run", "--rm"].iter().chain(arguments).chain(&["probe", "/probe"]);
        env.kiln(all).run().success().stdout()
    };
    let answer = |out: &str, name: &str| {
        answers(out).into_iter().find(|(found, _)| *found == name).map(|(_, answer)| answer.to_owned())
    };
    let with = run(&["--cap-add=SYSLOG"]);
    assert_eq!(answer(&with, "syslog").as_deref(), Some("DONE"), "{with}");
    for name in ["bpf", "keyctl", "mount", "io_uring_setup", "unshare-user"] {
        assert_eq!(answer(&with, name).as_deref(), Some("EPERM"), "{name} in {with}");
    }
}

/// Two steps that run at the same time: neither sees, signals or reads the other, nor shares memory with it.
#[test]
fn parallel_steps_do_not_see_each_other() {
    for attacked in Attacked::each() {
        let outcome = attacked.build(
            "FROM busybox AS one\nRUN --mount=type=cache,id=meet,target=/m echo here > /dev/shm/of-one; touch /m/one; \
             for i in $(seq 100); do test -e /m/two && break; sleep 0.1; done; hostname; sleep 0.3; touch /ok\n\
             FROM busybox AS two\nRUN --mount=type=cache,id=meet,target=/m touch /m/two; for i in $(seq 100); do test -e /m/one && break; sleep 0.1; done; \
             ls /dev/shm/of-one && exit 1; for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline | grep -q of-one && test $p != /proc/$$ && test $p != /proc/1 && echo saw $p; done; kill -9 -1; touch /ok\n\
             FROM busybox\nCOPY --from=one /ok /one\nCOPY --from=two /ok /two\n",
        );
        assert!(!outcome.text().contains("saw /proc"), "{outcome}");
        assert!(!outcome.text().contains("of-one\n"), "{outcome}");
    }
}
