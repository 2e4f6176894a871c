//! What a step may expect.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;

use kiln_executor::process::User;
use kiln_executor::sandbox::{Content, Graft, GraftSource, Io, Profile, SandboxError, Status, Stream, Tree};

use crate::attacks;
use crate::fixture::{Fixture, chain};

type Case = fn(&Fixture);

macro_rules! cases {
    ($($module:ident :: $name:ident),+ $(,)?) => { &[$((stringify!($name), $module::$name)),+] };
}

use self as cases;

pub(crate) const CASES: &[(&str, Case)] = cases![
    cases::exit_codes_and_signals_are_told,
    cases::streams_are_pipes_or_nothing,
    cases::a_terminal_works,
    cases::the_profile_is_dockers,
    cases::names_and_namespaces_are_the_steps_own,
    cases::users_have_their_ids_and_no_capabilities,
    cases::devices_are_the_usual_ones,
    cases::changes_are_in_the_upper_directory_and_mount_points_are_not,
    cases::grafts_show_files_trees_and_memory,
    cases::a_read_only_root_is_read_only,
    cases::programs_that_cannot_run_are_told_apart,
    cases::limits_are_lowered_to_what_is_allowed,
    cases::memory_limits_kill_and_tell,
    cases::several_steps_run_at_once,
    cases::an_insecure_step_has_everything,
    attacks::the_filter_refuses,
    attacks::host_paths_are_hidden_or_read_only,
    attacks::nothing_of_kiln_is_left_open,
    attacks::no_network_means_loopback_alone,
    attacks::daemons_end_with_the_step,
    attacks::killing_kiln_leaves_nothing,
    attacks::mount_targets_stay_in_the_root,
    attacks::trees_do_not_lead_out,
    attacks::magic_links_lead_nowhere,
    attacks::made_devices_cannot_be_opened,
    attacks::replaced_mount_points_are_left_alone,
    attacks::odd_mount_options_are_refused,
    attacks::the_hosts_devices_cannot_be_changed,
];

/// Cases that need more ids than one.
pub(crate) const NEED_IDS: &[&str] = &[
    // With one id a device that a step makes is an empty file, which opens.
    "made_devices_cannot_be_opened",
    "streams_are_pipes_or_nothing",
    "users_have_their_ids_and_no_capabilities",
    "grafts_show_files_trees_and_memory",
];

fn exit_codes_and_signals_are_told(fixture: &Fixture) {
    assert_eq!(fixture.step("exit 0").run().exit.status, Status::Code(0));
    assert_eq!(fixture.step("exit 42").run().exit.code(), 42);
    // The first process of a namespace is not hurt by its own signals; its child is, and a shell tells so.
    assert_eq!(fixture.step("sh -c 'kill -TERM $$'; exit $?").run().exit.code(), 143);

    let mut running = fixture.step("sleep 1000").start(nothing()).expect("it starts");
    running.handle().kill();
    let exit = running.wait().expect("it ran");
    assert_eq!((exit.status, exit.code()), (Status::Signal(9), 137));
    assert!(running.handle().signal(15).is_err(), "it has ended");

    let step = fixture.step("trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done");
    let mut running = step.start(pipes()).expect("it starts");
    let mut line = [0; 6];
    fs::File::from(running.stdout.take().expect("a pipe")).read_exact(&mut line).expect("it speaks");
    running.handle().signal(15).expect("it runs");
    assert_eq!(running.wait().expect("it ran").code(), 7);
}

fn nothing() -> Io {
    Io::Streams { stdin: Stream::Null, stdout: Stream::Null, stderr: Stream::Null }
}

fn pipes() -> Io {
    Io::Streams { stdin: Stream::Pipe, stdout: Stream::Pipe, stderr: Stream::Pipe }
}

fn streams_are_pipes_or_nothing(fixture: &Fixture) {
    let mut running = fixture.step("cat; echo problem >&2").start(pipes()).expect("it starts");
    let mut stdin = fs::File::from(running.stdin.take().expect("a pipe"));
    stdin.write_all(b"hello").expect("it reads");
    drop(stdin);
    let mut text = String::new();
    fs::File::from(running.stdout.take().expect("a pipe")).read_to_string(&mut text).expect("text");
    fs::File::from(running.stderr.take().expect("a pipe")).read_to_string(&mut text).expect("text");
    assert_eq!(text, "helloproblem\n");
    assert!(running.wait().expect("it ran").success());

    assert_eq!(fixture.output("wc -c; readlink /proc/self/fd/0"), "0\n/dev/null\n");

    // /dev/stdout can be opened by the user who runs.
    let step = fixture.step("echo once > /dev/stdout; echo twice > /dev/stderr").with(|s| s.user = bob());
    let mut running = step.start(pipes()).expect("it starts");
    let mut text = String::new();
    fs::File::from(running.stdout.take().expect("a pipe")).read_to_string(&mut text).expect("text");
    fs::File::from(running.stderr.take().expect("a pipe")).read_to_string(&mut text).expect("text");
    assert_eq!(text, "once\ntwice\n");
}

fn bob() -> User {
    User { uid: 1000, gid: 1000, groups: vec![50], home: "/home/bob".to_owned() }
}

fn a_terminal_works(fixture: &Fixture) {
    let step = fixture.step(
        "tty; stty size; read line; echo got $line; test -c /dev/console && echo console; echo x > /dev/tty",
    );
    let mut running = step.start(Io::Terminal { rows: 24, columns: 100 }).expect("it starts");
    let terminal = running.terminal.take().expect("a terminal");
    let mut terminal = fs::File::from(terminal);
    terminal.write_all(b"input\n").expect("it reads");
    let mut text = Vec::new();
    // The master side ends with EIO when the last holder of the other side is gone.
    let _ = terminal.read_to_end(&mut text);
    let text = String::from_utf8(text).expect("text").replacen("input\r\n", "", 1).replace('\r', "");
    assert_eq!(text, "/dev/pts/0\n24 100\ngot input\nconsole\nx\n");
    assert!(running.wait().expect("it ran").success());

    let step = fixture.step("trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.01; done");
    let mut running = step.start(Io::Terminal { rows: 24, columns: 80 }).expect("it starts");
    let mut terminal = fs::File::from(running.terminal.take().expect("a terminal"));
    terminal.read_exact(&mut [0; 7]).expect("it speaks");
    let size = rustix::termios::Winsize { ws_row: 50, ws_col: 132, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(terminal.as_fd(), size).expect("it is a terminal");
    let mut text = Vec::new();
    let _ = terminal.read_to_end(&mut text);
    assert_eq!(String::from_utf8_lossy(&text).trim(), "50 132");
    running.wait().expect("it ran");
}

fn the_profile_is_dockers(fixture: &Fixture) {
    let status = fixture
        .output("grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status | tr '\\t\\n' '  '; pwd; umask; id -u");
    assert_eq!(
        status,
        "CapInh: 0000000000000000 CapPrm: 00000000a80425fb CapEff: 00000000a80425fb CapBnd: 00000000a80425fb \
         CapAmb: 0000000000000000 NoNewPrivs: 0 Seccomp: 2 /\n0022\n0\n"
    );
}

fn names_and_namespaces_are_the_steps_own(fixture: &Fixture) {
    assert_eq!(fixture.output("hostname"), "buildkitsandbox\n");
    assert_eq!(fixture.output("echo $$; echo /proc/[0-9]*"), "1\n/proc/1\n");
    for namespace in ["mnt", "pid", "ipc", "uts", "cgroup"] {
        let path = format!("/proc/self/ns/{namespace}");
        let ours = fs::read_link(&path).expect("proc is there").display().to_string();
        assert_ne!(fixture.output(&format!("readlink {path}")).trim(), ours, "{namespace}");
    }
    let ours = fs::read_link("/proc/self/ns/net").expect("proc is there").display().to_string();
    assert_eq!(fixture.output("readlink /proc/self/ns/net").trim(), ours, "the host's network by default");
    // Only the root and what is mounted in it; nothing of the host.
    let mounts = fixture.output("cat /proc/mounts");
    assert!(
        mounts.lines().all(|line| !line.contains("/proc/driver") && !line.contains("ext4 rw")),
        "{mounts}"
    );
}

fn users_have_their_ids_and_no_capabilities(fixture: &Fixture) {
    let step = fixture.step("id -u; id -g; id -G; grep CapEff /proc/self/status; grep CapBnd /proc/self/status; cat /etc/shadow")
        .with(|s| s.user = bob());
    fs::write(fixture.path("base/etc/shadow"), "secret").expect("the base is writable");
    fs::set_permissions(fixture.path("base/etc/shadow"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .expect("own file");
    assert_eq!(
        step.run().output,
        "1000\n1000\n1000 50\nCapEff:\t0000000000000000\nCapBnd:\t00000000a80425fb\ncat: can't open '/etc/shadow': Permission denied\n"
    );
}

fn devices_are_the_usual_ones(fixture: &Fixture) {
    let list = fixture.output("ls /dev");
    assert_eq!(
        list.split_whitespace().collect::<Vec<_>>().join(" "),
        "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"
    );
    assert_eq!(
        fixture.output("echo x > /dev/null; head -c 4 /dev/zero | wc -c; head -c 4 /dev/urandom | wc -c"),
        "4\n4\n"
    );
    assert_eq!(
        fixture.output("stat -f -c %s%t /dev/shm >/dev/null; touch /dev/shm/x /dev/x && echo writable"),
        "writable\n"
    );
    let step = fixture.step("stat -f -c '%S %b' /dev/shm").with(|s| s.shm_size = 1 << 20);
    assert_eq!(step.run().output, "4096 256\n");
}

fn changes_are_in_the_upper_directory_and_mount_points_are_not(fixture: &Fixture) {
    let step = fixture.step("mkdir /made; echo x > /made/file; rm /etc/passwd; cat /etc/resolv.conf");
    fs::write(fixture.path("resolv"), "nameserver 192.0.2.1\n").expect("the store is writable");
    let step = step.graft(Graft {
        target: "/etc/resolv.conf".into(),
        source: GraftSource::Path(fixture.path("resolv")),
        read_only: true,
    });
    let done = step.run();
    assert_eq!((done.output.as_str(), done.exit.stubs.len()), ("nameserver 192.0.2.1\n", 0));
    assert_eq!(step.changes(), ["etc", "etc/passwd", "made", "made/file"]);

    // Without the prepared mount points they are made, and removed again.
    let mut step = fixture.step("cat /deep/er/file; ls -d /proc /var");
    if let Tree::Overlay { lowers, .. } = &mut step.bundle.root {
        lowers.remove(0);
    }
    let source = GraftSource::Content(Content { data: b"memory\n".to_vec(), uid: 0, gid: 0, mode: 0o400 });
    let before = fs::metadata(fixture.path("base/var")).expect("it is there").mtime();
    let step = step.graft(Graft { target: "/deep/er/file".into(), source: source.clone(), read_only: true });
    let step = step.graft(Graft { target: "/var/run/x".into(), source, read_only: true });
    let done = step.run();
    assert_eq!(done.output, "memory\n/proc\n/var\n");
    let stubs: Vec<_> = done.exit.stubs.iter().map(|path| path.display().to_string()).collect();
    for stub in ["proc", "dev", "sys", "deep", "deep/er", "deep/er/file", "var/run", "var/run/x"] {
        assert!(stubs.iter().any(|made| made == stub), "{stub} in {stubs:?}");
    }
    assert_eq!(step.changes(), ["var"], "a copy of the lower directory stays, without difference");
    assert_eq!(fs::metadata(step.upper.join("var")).expect("it is there").mtime(), before);
}

fn grafts_show_files_trees_and_memory(fixture: &Fixture) {
    for (name, file) in [("one", "a"), ("two", "b")] {
        fs::create_dir_all(fixture.path(name).join("sub")).expect("the store is writable");
        fs::write(fixture.path(name).join("sub").join(file), name).expect("the store is writable");
    }
    let both = Tree::Overlay { lowers: vec![fixture.path("one"), fixture.path("two")], upper: None };
    let single = Tree::Overlay { lowers: vec![fixture.path("one")], upper: None };
    let secret = Content { data: b"s3cret".to_vec(), uid: 1000, gid: 1000, mode: 0o440 };
    let graft = |target: &str, source, read_only| Graft { target: target.into(), source, read_only };
    let step = fixture
        .step("cat /both/sub/a /both/sub/b /sub/b /single/a; echo; stat -c '%u:%g %a' /run/secret; cat /run/secret; echo; \
               touch /both/x /single/x /run/secret/x; echo x > /run/secret; touch /tmpfs/x && ls /tmpfs; touch /cache/kept")
        .graft(graft("/both", GraftSource::Tree { tree: both.clone(), path: "/".into() }, true))
        .graft(graft("/sub", GraftSource::Tree { tree: both, path: "/sub".into() }, true))
        .graft(graft("/single", GraftSource::Tree { tree: single, path: "sub".into() }, true))
        .graft(graft("/run/secret", GraftSource::Content(secret), true))
        .graft(graft("/tmpfs", GraftSource::Tmpfs { size: Some(1 << 20), mode: 0o755, no_exec: true, no_suid: true }, false))
        .graft(graft("/cache", GraftSource::Path(fixture.path("two")), false));
    let done = step.run();
    assert_eq!(
        done.output,
        "onetwotwoone\n1000:1000 440\ns3cret\ntouch: /both/x: Read-only file system\ntouch: /single/x: Read-only file system\n\
         touch: /run/secret/x: Not a directory\n/bin/sh: can't create /run/secret: Read-only file system\nx\n"
    );
    assert!(fixture.path("two/kept").exists(), "what is bound writable is written");
    assert_eq!(step.changes(), [""; 0]);
}

fn a_read_only_root_is_read_only(fixture: &Fixture) {
    let mut step = fixture.step("touch /x; touch /dev/shm/y && echo shm");
    let mut root = step.bundle.spec.root().clone().expect("the default has one");
    root.set_readonly(Some(true));
    step.bundle.spec.set_root(Some(root));
    assert_eq!(step.run().output, "touch: /x: Read-only file system\nshm\n");
    assert_eq!(step.changes(), [""; 0]);
}

fn programs_that_cannot_run_are_told_apart(fixture: &Fixture) {
    fs::write(fixture.path("base/bin/text"), "no program").expect("the base is writable");
    fs::write(fixture.path("base/bin/data"), [0_u8, 1, 2, 3]).expect("the base is writable");
    fs::set_permissions(fixture.path("base/bin/data"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("own file");
    for (args, code, message) in [
        (["absent"], 127, "execute `absent`: No such file or directory (os error 2)"),
        (["/absent"], 127, "execute `/absent`: No such file or directory (os error 2)"),
        (["/bin/text"], 126, "execute `/bin/text`: Permission denied (os error 13)"),
        (["/bin/data"], 126, "execute `/bin/data`: Exec format error (os error 8)"),
        (["/bin"], 126, "execute `/bin`: Is a directory (os error 21)"),
    ] {
        let error = fixture.step_of(&args).try_run().expect_err("it cannot run");
        assert_eq!((error.exit_code(), chain(&error).as_str()), (code, message));
    }
    let error =
        fixture.step("true").with(|s| s.cwd = "/absent".into()).try_run().expect_err("no such directory");
    assert_eq!(
        chain(&error),
        "sandbox: enter the working directory /absent: No such file or directory (os error 2)"
    );
    assert!(matches!(fixture.step_of(&[]).try_run(), Err(SandboxError::Spec(_))));
    let long = "x".repeat(100_000);
    assert_eq!(
        fixture.step_of(&["echo", &long]).run().output.len(),
        long.len() + 1,
        "long requests arrive whole"
    );
}

fn limits_are_lowered_to_what_is_allowed(fixture: &Fixture) {
    let mut step = fixture.step("ulimit -Hn; ulimit -Sn; ulimit -c");
    let mut process = step.bundle.spec.process().clone().expect("the default has one");
    let limit = |typ, soft, hard| {
        let builder = oci_spec::runtime::PosixRlimitBuilder::default();
        builder.typ(typ).soft(soft).hard(hard).build().expect("complete")
    };
    use oci_spec::runtime::PosixRlimitType::{RlimitCore, RlimitNofile};
    process.set_rlimits(Some(vec![limit(RlimitNofile, 1000_u64, u64::MAX), limit(RlimitCore, 0_u64, 0_u64)]));
    step.bundle.spec.set_process(Some(process));
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let output = step.run().output;
    let lines: Vec<&str> = output.lines().collect();
    let hard = most.map_or("unlimited".to_owned(), |most| most.to_string());
    assert!(
        lines[0] == hard || lines[0].parse::<u64>().is_ok_and(|n| most.is_none_or(|m| n >= m)),
        "{output}"
    );
    assert_eq!(lines[1..], ["1000", "0"]);
}

fn memory_limits_kill_and_tell(fixture: &Fixture) {
    if !fixture.root() {
        return;
    }
    let mut step = fixture.step("cat /dev/zero | head -c 100m | sort > /dev/null; exit $?");
    let memory =
        oci_spec::runtime::LinuxMemoryBuilder::default().limit(16_i64 << 20).build().expect("complete");
    let pids = oci_spec::runtime::LinuxPidsBuilder::default().limit(50).build().expect("complete");
    let resources = oci_spec::runtime::LinuxResourcesBuilder::default()
        .memory(memory)
        .pids(pids)
        .build()
        .expect("complete");
    let mut linux = step.bundle.spec.linux().clone().expect("the default has it");
    linux.set_resources(Some(resources));
    step.bundle.spec.set_linux(Some(linux));
    let done = step.run();
    assert!(done.exit.out_of_memory, "{done:?}");
    let left = fixture.output("true");
    assert_eq!(left, "");
}

fn several_steps_run_at_once(fixture: &Fixture) {
    let steps: Vec<_> = (0..20).map(|n| fixture.step(&format!("sleep 0.0{n}; exit {n}"))).collect();
    let mut running: Vec<_> = steps.iter().map(|step| step.start(nothing()).expect("it starts")).collect();
    for (n, running) in running.iter_mut().enumerate().rev() {
        assert_eq!(running.wait().expect("it ran").code(), n as i32);
    }
    // One that is not waited for is ended.
    let step = fixture.step("sleep 1000");
    let running = step.start(pipes()).expect("it starts");
    let mut running = running;
    let mut output = fs::File::from(running.stdout.take().expect("a pipe"));
    drop(running);
    assert_eq!(output.read(&mut [0]).expect("the pipe ends"), 0);
}

fn an_insecure_step_has_everything(fixture: &Fixture) {
    let mut step = fixture
        .step("grep -E '^(CapEff|Seccomp:)' /proc/self/status; mount -t tmpfs x /tmp && echo mounted; unshare -m true && echo unshared")
        .with(|s| s.insecure = true);
    step.bundle.profile = Profile::Unconfined;
    let output = step.run().output;
    let all = rustix::thread::capabilities(None).expect("they can be read").permitted.bits();
    // With one id a filter stays: it hands changes of owner to the supervisor.
    let map = fs::read_to_string("/proc/self/uid_map").expect("it can be read");
    let one_id = map.lines().count() == 1 && map.split_whitespace().nth(2) == Some("1");
    let filter = if one_id { 2 } else { 0 };
    assert_eq!(output, format!("CapEff:\t{all:016x}\nSeccomp:\t{filter}\nmounted\nunshared\n"));
}
