//! Escapes through the start of a process: its working directory, its program, its root's own /proc and /dev.

use std::fs;

use kiln_tests::TestEnv;

use crate::outside::Attacked;

/// CVE-2024-21626: a descriptor of the host that is left open becomes the working directory.
#[test]
fn a_working_directory_that_is_a_descriptor_of_the_host_leads_nowhere() {
    for attacked in Attacked::each() {
        let outside = attacked.outside();
        for fd in [3, 5, 6, 7, 8, 9, 11, 15] {
            let script = format!(
                "for up in . .. ../.. ../../.. ../../../..; do cat $up/{outside}/secret; ls $up; echo x > $up/{outside}/made; done; true"
            );
            let direct = format!("FROM busybox\nWORKDIR /proc/self/fd/{fd}\nRUN {script}\n");
            let outcome = attacked.build(&direct);
            assert!(!outcome.text().contains("kiln-launcher"), "{outcome}");
            attacked.build(&format!(
                "FROM busybox\nRUN ln -s /proc/self/fd/{fd} /link\nWORKDIR /link\nRUN {script}\n"
            ));
        }
        let run = ["run", "--rm", "-w", "/proc/self/fd/7", "busybox", "cat", "../../../etc/shadow"];
        assert_ne!(attacked.kiln(&run).code, 0);
    }
}

/// CVE-2019-5736: the program that starts the process is opened through /proc and overwritten.
#[test]
fn the_program_of_kiln_cannot_be_reached_from_within() {
    for attacked in Attacked::each() {
        let env = &attacked.env;
        let before = fs::read(env.binary()).expect("the kiln binary");
        attacked.build(
            "FROM busybox\nRUN cp /proc/self/exe /got; (for p in /proc/[0-9]*; do echo x > $p/exe; done); \
             ln -sf /proc/self/exe /bin/me; true\nRUN [\"/bin/me\"]\n",
        );
        attacked.build("FROM busybox\nRUN printf '#!/proc/self/exe\\n' > /run-me && chmod +x /run-me\nRUN [\"/run-me\"]\n").failure(1);
        let outcome = attacked
            .build("FROM busybox\nENTRYPOINT [\"/proc/self/exe\"]\nRUN [\"/proc/self/exe\", \"info\"]\n");
        assert_ne!(outcome.code, 0, "{outcome}");
        assert_eq!(fs::read(env.binary()).expect("the kiln binary"), before);
    }
}

/// CVE-2025-31133: masking binds what the image calls /dev/null over the paths to be hidden.
#[test]
fn a_fake_dev_null_of_the_image_masks_nothing() {
    for attacked in Attacked::each() {
        for made in [
            "rm -rf /dev; mkdir /dev; ln -s /proc/sys/kernel/core_pattern /dev/null",
            "rm -rf /dev; ln -s /proc/sys/kernel /dev",
            "rm -rf /dev; mkdir /dev; cp /bin/busybox /dev/null",
            "rm -rf /dev; mkdir -p /dev/null",
        ] {
            // What is mounted over in this step is changed in the layer of the next one's base, by COPY.
            let dockerfile = format!(
                "FROM busybox AS evil\nRUN mkdir /root-of-it && cd /root-of-it && mkdir dev && chroot . true; \
                 cd /root-of-it && {}\n\
                 FROM busybox\nCOPY --from=evil /root-of-it/ /\n\
                 RUN echo x > /proc/kcore; cat /proc/keys /proc/timer_list; echo '|/evil' > /proc/sys/kernel/core_pattern; true\n",
                made.replace(" /dev", " ./dev")
            );
            let pattern = || fs::read_to_string("/proc/sys/kernel/core_pattern").expect("read it");
            let before = pattern();
            let outcome = attacked.build(&dockerfile);
            assert_eq!(pattern(), before, "{outcome}");
            assert!(!outcome.text().contains("keyring"), "{outcome}");
        }
    }
}

/// CVE-2025-52565: the terminal is bound over what the image calls /dev/console or /dev/pts.
#[test]
fn a_fake_console_of_the_image_is_not_bound_over() {
    for attacked in Attacked::each() {
        let outside = attacked.outside();
        let dockerfile = format!(
            "FROM busybox AS evil\nRUN mkdir -p /r/dev && ln -s {outside}/victim /r/dev/console && ln -s {outside} /r/dev/pts && ln -s /proc/sysrq-trigger /r/dev/tty\n\
             FROM busybox\nCOPY --from=evil /r/ /\n"
        );
        attacked.env.file("Dockerfile", dockerfile).build(["--tag=evil"]).success();
        let run = [
            "run",
            "--rm",
            "-t",
            "evil",
            "sh",
            "-c",
            "echo typed > /dev/console; test -c /dev/console; ls -l /dev/console /dev/pts/0",
        ];
        attacked.kiln(&run);
    }
}

/// CVE-2025-52881: what is written to /proc on the way into the sandbox lands in a file of the image's or a mount's.
#[test]
fn proc_cannot_be_replaced_by_the_image() {
    for attacked in Attacked::each() {
        for made in [
            "rm -rf proc; ln -s /tmp proc",
            "rm -rf proc; ln -s . proc",
            "rm -rf proc; echo x > proc",
            "rm -rf sys; ln -s proc sys",
            "rm -rf proc; mkdir -p proc/self/attr; ln -s /sysrq-trigger proc/self/attr/exec",
        ] {
            let dockerfile = format!(
                "FROM busybox AS evil\nRUN mkdir /r && cd /r && mkdir proc sys && {made}\n\
                 FROM scratch\nCOPY --from=busybox /bin /bin\nCOPY --from=evil /r/ /\n\
                 RUN echo 1 > /proc/sys/kernel/sysrq; echo b > /proc/sysrq-trigger; grep -c . /proc/1/mountinfo; ls /proc/1/ns; exit 7\n"
            );
            let outcome = attacked.build(&dockerfile);
            assert_ne!(outcome.code, 0, "{outcome}");
        }
    }
}

/// The same by a mount of the Dockerfile's: over a part of /proc, before what is hidden there is hidden.
#[test]
fn a_mount_over_a_part_of_proc_or_sys_opens_nothing() {
    for attacked in Attacked::each() {
        for target in [
            "/proc",
            "/proc/self",
            "/proc/sys",
            "/proc/sys/kernel",
            "/proc/1/attr",
            "/sys",
            "/sys/firmware",
            "/dev",
            "/dev/null",
            "/etc/resolv.conf",
        ] {
            for mount in ["type=tmpfs", "type=cache", "type=bind,from=evil,source=/r,rw"] {
                let outcome = attacked.build(&format!(
                    "FROM busybox AS evil\nRUN mkdir -p /r/self /r/kernel && echo > /r/kernel/core_pattern\nFROM busybox\n\
                     RUN --mount={mount},target={target} echo '|/evil' > /proc/sys/kernel/core_pattern; echo b > /proc/sysrq-trigger; \
                     cat /proc/kcore | head -c 9 | wc -c; echo ran; true\n"
                ));
                let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").expect("read it");
                assert!(!pattern.contains("evil"), "{mount} {target}: {outcome}");
            }
        }
    }
}

/// CVE-2024-9676: the image's account file is a link out of the image, a pipe without a writer, or without end.
#[test]
fn account_files_of_the_image_are_read_with_care() {
    for attacked in Attacked::each() {
        let outside = attacked.outside();
        for made in [
            format!("rm /etc/passwd; ln -s {outside}/secret /etc/passwd"),
            format!("rm /etc/passwd; ln -s ../../../../../../../../../../{outside}/secret /etc/passwd"),
            "rm /etc/passwd; mkfifo /etc/passwd".to_owned(),
            "rm /etc/group; mkfifo /etc/group".to_owned(),
            "rm /etc/passwd; mkdir /etc/passwd".to_owned(),
            "rm /etc/passwd; ln -s passwd /etc/passwd".to_owned(),
            "rm /etc/passwd; ln -s /dev/zero /etc/passwd".to_owned(),
            "rm /etc/passwd; ln -s /proc/self/fd/0 /etc/passwd".to_owned(),
            "yes 0123456789012345678901234567890123456789 | head -c 40000000 > /etc/passwd".to_owned(),
        ] {
            let dockerfile =
                format!("FROM busybox\nRUN {made}\nUSER someone\nRUN id; cat /etc/passwd | head -c 100\n");
            // It ends, and with the message that there is no such user.
            attacked.build(&dockerfile).failure(1).says(["someone"]);
        }
        attacked.build("FROM busybox\nRUN rm /etc/passwd && mkfifo /etc/passwd\nUSER 1000\nRUN [\"/bin/grep\", \"1000.*1000\", \"/proc/self/status\"]\n").success();
    }
}

/// Nothing of kiln's is inherited: descriptors, environment, memory locks, ignored signals.
#[test]
fn a_step_inherits_nothing_of_kiln() {
    for env in TestEnv::each() {
        env.busybox();
        env.file(
            "Dockerfile",
            "FROM busybox\nRUN chmod 777 /\nRUN [\"/bin/busybox\", \"sh\", \"-c\", \"ls /proc/1/fd | tr '\\\\n' ' ' > /out; env >> /out\"]\nRUN [\"/bin/cp\", \"/proc/self/status\", \"/status\"]\n",
        );
        let image = env.image([]);
        let out = image.content("out");
        assert!(["0 1 2 ", "0 1 2 3 "].iter().any(|fds| out.starts_with(fds)), "{out}");
        let status = image.content("status");
        assert!(
            status.contains("SigBlk:\t0000000000000000") && status.contains("SigIgn:\t0000000000000000"),
            "{status}"
        );
        assert!(!out.contains("KILN_ROOT"), "{out}");
    }
}
