//! What a RUN step sees and what it cannot reach, for root and for an ordinary user.

use kiln_tests::{TestEnv, is_running};

/// Runs a script as a RUN step and gives what it printed, for each kind of user.
#[track_caller]
fn each(script: &str, check: impl Fn(&TestEnv, &str)) {
    for env in TestEnv::all() {
        env.busybox()
            .file("Dockerfile", format!("FROM busybox\nRUN <<'EOF'\nexec > /out 2>&1\n{script}\nEOF\n"));
        let image = env.image([]);
        check(&env, &image.content("out"));
    }
}

#[test]
fn a_step_is_the_first_process_and_sees_no_other() {
    each("echo $$; ls -d /proc/[0-9]* | wc -l", |_, out| {
        let lines: Vec<_> = out.lines().collect();
        assert_eq!(lines[0], "1");
        // The shell, the pipe's two ends, nothing else.
        assert!(lines[1].trim().parse::<u32>().expect("a number") <= 4, "{out}");
    });
}

#[test]
fn a_step_has_hosts_resolver_and_a_small_dev() {
    let script = "test -s /etc/hosts && test -e /etc/resolv.conf && ls /dev | tr '\\n' ' '; \
                  echo x > /dev/null && head -c4 /dev/urandom | wc -c; test -c /dev/tty && ls -d /dev/pts /dev/shm";
    each(script, |_, out| {
        for name in [
            "null", "zero", "full", "random", "urandom", "tty", "fd", "stdin", "stdout", "stderr", "ptmx",
            "shm",
        ] {
            assert!(out.split_whitespace().any(|word| word == name), "{name} in {out}");
        }
        for name in ["kmsg", "mem", "sda", "kvm", "vda", "fuse"] {
            assert!(!out.split_whitespace().any(|word| word == name), "{name} in {out}");
        }
    });
}

#[test]
fn no_stub_of_what_was_mounted_is_left_in_the_layer() {
    for env in TestEnv::all() {
        env.busybox().file("Dockerfile", "FROM busybox\nRUN true\n");
        assert_eq!(env.image([]).added(1), "", "a step that changes nothing makes an empty layer");
    }
}

#[test]
fn capabilities_are_dockers_default_set() {
    each("grep -E 'Cap(Inh|Prm|Eff|Bnd)|NoNewPrivs|Seccomp:' /proc/self/status", |_, out| {
        let value = |name: &str| {
            let line =
                out.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} in {out}"));
            line.split_whitespace().nth(1).expect("a value").to_owned()
        };
        for name in ["CapPrm", "CapEff", "CapBnd"] {
            assert_eq!(value(name), "00000000a80425fb", "{name}");
        }
        assert_eq!(value("CapInh"), "0000000000000000");
        assert_eq!(value("NoNewPrivs"), "0");
        assert_eq!(value("Seccomp"), "2", "a filter is on");
    });
}

#[test]
fn proc_and_sys_are_masked_and_read_only() {
    let script = "test ! -e /proc/kcore || wc -c < /proc/kcore; cat /proc/keys /proc/timer_list | wc -c; \
                  (echo x > /proc/sys/kernel/hostname) 2>/dev/null && echo wrote; \
                  touch /sys/x 2>/dev/null && echo touched; for d in /proc/acpi /sys/firmware; do ls -A $d 2>/dev/null; done | wc -l";
    each(script, |_, out| {
        assert!(!out.contains("wrote") && !out.contains("touched"), "{out}");
        assert!(out.lines().all(|line| line.trim() == "0" || line.contains("No such")), "{out}");
    });
}

#[test]
fn mounting_and_tracing_the_kernel_are_refused() {
    let script = "mount -t tmpfs none /tmp && echo mounted; unshare -m true && echo unshared; \
                  mknod /tmp/disk b 8 0 && head -c1 /tmp/disk | od | grep 0000001 && echo read; chroot /proc/1/root true && echo; \
                  reboot -f && echo rebooted; true";
    each(script, |_, out| {
        for word in ["mounted", "unshared", "read\n", "rebooted"] {
            assert!(!out.contains(word), "{out}");
        }
    });
}

#[test]
fn nothing_of_the_host_is_in_reach() {
    for env in TestEnv::all() {
        env.busybox().write("host-secret", "of the host");
        let path = env.path("host-secret").display().to_string();
        let script = format!(
            "ls {path} /root/.cargo 2>/dev/null; ls /proc/self/fd | wc -l; env; cat /proc/self/mountinfo"
        );
        env.file("Dockerfile", format!("FROM busybox\nRUN <<'EOF'\nexec > /out\n{script}\nEOF\n"));
        let output = format!("--output=type=local,dest={}", env.path("root").display());
        let context = env.path("context").display().to_string();
        env.kiln(["build", &output, &context]).env("HOST_VARIABLE", "leaked").run().success();
        let out = std::fs::read_to_string(env.path("root/out")).expect("read /out");
        assert!(!out.contains("host-secret\n") && !out.contains("HOST_VARIABLE"), "{out}");
        // 0, 1, 2 and the one that ls itself opens.
        assert_eq!(out.lines().next().map(str::trim), Some("4"), "{out}");
    }
}

#[test]
fn host_names_and_ids_are_the_steps_own() {
    each("id -u; id -g; hostname; cat /proc/self/uid_map | wc -l; umask", |_, out| {
        let lines: Vec<_> = out.lines().map(str::trim).collect();
        assert_eq!(lines[..2], ["0", "0"], "{out}");
        assert_eq!(lines[4], "0022", "{out}");
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a host name");
        assert_ne!(lines[2], host.trim(), "the host's name is not shown");
    });
}

#[test]
fn background_processes_end_with_their_step() {
    for env in TestEnv::all() {
        let mark = format!("3{}", std::process::id());
        env.busybox()
            .file("Dockerfile", format!("FROM busybox\nRUN (sleep {mark} &) ; setsid sleep {mark} & true\n"));
        let start = std::time::Instant::now();
        env.build(["--no-cache"]).success();
        assert!(start.elapsed().as_secs() < 30, "the step does not wait for them");
        assert!(!is_running(&["sleep", &mark]), "a process of the step is still there");
    }
}

#[test]
fn exit_codes_and_signals_are_told() {
    for env in TestEnv::all() {
        env.busybox().file("Dockerfile", "FROM busybox\nRUN exit 42\n");
        env.build([]).failure(1).says(["42"]);
        env.file("Dockerfile", "FROM busybox\nRUN sh -c 'kill -SEGV $$'; exit $?\n");
        env.build([]).failure(1).says(["139"]);
        env.file("Dockerfile", "FROM busybox\nRUN [\"/no/such/program\"]\n");
        env.build([]).failure(1).says(["/no/such/program"]);
    }
}

#[test]
fn a_rootless_build_maps_owners_and_gives_the_same_image_as_root() {
    let dockerfile = "FROM busybox\nRUN mkdir /d && echo x > /d/f && chown 1000:1001 /d/f && chmod 4755 /d/f && touch -d @7 /d/f /d\n\
                      COPY --chown=7:8 f /g\n";
    let Some(rootless) = TestEnv::rootless() else { return };
    let root = TestEnv::new();
    let [one, two] = [root, rootless].map(|env| {
        env.busybox().file("f", "x").file("Dockerfile", dockerfile);
        env.image([]).listing()
    });
    assert!(one.contains("f 4755 /d/f 2 1000:1001\n"), "{one}");
    assert_eq!(one, two);
}

#[test]
fn file_capabilities_and_other_ids_work_in_a_step() {
    each(
        "adduser 2>/dev/null; su -s /bin/sh root -c 'id -u'; chown 65534:65534 /tmp && stat -c %u:%g /tmp",
        |_, out| {
            assert!(out.ends_with("65534:65534\n"), "{out}");
        },
    );
}
