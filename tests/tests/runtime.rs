//! `--runtime`: an OCI runtime in place of kiln's own sandbox builds the same image.

use std::process::Command;

use kiln_tests::{Invocation, Outcome, TestEnv, has_mounts, is_root, shared, skipped};
use serde_json::Value;

/// Makes an environment, if the machine has the user for it.
type World = fn() -> Option<TestEnv>;

/// The runtimes that are installed, each with an environment for root and one for an ordinary user.
fn runtimes() -> Vec<(&'static str, World)> {
    if !is_root() {
        skipped("needs root, to hide a hybrid layout of control groups from crun");
        return Vec::new();
    }
    let mut all: Vec<(&str, World)> = Vec::new();
    for name in ["crun", "runc"] {
        if ["/usr/bin", "/usr/sbin"].iter().any(|dir| std::path::Path::new(dir).join(name).is_file()) {
            all.push((name, || Some(TestEnv::new())));
            all.push((name, TestEnv::rootless));
        } else {
            skipped(&format!("{name} is not installed"));
        }
    }
    all
}

/// crun refuses a hybrid layout of control groups: it is shown the first version alone.
fn seen_by(runtime: &str, invocation: Invocation<'_>) -> Outcome {
    let script = "umount /sys/fs/cgroup/unified 2>/dev/null; exec \"$@\"";
    if runtime != "crun" {
        return invocation.run();
    }
    let inner = invocation.command();
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, "sh"]).arg(inner.get_program()).args(inner.get_args());
    command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(inner.get_current_dir().expect("the scratch directory"));
    let output = command.output().expect("run unshare");
    Outcome::new(format!("{inner:?}"), output)
}

#[test]
fn a_build_gives_the_same_image_with_every_runtime() {
    const DOCKERFILE: &str = "FROM busybox\n\
        RUN echo one > /one && mkdir /new && ln -s one /new/link && chown 5:6 /one\n\
        RUN --mount=type=secret,id=word --mount=type=cache,target=/kept --mount=type=tmpfs,target=/made/here \
            cat /run/secrets/word > /said && echo x > /kept/file && test -w /made/here\n\
        RUN --mount=type=cache,target=/kept cp /kept/file /copy\n\
        USER 7:8\n\
        WORKDIR /work\n\
        RUN id -u > /tmp/user || true; id > /dev/stdout; grep Seccomp: /proc/self/status\n";
    for (runtime, world) in runtimes() {
        let mut indexes = Vec::new();
        let Some(env) = world() else { continue };
        env.busybox().file("Dockerfile", DOCKERFILE).write("word", "open sesame");
        for own in [true, false] {
            let layout = env.path(if own { "home/own" } else { "home/other" });
            let output = format!("type=oci,tar=false,rewrite-timestamp=true,dest={}", layout.display());
            let secret = format!("id=word,src={}", env.path("word").display());
            let mut words =
                vec!["build", "--no-cache", "--progress=plain", "--secret", &secret, "-o", &output];
            if !own {
                words.extend(["--runtime", runtime]);
            }
            let context = env.path("context");
            words.push(context.to_str().expect("UTF-8"));
            let invocation = env.kiln(&words).env("SOURCE_DATE_EPOCH", "1700000000");
            let outcome = if own { invocation.run() } else { seen_by(runtime, invocation) };
            outcome.success().says(["uid=7 gid=8", "Seccomp:\t2"]);
            indexes.push(std::fs::read_to_string(layout.join("index.json")).expect("an index"));
            assert!(!has_mounts(&env.store()));
            let left = std::fs::read_dir(env.store().join("runtime")).into_iter().flatten().count();
            assert_eq!(left, 0, "{runtime}");
        }
        assert_eq!(indexes.first(), indexes.get(1), "{runtime}");
    }
}

#[test]
fn failures_are_told_as_with_the_own_sandbox() {
    for (runtime, world) in runtimes() {
        let Some(env) = world() else { continue };
        env.busybox().file("Dockerfile", "FROM busybox\nRUN echo before; exit 42\n");
        let outcome = seen_by(runtime, env.build_command(["--runtime", runtime]));
        outcome.failure(1).says(["exit code: 42", "before", "Dockerfile:2"]);
        assert!(!has_mounts(&env.store()));
    }
}

#[test]
fn containers_run_with_dockers_exit_codes() {
    for (runtime, world) in runtimes() {
        let Some(env) = world() else { continue };
        env.busybox();
        let run = |words: &[&str]| {
            seen_by(runtime, env.kiln(["run", "--rm", "--runtime", runtime].iter().chain(words)))
        };
        let outcome = run(&["busybox", "sh", "-c", "echo out; echo err >&2; exit 9"]).failure(9);
        assert_eq!((outcome.stdout().as_str(), outcome.stderr.as_str()), ("out\n", "err\n"), "{runtime}");
        run(&["busybox", "sh", "-c", "sh -c 'kill -9 $$'; exit $?"]).failure(137);
        run(&["busybox", "/no/such/program"]).failure(127);
        run(&["busybox", "/etc/passwd"]).failure(126);
        run(&["--tty", "busybox", "true"]).failure(125).says(["--tty"]);
        if runtime == "crun" {
            run(&["--memory=64m", "busybox", "true"]).failure(125).says(["--runtime runc"]);
        }
        assert!(!has_mounts(&env.store()));
    }
}

#[test]
fn a_container_in_the_background_keeps_its_runtime() {
    for (runtime, world) in runtimes() {
        let Some(env) = world() else { continue };
        env.busybox();
        let script = "echo up; trap 'exit 3' TERM; while :; do sleep 0.1; done";
        let words = ["run", "-d", "--name=c", "--runtime", runtime, "busybox", "sh", "-c", script];
        seen_by(runtime, env.kiln(words)).success();
        env.kiln(["exec", "c", "true"]).run().failure(126).says(["--runtime"]);
        env.kiln(["stop", "c"]).run().success();
        assert_eq!(env.kiln(["wait", "c"]).run().success().stdout(), "3\n", "{runtime}");
        seen_by(runtime, env.kiln(["start", "c"])).success();
        env.kiln(["rm", "-f", "c"]).run().success();
        assert!(!has_mounts(&env.store()));
    }
}

#[test]
fn a_runtime_that_is_missing_is_named_with_its_package() {
    let env = TestEnv::new();
    env.busybox().file("Dockerfile", "FROM busybox\nRUN true\n");
    env.build_command(["--runtime", "crun"])
        .env("PATH", "/nowhere")
        .run()
        .failure(1)
        .says(["install the package crun"]);
    env.build(["--runtime", "runs"]).failure(1).says(["`runs` is not installed"]);
    env.kiln(["run", "--runtime", "runs", "busybox", "true"]).run().failure(125).says(["not installed"]);
}

/// Where the shape of `ours` is another than that of `theirs`: paths to values of other types.
fn differences(ours: &Value, theirs: &Value, path: &str, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            for (key, theirs) in theirs {
                if let Some(ours) = ours.get(key) {
                    differences(ours, theirs, &format!("{path}/{key}"), found);
                }
            }
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            for ours in ours {
                if let Some(theirs) = theirs.first() {
                    differences(ours, theirs, &format!("{path}/*"), found);
                }
            }
        }
        _ if std::mem::discriminant(ours) == std::mem::discriminant(theirs) => {}
        _ => found.push(format!("{path}: {ours} is not like {theirs}")),
    }
}

/// The corpus has no schema; its valid examples are from the tests of the schema.
#[test]
fn the_configuration_of_a_bundle_has_the_shape_of_the_specifications_examples() {
    let env = TestEnv::new();
    env.busybox();
    // A runtime that keeps what it is given, and fails.
    let kept = env.path("config.json").display().to_string();
    let script = "while [ $# -gt 0 ]; do [ \"$1\" = --bundle ] || [ \"$1\" = -b ] && cp \"$2/config.json\" KEPT; shift; done; exit 1";
    env.write("runtime", format!("#!/bin/sh\n{}\n", script.replace("KEPT", &kept)));
    std::fs::set_permissions(env.path("runtime"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("chmod");
    let runtime = env.path("runtime").display().to_string();
    let flags =
        ["-v", "/tmp:/t", "--tmpfs", "/m", "-e", "A=1", "-u", "5:6", "--ulimit", "nofile=50", "--read-only"];
    let words = [&["run", "--rm", "--runtime", &runtime][..], &flags, &["busybox", "true"]].concat();
    let outcome = env.kiln(words).run().failure(125);
    let text = std::fs::read_to_string(&kept).unwrap_or_else(|_| panic!("no configuration: {outcome}"));
    let ours: Value = serde_json::from_str(&text).expect("JSON");
    for path in [
        "/ociVersion",
        "/root/path",
        "/process/cwd",
        "/process/args/0",
        "/process/user/uid",
        "/mounts/0/destination",
    ] {
        assert!(ours.pointer(path).is_some(), "{path} in {text}");
    }
    assert!(ours["process"]["args"].is_array() && ours["root"]["readonly"] == true, "{text}");
    let Some(shared) = shared() else { return };
    let examples = shared.join("corpus/runtime-spec/schema/test/config/good");
    for example in std::fs::read_dir(examples).expect("the examples").flatten() {
        let text = std::fs::read_to_string(example.path()).expect("an example");
        let theirs: Value = serde_json::from_str(&text).expect("JSON");
        let mut found = Vec::new();
        differences(&ours, &theirs, "", &mut found);
        assert!(found.is_empty(), "{}: {found:#?}", example.path().display());
    }
}
