//! Root in a container whose engine allows neither mounts nor namespaces: the lowest rung.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_tests::{Docker, Image, Peer, TestEnv, is_root, is_running, skipped};

const EPOCH: &str = "1700000000";

/// Instructions that meet every stand-in for a mount.
const DOCKERFILE: &str = r#"FROM busybox AS base
RUN mkdir -p /d && echo x > /d/f && chown 1000:1001 /d/f && chmod 4755 /d/f && ln /d/f /d/g
RUN rm -rf /tmp && echo hi > /etc/new && grep -q processor /proc/cpuinfo && grep -q localhost /etc/hosts
FROM base
COPY f /f
COPY --from=base --chown=7:8 /d/f /copied
WORKDIR /w/x
RUN --mount=type=cache,target=/c echo 1 >> /c/n; test -s /c/n; mkdir sub
RUN --mount=type=secret,id=s,target=/run/secrets/s test "$(cat /run/secrets/s)" = hidden
USER 1000:1001
RUN --mount=type=bind,from=base,source=/d,target=/mnt test "$(id -u):$(id -g)" = 1000:1001 && test "$(cat /mnt/g)" = x
USER 0
RUN --mount=type=tmpfs,target=/t echo gone > /t/x; echo > /dev/null
RUN <<EOF
echo heredoc > /here
rm /d/g
EOF
RUN rm -rf /d && touch /empty
"#;

/// A world for `--isolation chroot` on this machine; only root may.
#[track_caller]
fn plain() -> Option<TestEnv> {
    if !is_root() {
        skipped("chroot isolation needs root");
        return None;
    }
    let env = TestEnv::new().isolated("chroot");
    env.busybox();
    Some(env)
}

/// Builds [`DOCKERFILE`] with fixed times into an OCI layout.
#[track_caller]
fn reference(env: &TestEnv) -> String {
    env.file("Dockerfile", DOCKERFILE).file("f", "content").write("secret", "hidden");
    let dest = env.path("reference");
    let output = format!("--output=type=oci,tar=false,rewrite-timestamp=true,dest={}", dest.display());
    let secret = format!("--secret=id=s,src={}", env.path("secret").display());
    env.build_command([&*output, &*secret]).env("SOURCE_DATE_EPOCH", EPOCH).run().success();
    digest(&dest)
}

fn digest(layout: &Path) -> String {
    let index = fs::read(layout.join("index.json")).expect("an index");
    let index: serde_json::Value = serde_json::from_slice(&index).expect("JSON");
    index["manifests"][0]["digest"].as_str().expect("a digest").to_owned()
}

/// The base image with one time, so that stores of different tests agree on it.
#[track_caller]
fn same_base(env: &TestEnv, tar: &Path) {
    let tar = tar.display().to_string();
    let path = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    env.kiln(["import", "--message", "base", "--change", path, &tar, "busybox"])
        .env("SOURCE_DATE_EPOCH", EPOCH)
        .run()
        .success();
}

#[test]
fn the_same_dockerfile_gives_the_same_digest_by_chroot() {
    let Some(env) = plain() else { return };
    let root = TestEnv::new();
    kiln_tests::busybox_tar(&env.path("base.tar"));
    same_base(&env, &env.path("base.tar"));
    same_base(&root, &env.path("base.tar"));
    assert_eq!(reference(&env), reference(&root));
}

#[test]
fn nothing_that_stood_for_a_mount_is_left() {
    let Some(env) = plain() else { return };
    env.file("Dockerfile", "FROM busybox\nRUN true\n");
    assert_eq!(env.image([]).added(1), "");

    env.write("secret", "hidden-by-9f2c").file(
        "Dockerfile",
        "FROM busybox\nRUN --mount=type=secret,id=s --mount=type=cache,target=/a/b/c --mount=type=tmpfs,target=/var \
         --mount=type=bind,target=/ctx ls /run/secrets/s /ctx/Dockerfile && touch /a/b/c/x /var/x /ctx/x\n",
    );
    let secret = format!("--secret=id=s,src={}", env.path("secret").display());
    assert_eq!(env.image([&*secret]).added(1), "");

    env.file("Dockerfile", "FROM busybox\nRUN --mount=type=secret,id=s cat /run/secrets/s > /dev/null; rm /etc/hosts; echo new > /etc/resolv.conf; false\n");
    env.build([&*secret]).failure(1).says_not(["take away"]);
    let left = Command::new("grep").args(["-rl", "hidden-by-9f2c"]).arg(env.store()).output().expect("grep");
    assert_eq!(String::from_utf8_lossy(&left.stdout), "", "the secret is nowhere in the store");
}

#[test]
fn a_step_cannot_keep_what_it_writes_over_a_stand_in() {
    let Some(env) = plain() else { return };
    env.file(
        "Dockerfile",
        "FROM busybox\nRUN rm -f /etc/hosts && echo own > /etc/hosts && rm -rf /dev/* && echo kept > /file\nRUN grep -q localhost /etc/hosts && test -c /dev/null\n",
    );
    let image = env.image([]);
    assert_eq!(image.content("file"), "kept\n");
    assert!(!image.listing().contains("/etc/hosts"), "{}", image.listing());
}

#[test]
fn daemons_end_with_their_step() {
    let Some(env) = plain() else { return };
    let mark = format!("4{}", std::process::id());
    env.file("Dockerfile", format!("FROM busybox\nRUN (sleep {mark} &) ; setsid sleep {mark} & true\n"));
    env.build(["--no-cache"]).success();
    assert!(!is_running(&["sleep", &mark]), "a process of the step is still there");
}

#[test]
fn daemons_end_when_kiln_is_killed() {
    let Some(env) = plain() else { return };
    let mark = format!("5{}", std::process::id());
    env.file("Dockerfile", format!("FROM busybox\nRUN (setsid sleep {mark} &) ; sleep {mark}\n"));
    let mut kiln = env.build_command(["--no-cache"]).start();
    assert!(kiln_tests::wait_until(true, &["sleep", &mark]));
    kiln.kill().expect("kill kiln");
    kiln.wait().expect("wait for kiln");
    assert!(kiln_tests::wait_until(false, &["sleep", &mark]), "a process of the step is still there");
}

#[test]
fn what_cannot_be_given_is_refused_with_what_would_help() {
    let Some(env) = plain() else { return };
    env.file("Dockerfile", "FROM busybox\nRUN --network=none true\n");
    env.build([]).failure(1).says(["network namespace", "allow user namespaces"]);
    env.kiln(["run", "-v", "/tmp:/x", "busybox", "true"]).run().failure(125).says([":ro"]);
}

#[test]
fn info_and_the_build_say_what_is_shared() {
    let Some(env) = plain() else { return };
    env.kiln(["info"]).run().success().says(["isolation: chroot", "steps share this container's processes"]);
    env.file("Dockerfile", "FROM busybox\nRUN true\n");
    env.build([]).success().says(["isolation chroot: steps share this container's processes"]);
}

#[test]
fn a_container_runs_by_chroot() {
    let Some(env) = plain() else { return };
    let run = |words: &[&str]| env.kiln(["run", "--rm"].iter().chain(words)).run();
    assert_eq!(run(&["busybox", "sh", "-c", "echo out; exit 7"]).failure(7).stdout(), "out\n");
    run(&["busybox", "sh", "-c", "kill -TERM $$"]).failure(143);
    run(&["busybox", "no-such-program"]).failure(127);
}

/// An image for a container engine with busybox and kiln, as `docker load` and `podman load` read it, made by kiln.
#[track_caller]
fn builder_image(root: &TestEnv) -> PathBuf {
    let tar = root.path("builder.tar");
    fs::copy(kiln_tests::kiln_binary(), root.path("context/kiln")).expect("copy the kiln binary");
    root.file("builder.Dockerfile", "FROM busybox\nCOPY kiln /bin/kiln\n");
    let output = format!("--output=type=docker,dest={}", tar.display());
    let file = format!("--file={}", root.path("context/builder.Dockerfile").display());
    root.build([&*output, &*file, "--tag=builder"]).success();
    tar
}

/// What runs in the container: it says its rung, and builds.
fn script() -> String {
    let path = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    format!(
        "set -e; kiln info; export SOURCE_DATE_EPOCH={EPOCH}; kiln import --message base --change '{path}' /work/base.tar busybox; \
         kiln build --progress=plain --secret id=s,src=/work/secret \
         --output type=oci,tar=false,rewrite-timestamp=true,dest=/work/out /work/context"
    )
}

/// The world that a container is shown, and what root makes of the same.
#[track_caller]
fn expected() -> (TestEnv, String) {
    let root = TestEnv::new();
    kiln_tests::busybox_tar(&root.path("base.tar"));
    same_base(&root, &root.path("base.tar"));
    let digest = reference(&root);
    (root, digest)
}

#[test]
fn docker_run_without_flags_builds_the_same_image() {
    if !is_root() {
        return skipped("dockerd needs root");
    }
    let (root, digest) = expected();
    let Some(docker) = Docker::start(&root) else { return };
    let tar = builder_image(&root);
    docker.client.run(["load", "--input", &tar.display().to_string()]).success();
    let volume = format!("{}:/work", root.path("").display());
    // The network alone is given: the daemon has no bridge.
    let outcome = docker.client.run([
        "run",
        "--rm",
        "--network=none",
        "--volume",
        &volume,
        "builder",
        "sh",
        "-c",
        &script(),
    ]);
    outcome.success().says(["isolation: chroot", "not rootless: make a user namespace"]);
    assert_eq!(self::digest(&root.path("out")), digest);
    assert!(Image::layout(&root.path("out")).listing().contains("/here"));
}

#[test]
fn podman_run_without_flags_builds_the_same_image() {
    if !is_root() {
        return skipped("podman is only driven as root");
    }
    let (root, digest) = expected();
    let Some(podman) = Peer::podman(&root.path("")) else { return };
    let tar = builder_image(&root);
    podman.run(["load", "--input", &tar.display().to_string()]).success();
    let volume = format!("{}:/work", root.path("").display());
    let words = Peer::PODMAN_RUN.iter().copied().chain(["--volume", &volume, "builder", "sh", "-c"]);
    let script = script();
    let outcome = podman.run(words.chain([script.as_str()])).success();
    // User namespaces are allowed; the container's own file system, where the store is, cannot be stacked upon.
    outcome.says(["isolation: rootless", "snapshots: plain directories", "give /var/lib/kiln a volume"]);
    assert_eq!(self::digest(&root.path("out")), digest);
}
