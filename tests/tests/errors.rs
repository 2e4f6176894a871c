//! Bad input: one clear message with the cause, an exit code, and a store in which the next build works.

use std::fs;
use std::process::Command;

use kiln_tests::{Login, Registry, TestEnv, has_mounts, is_root, skipped, wait_until};

/// Builds a Dockerfile that must fail saying `words`, and then one that must succeed.
#[track_caller]
fn check<const N: usize>(env: &TestEnv, dockerfile: &str, words: [&str; N]) {
    env.file("Dockerfile", dockerfile);
    let outcome = env.build([]).failure(1).says(words);
    assert!(outcome.stderr.len() < 4000, "a clear message is short: {outcome}");
    works(env);
}

#[track_caller]
fn works(env: &TestEnv) {
    env.file("Dockerfile", "FROM busybox\nRUN echo fine\n").build(["--no-cache"]).success();
}

fn env() -> TestEnv {
    let env = TestEnv::new();
    env.busybox();
    env
}

#[test]
fn an_unknown_instruction_is_shown_with_its_line_and_the_nearest_word() {
    check(&env(), "FROM busybox\nCPOY a b\n", ["Dockerfile:2", "CPOY", "COPY"]);
}

#[test]
fn an_unknown_flag_is_shown_with_its_line_and_the_nearest_word() {
    check(&env(), "FROM busybox\nCOPY --chwon=1 a b\n", ["Dockerfile:2", "--chwon", "chown"]);
}

#[test]
fn a_missing_stage_is_named() {
    let env = env();
    env.file("Dockerfile", "FROM busybox AS build\n").build(["--target=biuld"]).failure(1).says(["biuld"]);
    works(&env);
}

#[test]
fn a_missing_file_is_named() {
    check(&env(), "FROM busybox\nCOPY no-such-file /\n", ["Dockerfile:2", "no-such-file", "not found"]);
}

#[test]
fn an_excluded_file_is_told_from_a_missing_one() {
    let env = env();
    env.file("secret.txt", "x").file(".dockerignore", "# comment\n*.txt\n");
    check(&env, "FROM busybox\nCOPY secret.txt /\n", ["secret.txt", ".dockerignore"]);
}

#[test]
fn a_missing_dockerfile_and_a_missing_context_are_named() {
    let env = env();
    env.build([]).failure(1).says(["Dockerfile"]);
    env.kiln(["build", "/no/such/directory"]).run().failure(1).says(["/no/such/directory"]);
    works(&env);
}

#[test]
fn a_context_that_cannot_be_read_says_which_file() {
    let Some(env) = TestEnv::rootless() else { return };
    if !is_root() {
        return skipped("needs root to make a file that the user may not read");
    }
    env.busybox();
    // Root's own: a mode alone does not lock the owner out of his user namespace.
    fs::write(env.path("context/locked"), "x").expect("write");
    env.mode("locked", 0o600);
    check(&env, "FROM busybox\nCOPY locked /\n", ["locked", "ermission denied"]);
}

#[test]
fn a_base_image_that_does_not_exist_is_named() {
    let Some(registry) = Registry::start(Login::Open) else { return };
    let name = registry.name("no/such");
    check(&env(), &format!("FROM {name}:v9\n"), ["no/such", "v9", "not found"]);
}

#[test]
fn a_registry_that_does_not_answer_is_named_with_the_cause() {
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let start = std::time::Instant::now();
    check(&env(), &format!("FROM 127.0.0.1:{port}/x\n"), [&format!("127.0.0.1:{port}"), "efused"]);
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}

#[test]
fn wrong_credentials_are_told_from_a_missing_image() {
    let Some(registry) = Registry::start(Login::Basic) else { return };
    let env = env();
    // user:wrong
    let config = format!("{{\"auths\": {{\"{}\": {{\"auth\": \"dXNlcjp3cm9uZw==\"}}}}}}", registry.address());
    env.write("home/.docker/config.json", config);
    let outcome = env.kiln(["pull", &registry.name("app")]).run().failure(1);
    let text = outcome.text().to_lowercase();
    assert!(
        text.contains("unauthorized") || text.contains("credentials") || text.contains("401"),
        "{outcome}"
    );
    works(&env);
}

#[test]
fn a_blob_that_does_not_match_its_digest_is_refused() {
    let Some(registry) = Registry::start(Login::Open) else { return };
    let env = env();
    env.file("f", "some bytes that are kept in a layer").file("Dockerfile", "FROM scratch\nCOPY f /\n");
    let name = registry.name("app");
    env.build([&format!("--tag={name}"), "--push"]).success();
    let layer = env.image([]).manifest["layers"][0]["digest"].as_str().expect("a digest").to_owned();
    registry.corrupt(&layer);
    let other = TestEnv::new();
    other.busybox();
    other.kiln(["pull", &name]).run().failure(1).says([&layer]);
    works(&other);
}

#[test]
fn a_reference_with_another_digest_is_refused() {
    let Some(registry) = Registry::start(Login::Open) else { return };
    let name = registry.name("app");
    let digest = format!("sha256:{}", "0".repeat(64));
    check(&env(), &format!("FROM {name}@{digest}\n"), [&digest]);
}

/// A tar with one entry, whose name and link are taken as they are.
fn hostile(kind: tar::EntryType, name: &str, link: &str) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header.set_device_major(8).expect("a device number");
    header.set_device_minor(0).expect("a device number");
    header.set_cksum();
    let mut tar = tar::Builder::new(Vec::new());
    tar.append(&header, std::io::empty()).expect("append");
    tar.into_inner().expect("finish")
}

#[test]
fn a_hostile_tar_reaches_nothing_outside_the_image() {
    let env = env();
    let outside = env.path("outside");
    let up = format!("../../../../../../../../../..{}", outside.display());
    let mut through_link = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(0);
    header.set_entry_type(tar::EntryType::Symlink);
    through_link.append_link(&mut header, "l", env.path(".")).expect("append");
    header.set_entry_type(tar::EntryType::Regular);
    through_link.append_data(&mut header, "l/outside", std::io::empty()).expect("append");
    let tars = [
        hostile(tar::EntryType::Regular, &up[..up.len().min(99)], ""),
        hostile(tar::EntryType::Link, "etc/link", "../../../../etc/hostname"),
        hostile(tar::EntryType::Symlink, "absolute", "/etc/hostname"),
        through_link.into_inner().expect("finish"),
    ];
    for tar in tars {
        // An error or a harmless result; never a file outside.
        env.kiln(["import", "-", "hostile"]).stdin(tar.clone()).run();
        env.file("h.tar", tar).file("Dockerfile", "FROM busybox\nADD h.tar /x/\n").build([]);
        assert!(!outside.exists());
    }
    works(&env);
}

#[test]
fn a_device_node_in_a_rootless_store_is_refused_or_kept_without_being_made() {
    let Some(env) = TestEnv::rootless() else { return };
    env.busybox();
    let outcome = env.kiln(["import", "-", "device"]).stdin(hostile(tar::EntryType::Block, "disk", "")).run();
    assert!(outcome.code == 0 || outcome.text().contains("disk"), "{outcome}");
    works(&env);
}

#[test]
fn a_truncated_tar_is_refused() {
    let env = env();
    let whole = fs::read(env.path("busybox.tar")).expect("the tar");
    let outcome = env.kiln(["import", "-", "half"]).stdin(&whole[..whole.len() / 2]).run().failure(1);
    assert!(!outcome.stderr.is_empty());
    env.kiln(["inspect", "half"]).run().failure(1);
    works(&env);
}

#[test]
fn a_full_disk_is_called_by_its_name_and_the_store_is_unharmed() {
    if !is_root() {
        return skipped("needs root to make a small file system");
    }
    let env = env();
    let small = env.path("small");
    fs::create_dir(&small).expect("mkdir");
    env.file("big", vec![7; 24 << 20]).file("Dockerfile", "FROM scratch\nCOPY big /\n");
    // The mount is in a namespace of its own, gone with its last process.
    let script = "mount -t tmpfs -o size=16m none \"$1\"; shift; \"$@\"; code=$?; \
                  \"$1\" images >/dev/null || exit 99; exit $code";
    let small = small.display().to_string();
    let context = env.path("context").display().to_string();
    let kiln = env.kiln(["build", "--progress=plain", &context]);
    let outcome =
        kiln.env("KILN_ROOT", &small).through(["unshare", "--mount", "sh", "-c", script, "sh", &small]).run();
    outcome.failure(1).says(["No space left on device"]);
    works(&env);
}

#[test]
fn a_failing_step_shows_the_line_the_output_and_the_exit_code() {
    let dockerfile = "FROM busybox\nRUN echo before\nRUN echo about to fail && \\\n    exit 3\n";
    check(&env(), dockerfile, ["Dockerfile:3", "about to fail", "exit 3", "exit code: 3"]);
}

#[test]
fn an_unknown_network_mode_is_named() {
    let env = env();
    env.kiln(["run", "--network=bogus", "busybox"]).run().failure(125).says(["bogus"]);
    env.build(["--network=bogus"]).failure(1).says(["bogus"]);
}

#[test]
fn without_permission_for_namespaces_kiln_says_so_or_does_without() {
    let env = env();
    env.file("Dockerfile", "FROM busybox\nRUN echo fine\n");
    // Root of a user namespace that may not make others, without the capability to mount.
    let script = "echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-sys_admin \"$@\"";
    let bare = ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh"];
    let outcome = env.build_command(["--no-cache"]).through(bare).run();
    // Without mounts a store is of another kind than this one.
    let told = ["namespace", "give another directory"].iter().any(|told| outcome.text().contains(told));
    assert!(outcome.code == 0 || told, "{outcome}");
    assert!(!outcome.stderr.contains("panicked"), "{outcome}");
    works(&env);
}

#[test]
fn unknown_options_and_values_are_usage_errors() {
    let env = TestEnv::new();
    let all =
        [&["build", "--no-such", "."][..], &["no-such-command"], &["build", "--output=type=nothing", "."]];
    for (words, named) in all.iter().zip(["--no-such", "no-such-command", "nothing"]) {
        let outcome = env.kiln(*words).run();
        assert!(outcome.code != 0 && outcome.stderr.contains(named), "{outcome}");
    }
}

#[test]
fn a_killed_build_leaves_no_mount_no_process_and_a_sound_store() {
    for env in TestEnv::each() {
        let mark = format!("5{}", std::process::id());
        env.busybox();
        env.file(
            "Dockerfile",
            format!("FROM busybox\nRUN echo kept > /kept\nRUN echo half > /half; sleep {mark}\n"),
        );
        let mut child = env.build_command([]).start();
        assert!(wait_until(true, &["sleep", &mark]), "the step runs");
        kill_tree(&mut child);
        assert!(wait_until(false, &["sleep", &mark]), "the step outlives kiln");
        assert!(!has_mounts(&env.store()), "something is mounted");
        env.kiln(["fsck"]).run().success();
        env.file("Dockerfile", "FROM busybox\nRUN echo kept > /kept\nRUN echo whole > /half\n");
        assert_eq!(env.image([]).content("half"), "whole\n");
        let left = fs::read_dir(env.store().join("tmp")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "the next start sweeps what was half made");
    }
}

/// kill -9 for kiln itself, which `runuser` may have started.
fn kill_tree(child: &mut std::process::Child) {
    let id = child.id().to_string();
    let children = Command::new("pgrep").args(["--parent", &id, "kiln"]).output().expect("pgrep");
    let of_runuser = String::from_utf8_lossy(&children.stdout).into_owned();
    let comm = fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
    let victim = if comm.trim() == "runuser" { of_runuser.trim() } else { id.as_str() };
    let killed = Command::new("kill").args(["-KILL", victim]).status().expect("kill");
    assert!(killed.success(), "kill {victim}");
    child.wait().expect("wait");
}

#[test]
fn builds_killed_at_any_moment_leave_a_store_that_works() {
    let env = env();
    for n in 0..40 {
        env.file(&format!("d/f{n}"), vec![b'x'; 20_000]);
    }
    env.file("Dockerfile", "FROM busybox\nCOPY d /d\nRUN cp -r /d /e && rm -r /d\nRUN ls /e > /list\n");
    for step in 0..12 {
        let mut child = env.build_command(["--no-cache", "--tag=app"]).start();
        std::thread::sleep(std::time::Duration::from_millis(step * 25)); // the moment is what varies
        child.kill().expect("kill -9");
        child.wait().expect("wait");
    }
    env.kiln(["fsck"]).run().success();
    assert_eq!(env.image([]).content("list").lines().count(), 40);
    assert!(!has_mounts(&env.store()));
}
