//! The tests.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;
use std::time::Instant;

use kiln_cache::Kind;
use kiln_core::{
    Access, CacheMount, ExecMount, FileAction, FileEdit, InlineFile, MountKind, Op, SecretEnv, Sharing,
};
use kiln_executor::{ExecutorError, Value};

use crate::images;
use crate::world::{World, add, copy, exec, local, scratch, snapshot};

type Case = fn(&World);

pub(crate) const CASES: &[(&str, Case)] = &[
    ("a_context_is_copied_and_a_process_runs_on_it", a_context_is_copied_and_a_process_runs_on_it),
    ("a_failing_process_tells_its_exit_code", a_failing_process_tells_its_exit_code),
    ("the_same_copy_again_links_its_files", the_same_copy_again_links_its_files),
    ("copies_from_a_stage_read_only_what_they_name", copies_from_a_stage_read_only_what_they_name),
    ("an_archive_is_unpacked_with_its_owners", an_archive_is_unpacked_with_its_owners),
    ("a_hostile_archive_stays_inside", a_hostile_archive_stays_inside),
    ("mounts_are_seen_and_leave_nothing", mounts_are_seen_and_leave_nothing),
    ("a_cache_outlives_its_step", a_cache_outlives_its_step),
    ("the_working_directory_is_made_for_the_user", the_working_directory_is_made_for_the_user),
    ("a_dropped_step_is_killed", a_dropped_step_is_killed),
    ("an_image_is_read_from_a_layout", images::an_image_is_read_from_a_layout),
    ("an_image_is_unpacked_while_it_downloads", images::an_image_is_unpacked_while_it_downloads),
    ("a_damaged_layer_is_refused", images::a_damaged_layer_is_refused),
    ("a_context_of_many_files_costs_the_walk", a_context_of_many_files_costs_the_walk),
];

fn a_context_is_copied_and_a_process_runs_on_it(world: &World) {
    world.file("app/run.sh", "echo hello from $1", 0o755);
    let base = world.busybox();
    let app = world.run(&Op::File(copy(&["app"], "/srv/app/")), &[base, world.context()]);
    assert_eq!(world.last_layer(&app), ["d 755 0:0 srv", "d 755 0:0 srv/app", "f 755 0:0 srv/app/run.sh"]);
    let built = world.sh(
        "sh /srv/app/run.sh kiln; cat /etc/hosts /etc/resolv.conf; echo out > /srv/out; rm /bin/touch",
        &app,
    );
    let printed = world.printed();
    assert!(printed.starts_with("hello from kiln\n127.0.0.1\tlocalhost buildkitsandbox\n"), "{printed}");
    assert!(printed.ends_with("nameserver 192.0.2.1\n"), "{printed}");
    assert_eq!(world.read(&built, "srv/out"), "out\n");
    assert_eq!(
        world.last_layer(&built),
        ["d 755 0:0 bin", "w 0 0:0 bin/touch", "d 755 0:0 srv", "f 644 0:0 srv/out"]
    );
    let nothing = world.sh("true", &built);
    assert_eq!(world.last_layer(&nothing), Vec::<String>::new());
}

fn a_failing_process_tells_its_exit_code(world: &World) {
    let base = world.busybox();
    let run = |script: &str| {
        world
            .try_run(&world.executor(), &Op::Exec(exec(script)), std::slice::from_ref(&base))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(run("exit 42"), "process \"/bin/sh -c exit 42\" did not complete successfully: exit code: 42");
    let mut op = exec("true");
    op.user = "daemon".into();
    let error = world.try_run(&world.executor(), &Op::Exec(op), std::slice::from_ref(&base)).unwrap_err();
    assert!(
        error.to_string().contains("unable to find user daemon: no matching entries in passwd file"),
        "{error}"
    );
    let error = world.try_run(&world.executor(), &Op::File(copy(&["nosuch"], "/")), &[base, world.context()]);
    assert!(error.unwrap_err().to_string().contains("\"/nosuch\": not found"));
}

fn the_same_copy_again_links_its_files(world: &World) {
    let kept = world.file("d/kept", "the same", 0o644);
    let edited = world.file("d/edited", "before", 0o644);
    let op = Op::File(copy(&["d"], "/d/"));
    let inputs = || [scratch(), world.context()];
    let first = world.run(&op, &inputs());
    assert!(kept.exists());
    fs::write(edited, "after").unwrap();
    let second = world.run(&op, &inputs());
    assert_ne!(snapshot(&first), snapshot(&second));
    let inode = |value: &Value, path: &str| {
        let store = world.services.store.layers();
        let layer = store.get(snapshot(value).layers.last().unwrap()).unwrap();
        fs::metadata(layer.tree().join(path)).unwrap().ino()
    };
    assert_eq!(inode(&first, "d/kept"), inode(&second, "d/kept"));
    assert_eq!(world.read(&second, "d/edited"), "after");
    assert_eq!(world.read(&first, "d/edited"), "before");
}

fn copies_from_a_stage_read_only_what_they_name(world: &World) {
    let stage = world.sh("mkdir /out; echo one > /out/a; echo two > /other", &world.busybox());
    let op = Op::File(copy(&["/out/a"], "/bin/"));
    let made = world.run(&op, &[scratch(), stage.clone()]);
    assert_eq!(world.last_layer(&made), ["d 755 0:0 bin", "f 644 0:0 bin/a"]);
    let executor = world.executor();
    let key = executor.content(&op, 1, &stage).unwrap();
    let elsewhere = world.sh("echo three > /other", &stage);
    assert_eq!(executor.content(&op, 1, &elsewhere).unwrap(), key);
    let changed = world.sh("echo changed > /out/a", &stage);
    assert_ne!(executor.content(&op, 1, &changed).unwrap(), key);
}

fn tar(world: &World, name: &str, script: &str) {
    let place = world.file(name, "", 0o644);
    let scratch = tempfile::tempdir().unwrap();
    let script = format!("set -e; umask 022; {script}");
    let status = Command::new("sh")
        .args(["-c", &script, "sh"])
        .arg(&place)
        .current_dir(scratch.path())
        .status()
        .unwrap();
    assert!(status.success());
}

fn an_archive_is_unpacked_with_its_owners(world: &World) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: owners of files need root");
        return;
    }
    tar(
        world,
        "any-name",
        "mkdir -p etc/app bin; echo x > etc/app/conf; ln etc/app/conf etc/app/second; ln -s conf etc/app/link; \
         chown 7:8 etc/app etc/app/conf; chmod 700 etc/app; tar -czf $1 etc bin",
    );
    world.file("single.gz", "not a tar", 0o644);
    let base = world.busybox();
    let made = world.run(&Op::File(add("any-name", "/")), &[base, world.context()]);
    assert_eq!(
        world.last_layer(&made),
        [
            "d 755 0:0 etc",
            "d 700 7:8 etc/app",
            "f 644 7:8 etc/app/conf",
            "l 777 0:0 etc/app/link",
            "h 644 7:8 etc/app/second"
        ]
    );
    assert_eq!(world.read(&made, "etc/app/second"), "x\n");
    world.sh("cat /etc/app/link", &made);
    assert_eq!(world.printed(), "x\n");
    let copied = world.run(&Op::File(add("single.gz", "/")), &[scratch(), world.context()]);
    assert_eq!(world.last_layer(&copied), ["f 644 0:0 single.gz"]);
}

fn a_hostile_archive_stays_inside(world: &World) {
    // Through a link of the archive, and through one of the base.
    tar(
        world,
        "links.tar",
        "ln -s /../../etc out; mkdir d; echo evil > d/passwd; tar -cf $1 out; rm out; mv d out; tar -rf $1 out/passwd",
    );
    tar(world, "dots.tar", "mkdir a; echo evil > evil; cd a; tar -cPf $1 ../evil");
    let base = world.sh("mkdir /opt", &world.busybox());
    let made = world.run(&Op::File(add("links.tar", "/opt/")), &[base.clone(), world.context()]);
    assert!(world.read(&made, "etc/passwd").starts_with("root:"));
    assert_eq!(world.read(&made, "opt/etc/passwd"), "evil\n");
    let error =
        world.try_run(&world.executor(), &Op::File(add("dots.tar", "/opt/")), &[base, world.context()]);
    assert!(error.unwrap_err().to_string().contains("../evil"));
}

fn mounts_are_seen_and_leave_nothing(world: &World) {
    let base = world.busybox();
    let other = world.sh("mkdir /data; echo from another stage > /data/file", &base);
    let access = Access { uid: 1000, gid: 1000, mode: 0o400 };
    let mut op = exec(
        "cat /mnt/deep/file /run/secrets/token /dev/pipes/EOF; echo \" $TOKEN\"; stat -c '%u %a' /run/secrets/token; \
         echo x > /mnt/deep/new; echo t > /scratch/t",
    );
    op.mounts = vec![
        ExecMount {
            target: "/mnt/deep".into(),
            kind: MountKind::Bind { input: 1, source: "/data".into(), writable: true },
        },
        ExecMount {
            target: "/run/secrets/token".into(),
            kind: MountKind::Secret { id: "token".into(), required: true, access },
        },
        ExecMount { target: "/scratch".into(), kind: MountKind::Tmpfs { size: Some(1 << 20) } },
    ];
    op.secret_env = vec![SecretEnv { name: "TOKEN".into(), id: "token".into(), required: true }];
    op.files = vec![InlineFile { path: "/dev/pipes/EOF".into(), data: b"heredoc".to_vec(), mode: 0o644 }];
    let made = world.run(&Op::Exec(op.clone()), &[base.clone(), other.clone()]);
    assert_eq!(world.printed(), "from another stage\nhiddenheredoc hidden\n1000 400\n");
    assert_eq!(world.last_layer(&made), Vec::<String>::new());
    let executor = world.executor();
    let key = executor.content(&Op::Exec(op.clone()), 1, &other).unwrap();
    let changed = world.sh("echo more >> /data/file", &other);
    assert_ne!(executor.content(&Op::Exec(op.clone()), 1, &changed).unwrap(), key);
    op.mounts[0].kind = MountKind::Bind { input: 1, source: "/nosuch".into(), writable: false };
    let missing = executor.content(&Op::Exec(op.clone()), 1, &other).unwrap_err();
    assert!(missing.to_string().contains("\"/nosuch\": not found"), "{missing}");
    op.mounts.truncate(1);
    op.mounts[0].kind = MountKind::Secret { id: "nosuch".into(), required: true, access };
    let error = world.try_run(&executor, &Op::Exec(op), &[base, other]).unwrap_err();
    assert!(matches!(error, ExecutorError::Secret(_)), "{error}");
}

fn a_cache_outlives_its_step(world: &World) {
    let base = world.busybox();
    let seed = world.sh("mkdir /seed; echo first > /seed/file", &base);
    let run = |input: Option<usize>, mode: u32, script: &str| {
        let mut op = exec(script);
        let access = Access { uid: 0, gid: 0, mode };
        let source = if input.is_some() { "/seed" } else { "/" };
        let cache = CacheMount {
            id: "c".into(),
            sharing: Sharing::Locked,
            input,
            source: source.into(),
            access,
            read_only: false,
        };
        op.mounts = vec![ExecMount { target: "/cache".into(), kind: MountKind::Cache(cache) }];
        let made = world.run(&Op::Exec(op), &[base.clone(), seed.clone()]);
        assert_eq!(world.last_layer(&made), Vec::<String>::new());
        world.printed()
    };
    assert_eq!(run(None, 0o750, "stat -c %a /cache; echo kept > /cache/file"), "750\n");
    assert_eq!(run(None, 0o750, "cat /cache/file"), "kept\n");
    assert_eq!(run(None, 0o755, "ls /cache"), "");
    assert_eq!(run(Some(1), 0o755, "cat /cache/file; echo second > /cache/file"), "first\n");
    assert_eq!(run(Some(1), 0o755, "cat /cache/file"), "second\n");
    assert_eq!(world.read(&seed, "seed/file"), "first\n");
}

fn the_working_directory_is_made_for_the_user(world: &World) {
    let base = world.busybox();
    let mut op = exec("pwd; id -u; echo $HOME");
    (op.cwd, op.user) = ("/home/bob/work".into(), "bob".into());
    let made = world.run(&Op::Exec(op), std::slice::from_ref(&base));
    assert_eq!(world.printed(), "/home/bob/work\n1000\n/home/bob\n");
    let owned = ["d 755 1000:1000 home", "d 755 1000:1000 home/bob", "d 755 1000:1000 home/bob/work"];
    assert_eq!(world.last_layer(&made), owned);
    let action = FileAction::MakeDir { path: "/w/x".into(), owner: "bob".into(), mode: 0o755 };
    let made = world.run(&Op::File(FileEdit { actions: vec![action], link: false, created: None }), &[base]);
    assert_eq!(world.last_layer(&made), ["d 755 1000:1000 w", "d 755 1000:1000 w/x"]);
}

fn a_dropped_step_is_killed(world: &World) {
    let base = world.busybox();
    let executor = world.executor();
    let op = Op::Exec(exec("echo started; sleep 1000; echo never"));
    let step = kiln_core::StepId::internal("test");
    world.runtime.block_on(async {
        let inputs = [base];
        let run = executor.run(step, &op, &inputs);
        let started = async {
            while !world.printed().contains("started") {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        };
        tokio::select! {
            result = run => panic!("it ended: {result:?}"),
            () = started => {}
        }
    });
}

fn a_context_of_many_files_costs_the_walk(world: &World) {
    // Without optimisation it would take too long; the figures are of a release build.
    let files = if cfg!(debug_assertions) { 1_000 } else { 10_000 };
    for number in 0..files {
        world.file(&format!("d{}/f{number}", number % 200), &format!("content {number}"), 0o644);
    }
    // Files this young are read again by the rule for racy times.
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
    let Value::Context(tree) = world.context() else { panic!() };
    for entry in tree.entries().iter().filter(|entry| matches!(entry.kind, Kind::File(_))) {
        let path = world.services.contexts["context"].directory.join(&entry.path);
        fs::File::open(path).unwrap().set_modified(old).unwrap();
    }
    std::thread::sleep(std::time::Duration::from_millis(50));
    let Op::Source(source) = local() else { panic!() };
    let lock = || {
        let executor = world.executor();
        let began = Instant::now();
        let digest = world.runtime.block_on(executor.lock(&source)).unwrap();
        (digest, began.elapsed())
    };
    let (first, cold) = lock();
    let (second, warm) = lock();
    assert_eq!(first, second);
    println!("{files} files: {cold:?} with hashing, {warm:?} without");
    let op = Op::File(copy(&["."], "/app/"));
    let began = Instant::now();
    world.run(&op, &[scratch(), world.context()]);
    println!("copied in {:?}", began.elapsed());
    fs::write(world.file("d1/f1", "", 0o644), "edited").unwrap();
    let began = Instant::now();
    world.run(&op, &[scratch(), world.context()]);
    println!("copied again with one file changed in {:?}", began.elapsed());
}
