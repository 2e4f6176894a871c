//! Limits, devices and rights of containers and of RUN steps: what was asked for holds, or is an error, or a warning.

use kiln_tests::{Outcome, TestEnv, skipped};

fn run(env: &TestEnv, arguments: &[&str]) -> Outcome {
    env.kiln(["run", "--rm"].iter().chain(arguments)).run()
}

/// A world in which control groups can be made.
fn as_root() -> Option<TestEnv> {
    let env = TestEnv::new();
    if env.is_rootless() {
        skipped("needs root for control groups of its own");
        return None;
    }
    env.busybox();
    Some(env)
}

#[test]
fn processors_memory_and_processes_are_limited() {
    let Some(env) = as_root() else { return };
    let allowed =
        run(&env, &["--cpuset-cpus", "0", "busybox", "grep", "Cpus_allowed_list", "/proc/self/status"]);
    assert_eq!(allowed.success().stdout().split_whitespace().nth(1), Some("0"));
    let script = "i=0; while [ $i -lt 60 ]; do sleep 5 & i=$((i+1)); done; echo all";
    let forks = run(&env, &["--pids-limit", "20", "busybox", "sh", "-c", script]);
    assert!(!forks.stdout().contains("all"), "{forks}");
    run(&env, &["--cpu-shares", "512", "--cpu-quota", "50000", "--cpu-period", "100000", "busybox", "true"])
        .success();
    let fill = "x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done";
    run(&env, &["--memory", "32m", "busybox", "sh", "-c", fill]).failure(137).says(["memory limit"]);
}

#[test]
fn run_steps_have_the_limits_of_the_command_line_and_no_key_knows_them() {
    let Some(env) = as_root() else { return };
    env.file("Dockerfile", "FROM busybox\nRUN grep Cpus_allowed_list /proc/self/status | cut -f2 > /cpus\n");
    assert_eq!(env.image(["--cpuset-cpus", "1", "--memory", "64m"]).content("cpus"), "1\n");
    // The same step with other limits is the same step.
    env.build(["--cpuset-cpus", "0"]).success().says(["CACHED"]);
    env.file("Dockerfile", "FROM busybox\nRUN x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done\n");
    env.build(["--memory", "48m"]).failure(1).says(["memory limit", "Dockerfile:2"]);
}

#[test]
fn a_limit_that_cannot_be_applied_is_an_error_or_a_warning_and_never_silence() {
    for env in TestEnv::each() {
        env.busybox();
        let outcome = run(&env, &["--cpuset-cpus", "4000", "busybox", "echo", "ran"]).failure(125);
        assert!(!outcome.stdout().contains("ran") && outcome.stderr.contains("cpuset"), "{outcome}");
        let outcome =
            run(&env, &["--limits=best-effort", "--cpuset-cpus", "4000", "busybox", "echo", "ran"]).success();
        assert!(outcome.stdout() == "ran\n" && outcome.stderr.contains("warning: not limited"), "{outcome}");
        env.file("Dockerfile", "FROM busybox\nRUN echo ran\n");
        env.build(["--cpuset-cpus", "4000"]).failure(1).says(["cpuset"]);
        env.build(["--cpuset-cpus", "4000", "--limits=best-effort"])
            .success()
            .says(["warning: not limited", "ran"]);
    }
}

#[test]
fn values_that_make_no_sense_are_named() {
    let env = TestEnv::new();
    env.busybox();
    for (option, value) in [
        ("--limits", "perhaps"),
        ("--cpuset-cpus", "all"),
        ("--blkio-weight", "5"),
        ("--device-read-bps", "1mb"),
        ("--oom-score-adj", "5000"),
        ("--sysctl", "kernel"),
        ("--device", "/etc/passwd"),
        ("--memory-swap", "much"),
        ("--security-opt", "label=type:x"),
        ("--security-opt", "apparmor=strict"),
        ("--security-opt", "seccomp=/no/such/file"),
    ] {
        run(&env, &[option, value, "busybox", "true"]).failure(125).says([option, value]);
    }
    run(&env, &["--device", "/dev/no-such-device", "busybox", "true"])
        .failure(125)
        .says(["/dev/no-such-device"]);
}

#[test]
fn kernel_parameters_and_the_oom_score_are_the_containers_own() {
    for env in TestEnv::each() {
        env.busybox();
        let before = std::fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl").expect("read it");
        let words = [
            "--network",
            "none",
            "--sysctl",
            "net.ipv4.ip_default_ttl=77",
            "busybox",
            "cat",
            "/proc/sys/net/ipv4/ip_default_ttl",
        ];
        assert_eq!(run(&env, &words).success().stdout(), "77\n");
        assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl").expect("read it"), before);
        let score = run(&env, &["--oom-score-adj", "500", "busybox", "cat", "/proc/self/oom_score_adj"]);
        assert_eq!(score.success().stdout(), "500\n");
    }
}

#[test]
fn a_device_of_the_host_is_there_where_it_was_asked_for() {
    if !std::path::Path::new("/dev/fuse").exists() {
        return skipped("there is no /dev/fuse");
    }
    for env in TestEnv::each() {
        env.busybox();
        run(&env, &["busybox", "test", "-e", "/dev/fuse"]).failure(1);
        run(&env, &["--device", "/dev/fuse", "busybox", "test", "-c", "/dev/fuse"]).success();
    }
}

#[test]
fn a_profile_of_the_users_decides_over_system_calls() {
    for env in TestEnv::each() {
        env.busybox();
        env.write(
            "profile.json",
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
                "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}"#,
        );
        let option = format!("seccomp={}", env.path("profile.json").display());
        let words = ["--security-opt", &option, "busybox", "sh", "-c", "touch /file && mkdir /dir"];
        run(&env, &words).failure(1).says(["o space left"]);
        let seccomp = |option: &str| {
            run(&env, &["--security-opt", option, "busybox", "grep", "^Seccomp:", "/proc/self/status"])
                .success()
                .stdout()
        };
        assert_eq!(seccomp(&option), "Seccomp:\t2\n");
        assert_eq!(seccomp("seccomp=unconfined"), "Seccomp:\t0\n");
        env.write("profile.json", "{\"defaultAction\": \"ALLOW\"}");
        run(&env, &["--security-opt", &option, "busybox", "true"]).failure(125).says(["`ALLOW`"]);
        let gained = run(
            &env,
            &["--security-opt", "no-new-privileges", "busybox", "grep", "NoNewPrivs", "/proc/self/status"],
        );
        assert_eq!(gained.success().stdout(), "NoNewPrivs:\t1\n");
    }
}

/// A block device of this machine.
fn disk() -> Option<String> {
    let disks = std::fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let mut names = disks.filter_map(|entry| entry.file_name().into_string().ok());
    names.find(|name| !name.starts_with("zram") && std::path::Path::new("/dev").join(name).exists())
}

#[test]
fn block_io_is_limited_or_refused() {
    let Some(env) = as_root() else { return };
    let Some(disk) = disk() else { return skipped("there is no block device") };
    let number = std::fs::read_to_string(format!("/sys/block/{disk}/dev")).expect("its number");
    let rate = |rate: &str| format!("/dev/{disk}:{rate}");
    let words = [
        ["--device-read-bps", &rate("1mb")],
        ["--device-write-bps", &rate("2mb")],
        ["--device-read-iops", &rate("300")],
        ["--device-write-iops", &rate("400")],
    ];
    let flags: Vec<&str> = words.iter().flatten().map(|word| &**word).collect();
    let words = [&["run", "-d", "--rm", "--name=io"][..], &flags, &["busybox", "sleep", "1000"]].concat();
    env.kiln(words).run().success();
    let pid = env.kiln(["inspect", "-f", "{{.State.Pid}}", "io"]).run().success().stdout();
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", pid.trim())).expect("its groups");
    let v1 = groups.lines().find_map(|line| line.split_once(":blkio:").map(|(_, path)| path));
    let set = match v1 {
        Some(path) => ["read_bps", "write_bps", "read_iops", "write_iops"]
            .map(|name| format!("/sys/fs/cgroup/blkio{path}/blkio.throttle.{name}_device"))
            .map(|file| std::fs::read_to_string(file).expect("a limit").trim().to_owned())
            .join(", "),
        None => {
            let path = groups.trim().trim_start_matches("0::");
            std::fs::read_to_string(format!("/sys/fs/cgroup{path}/io.max")).expect("the limits")
        }
    };
    env.kiln(["rm", "-f", "io"]).run().success();
    let number = number.trim();
    let separate = format!("{number} 1048576, {number} 2097152, {number} 300, {number} 400");
    let together = format!("{number} rbps=1048576 wbps=2097152 riops=300 wiops=400");
    assert!(set == separate || set.trim() == together, "{set}");

    // A kernel without a scheduler that knows weights says so.
    let weighed = run(&env, &["--blkio-weight", "300", "busybox", "true"]);
    assert!(weighed.code == 0 || weighed.code == 125 && weighed.stderr.contains("weight"), "{weighed}");
    run(&env, &["--limits=best-effort", "--blkio-weight", "300", "busybox", "true"]).success();
    for option in ["read-bps", "write-bps", "read-iops", "write-iops"] {
        let option = format!("--device-{option}");
        run(&env, &[&option, "/dev/no-such-disk:100", "busybox", "true"])
            .failure(125)
            .says(["/dev/no-such-disk"]);
        run(&env, &[&option, "/dev/sdX", "busybox", "true"]).failure(125).says(["/dev/sdX"]);
    }
}

#[test]
fn a_machine_without_the_controller_says_so() {
    let Some(env) = as_root() else { return };
    let Some(disk) = disk() else { return skipped("there is no block device") };
    // A view of version 2 alone, which has none of the controllers here.
    let view = "mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec \"$@\"";
    let limit = format!("--device-read-bps=/dev/{disk}:1mb");
    for (flag, names) in
        [(&*limit, "io.max"), ("--blkio-weight=300", "io.bfq.weight"), ("--memory=64m", "memory")]
    {
        let words = ["run", "--rm", flag, "busybox", "true"];
        let outcome = env.kiln(words).through(["unshare", "-m", "sh", "-c", view, "sh"]).run();
        if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
            return skipped("the controllers of this machine are in version 2");
        }
        assert!(outcome.code == 125 && outcome.stderr.contains("control group"), "{names}: {outcome}");
    }
}
