//! What a step may not do: each case tries it.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use kiln_executor::sandbox::{Content, Graft, GraftSource, SandboxError, Tree};
use oci_spec::runtime::MountBuilder;

use crate::fixture::{Fixture, chain};

pub(crate) fn the_filter_refuses(fixture: &Fixture) {
    let output = fixture
        .step("mount -t tmpfs x /tmp; umount /proc; unshare -m true; unshare -r true; unshare -n true; hostname x; chroot / true && echo chroot")
        .run()
        .output;
    let refused = output.lines().filter(|line| line.to_lowercase().contains("not permitted")).count();
    // busybox's mount words it in its own way.
    assert!(output.contains("mount: permission denied"), "{output}");
    assert_eq!((refused, output.contains("chroot\n")), (5, true), "{output}");
}

pub(crate) fn host_paths_are_hidden_or_read_only(fixture: &Fixture) {
    for hidden in ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/interrupts", "/proc/sched_debug"] {
        if fs::metadata(hidden).is_ok() {
            assert_eq!(fixture.output(&format!("cat {hidden} | wc -c")), "0\n", "{hidden}");
        }
    }
    for hidden in ["/proc/acpi", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"] {
        if fs::metadata(hidden).is_ok() {
            assert_eq!(fixture.output(&format!("ls {hidden} | wc -l")), "0\n", "{hidden}");
        }
    }
    let output = fixture
        .step("echo x > /proc/sysrq-trigger; echo x > /proc/sys/kernel/core_pattern; echo 0 > /proc/irq/default_smp_affinity; \
               mkdir /sys/x; mkdir /sys/fs/cgroup/x; touch /sys/kernel/x; chmod 777 /proc/sys; echo x > /proc/keys && echo masked")
        .run()
        .output;
    assert!(output.ends_with("masked\n"), "{output}");
    for line in output.lines().take(7) {
        let refused =
            ["Read-only", "Permission denied", "not permitted", "nonexistent directory", "No such file"];
        assert!(refused.iter().any(|word| line.contains(word)), "{line}");
    }
}

pub(crate) fn nothing_of_kiln_is_left_open(fixture: &Fixture) {
    let listed = fixture.output("ls /proc/self/fd | tr '\\n' ' '");
    assert!(["0 1 2 3 ", "0 1 2 "].contains(&listed.as_str()), "{listed}");
    let output = fixture
        .output("readlink /proc/1/fd/3; readlink /proc/1/exe; cat /proc/1/environ | tr '\\0' '\\n'; true");
    assert_eq!(output, "/bin/busybox\nPATH=/usr/bin:/bin\n");
}

pub(crate) fn no_network_means_loopback_alone(fixture: &Fixture) {
    let step = fixture
        .step("grep -c : /proc/net/dev; ip addr show lo | grep -o 'inet 127.0.0.1'; (nc -l -p 4242 -s 127.0.0.1 & ); sleep 0.1; echo hi | nc -w 1 127.0.0.1 4242 && echo reached")
        .with(|s| s.own_network = true);
    let output = step.run().output;
    assert!(output.contains("inet 127.0.0.1"), "{output}");
    let step = fixture
        .step("ls /sys/class/net 2>/dev/null | tr '\\n' ' '; grep : /proc/net/dev | wc -l")
        .with(|s| s.own_network = true);
    assert_eq!(step.run().output, "lo 1\n");
}

pub(crate) fn daemons_end_with_the_step(fixture: &Fixture) {
    let marker = fixture.path("marker");
    fs::write(&marker, "").expect("the store is writable");
    let step = fixture
        .step("setsid sh -c 'trap \"\" TERM HUP; while :; do echo x >> /marker; sleep 0.01; done' & sleep 0.1; exit 3")
        .graft(Graft { target: "/marker".into(), source: GraftSource::Path(marker.clone()), read_only: false });
    assert_eq!(step.run().exit.code(), 3);
    let size = fs::metadata(&marker).expect("it is there").len();
    assert!(size > 0);
    assert_eq!(fixture.output("sleep 0.1"), "");
    assert_eq!(fs::metadata(&marker).expect("it is there").len(), size, "it writes on");
}

/// Starts this program again, which starts steps, and kills it without mercy.
pub(crate) fn killing_kiln_leaves_nothing(fixture: &Fixture) {
    let marker = fixture.path("marker");
    if let Some(marker) = crate::victim_marker() {
        let marker_path = std::path::PathBuf::from(marker);
        let source = GraftSource::Path(marker_path);
        let step = fixture
            .step("trap '' TERM; while :; do echo x >> /marker; sleep 0.01; done")
            .graft(Graft { target: "/marker".into(), source, read_only: false });
        let null = || kiln_executor::sandbox::Stream::Null;
        let io = kiln_executor::sandbox::Io::Streams { stdin: null(), stdout: null(), stderr: null() };
        let mut running = step.start(io).expect("it starts");
        println!("started");
        let _ = running.wait();
        return;
    }
    fs::write(&marker, "").expect("the store is writable");
    if !fixture.root() {
        // The victim enters a user namespace of its own; from within this one that is another test.
        return;
    }
    let mut victim = Command::new(std::env::current_exe().expect("this program has a path"))
        .args(["--exact", "killing_kiln_leaves_nothing", "--victim"])
        .arg(&marker)
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program can be started");
    victim.stdout.as_mut().expect("a pipe").read_exact(&mut [0; 8]).expect("it speaks");
    while fs::metadata(&marker).expect("it is there").len() == 0 {
        std::thread::yield_now();
    }
    victim.kill().expect("it runs");
    victim.wait().expect("it ran");
    // The pipe was held by every process of it; the kernel may need a moment for the last one.
    let mut size = u64::MAX;
    for _ in 0..50 {
        let now = fs::metadata(&marker).expect("it is there").len();
        if now == size {
            break;
        }
        size = now;
        fixture.output("sleep 0.05");
    }
    let busy: Vec<_> = fs::read_dir("/proc")
        .expect("proc is there")
        .flatten()
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .filter(|line| String::from_utf8_lossy(line).contains("echo x >> /marker"))
        .collect();
    assert_eq!(busy.len(), 0);
}

fn content(text: &str) -> GraftSource {
    GraftSource::Content(Content { data: text.as_bytes().to_vec(), uid: 0, gid: 0, mode: 0o444 })
}

pub(crate) fn mount_targets_stay_in_the_root(fixture: &Fixture) {
    let outside = fixture.path("outside");
    fs::create_dir_all(&outside).expect("the store is writable");
    let base = fixture.path("base");
    symlink(&outside, base.join("absolute")).expect("the base is writable");
    symlink(
        "../../../../../../../../../../../..".to_owned() + outside.to_str().unwrap(),
        base.join("climbing"),
    )
    .unwrap();
    symlink("/run/stub-resolv.conf", base.join("etc/dangling")).unwrap();
    symlink("loop-b", base.join("loop-a")).unwrap();
    symlink("loop-a", base.join("loop-b")).unwrap();
    for link in ["absolute", "climbing"] {
        let step = fixture.step(&format!("cat /{link}/x {}/x", outside.display())).graft(Graft {
            target: format!("/{link}/x"),
            source: content("inside\n"),
            read_only: true,
        });
        assert_eq!(step.run().output, "inside\ninside\n", "{link}");
        assert_eq!(fs::read_dir(&outside).expect("it is there").count(), 0, "{link}");
    }
    let step = fixture.step("cat /etc/dangling /run/stub-resolv.conf").graft(Graft {
        target: "/etc/dangling".into(),
        source: content("inside\n"),
        read_only: true,
    });
    assert_eq!(step.run().output, "inside\ninside\n");
    assert_eq!(step.changes(), [""; 0]);
    let step = fixture.step("cat /up").graft(Graft {
        target: "/../../../up".into(),
        source: content("inside\n"),
        read_only: true,
    });
    assert_eq!(step.run().output, "inside\n");
    let step = fixture.step("true").graft(Graft {
        target: "/loop-a/x".into(),
        source: content(""),
        read_only: true,
    });
    assert!(step.try_run().is_err());

    // The image's /proc may not send the real one elsewhere.
    fs::create_dir_all(fixture.path("evil/tmp")).unwrap();
    symlink("/tmp", fixture.path("evil/proc")).unwrap();
    let mut step = fixture.step("true");
    if let Tree::Overlay { lowers, .. } = &mut step.bundle.root {
        lowers.push(fixture.path("evil"));
    }
    let error = step.try_run().expect_err("it is refused");
    assert!(chain(&error).contains("/proc (it may not be a symlink)"), "{}", chain(&error));
}

pub(crate) fn trees_do_not_lead_out(fixture: &Fixture) {
    let tree = fixture.path("tree");
    fs::create_dir_all(tree.join("dir")).expect("the store is writable");
    symlink("/", tree.join("slash")).unwrap();
    symlink("/etc", tree.join("dir/etc")).unwrap();
    symlink("/proc/self/root", tree.join("magic")).unwrap();
    fs::write(tree.join("mine"), "mine").unwrap();
    let graft = |path: &str| Graft {
        target: "/mnt".into(),
        source: GraftSource::Tree { tree: Tree::Directory(tree.clone()), path: path.into() },
        read_only: true,
    };
    for path in ["slash", "/slash", "slash/../..", "../../.."] {
        let output = fixture.step("ls /mnt | tr '\\n' ' '").graft(graft(path)).run().output;
        assert_eq!(output, "dir magic mine slash ", "{path}");
    }
    for path in ["dir/etc", "magic", "magic/etc"] {
        assert!(fixture.step("ls /mnt").graft(graft(path)).try_run().is_err(), "{path}");
    }
}

pub(crate) fn magic_links_lead_nowhere(fixture: &Fixture) {
    for fd in 0..20 {
        for path in [format!("/proc/self/fd/{fd}"), format!("/proc/self/fd/{fd}/../../..")] {
            let step = fixture.step("pwd; ls").with(|s| s.cwd = path.clone());
            assert!(matches!(step.try_run(), Err(SandboxError::Setup { .. })), "{path}");
        }
    }
    for path in ["/proc/self/cwd", "/proc/self/root"] {
        assert!(fixture.step("ls").with(|s| s.cwd = path.into()).try_run().is_err(), "{path}");
    }
    // kiln's own program is not to be had from within.
    assert!(matches!(fixture.step_of(&["/proc/self/exe"]).try_run(), Err(SandboxError::Exec { .. })));
    let script = fixture.path("base/bin/script");
    for first in ["#!/proc/self/exe", "#! /proc/self/exe x", "#!/bin/other"] {
        fs::write(fixture.path("base/bin/other"), "#!/proc/self/exe\n").expect("the base is writable");
        fs::write(&script, format!("{first}\n")).expect("the base is writable");
        for file in ["script", "other"] {
            let path = fixture.path("base/bin").join(file);
            fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("own file");
        }
        assert!(matches!(fixture.step_of(&["script"]).try_run(), Err(SandboxError::Exec { .. })), "{first}");
    }
}

pub(crate) fn made_devices_cannot_be_opened(fixture: &Fixture) {
    let output = fixture
        .step("for dir in / /tmp /dev /dev/shm; do mknod $dir/disk b 254 0; cat $dir/disk; mknod $dir/mem c 1 1; head -c 1 $dir/mem; done")
        .run()
        .output;
    // Making them is refused to an ordinary user; opening them to everybody.
    let refused = ["Permission denied", "mknod: "];
    assert!(
        output.lines().all(|line| refused.iter().any(|word| line.contains(word)) || !fixture.root()),
        "{output}"
    );
    assert!(output.lines().count() >= 8, "{output}");
}

pub(crate) fn the_hosts_devices_cannot_be_changed(fixture: &Fixture) {
    let before = fs::metadata("/dev/null").expect("it is there");
    let output =
        fixture.step("chmod 600 /dev/null /proc/kcore; chown 7 /dev/zero; touch /dev/null").run().output;
    assert!(output.lines().count() >= 3, "{output}");
    let after = fs::metadata("/dev/null").expect("it is there");
    assert_eq!(before.permissions(), after.permissions());
    // Standard streams are the sandbox's own null.
    fixture.step("chmod 600 /proc/self/fd/0").run();
    assert_eq!(fs::metadata("/dev/null").expect("it is there").permissions(), before.permissions());
}

pub(crate) fn replaced_mount_points_are_left_alone(fixture: &Fixture) {
    let victim = fixture.path("victim");
    fs::create_dir_all(victim.join("sub")).expect("the store is writable");
    fs::write(victim.join("sub/target"), "").expect("the store is writable");
    // The parent of the mount point is renamed, and a link to the host's directory put in its place.
    let step = fixture
        .step(&format!("mkdir /tmp/x; mv /new /old; ln -s {} /new; ls /old/sub", victim.display()))
        .graft(Graft { target: "/new/sub/target".into(), source: content("x"), read_only: true });
    let done = step.run();
    assert!(victim.join("sub/target").exists(), "{done:?}");
    // What a step wrote at a mount point's place is its own.
    let step = fixture.step("echo kept > /made/beside").graft(Graft {
        target: "/made/target".into(),
        source: content("x"),
        read_only: true,
    });
    step.run();
    assert_eq!(step.changes(), ["made", "made/beside"]);
}

pub(crate) fn odd_mount_options_are_refused(fixture: &Fixture) {
    for option in
        ["shared", "rshared", "unbindable", "lowerdir=/etc", "subdir=..", "context=x", "remount", ""]
    {
        let mut step = fixture.step("true");
        let mut mounts = step.bundle.spec.mounts().clone().expect("the default has some");
        let options = vec![option.to_owned()];
        mounts.push(
            MountBuilder::default()
                .destination("/mnt")
                .typ("tmpfs")
                .options(options)
                .build()
                .expect("complete"),
        );
        step.bundle.spec.set_mounts(Some(mounts));
        assert!(matches!(step.try_run(), Err(SandboxError::Spec(_))), "{option}");
    }
}
