//! Docker's groups of commands, and the words of its scripts: what is typed for docker works as typed.

use std::fs;
use std::time::{Duration, Instant};

use kiln_tests::{Outcome, Peer, TestEnv};

/// Two images: `app:v1` on `busybox`, with a label and a megabyte that no other has.
fn world() -> TestEnv {
    let env = TestEnv::new();
    env.busybox().file(
        "Dockerfile",
        "FROM busybox\nLABEL team=red\nRUN head -c 1000000 /dev/urandom > /big\nCMD [\"cat\", \"/etc/hostname\"]\n",
    );
    env.build(["--tag=app:v1"]).success();
    env
}

fn kiln<const N: usize>(env: &TestEnv, words: [&str; N]) -> Outcome {
    env.kiln(words).run()
}

#[track_caller]
fn says<const N: usize>(env: &TestEnv, words: [&str; N]) -> String {
    kiln(env, words).success().stdout()
}

#[test]
fn a_command_in_its_group_is_the_command_alone() {
    let env = world();
    let same: [(&[&str], &[&str]); 9] = [
        (&["image", "ls", "--quiet"], &["images", "--quiet"]),
        (
            &["image", "list", "--no-trunc", "--format", "{{.ID}}"],
            &["images", "--no-trunc", "--format", "{{.ID}}"],
        ),
        (&["image", "history", "--quiet", "app:v1"], &["history", "--quiet", "app:v1"]),
        (&["image", "inspect", "app:v1"], &["inspect", "app:v1"]),
        (&["container", "ls", "--all"], &["ps", "--all"]),
        (&["buildx", "version"], &["version"]),
        (&["buildx", "du"], &["du"]),
        (&["system", "df"], &["du"]),
        (&["system", "info"], &["info"]),
    ];
    for (grouped, alone) in same {
        let outcomes = [grouped, alone].map(|words| env.kiln(words).run().success().stdout());
        assert_eq!(outcomes[0], outcomes[1], "{grouped:?}");
    }
    says(&env, ["image", "tag", "app:v1", "other"]);
    says(&env, ["image", "rm", "other"]);
    kiln(&env, ["inspect", "other"]).failure(1);
    kiln(&env, ["image", "inspect", "none"]).failure(1).says(["none"]);
    let context = env.path("context").display().to_string();
    for group in ["image", "buildx", "builder"] {
        let built = says(&env, [group, "build", "--quiet", "--load", &context]);
        assert!(built.starts_with("sha256:"), "{group}: {built}");
    }
}

#[test]
fn scripts_that_make_and_choose_a_builder_run() {
    let env = world();
    let name = says(&env, ["buildx", "create", "--name", "mine", "--driver", "docker-container", "--use"]);
    for words in
        [&["use", "mine"][..], &["inspect", "--bootstrap", "mine"], &["ls"], &["stop"], &["rm", "mine"]]
    {
        env.kiln(["buildx"].iter().chain(words)).run().success();
    }
    let listed = says(&env, ["buildx", "ls", "--format", "{{.Name}} {{.Status}}"]);
    assert_eq!(listed, format!("{} running\n", name.trim()));
    let context = env.path("context").display().to_string();
    says(&env, ["buildx", "build", "--builder", name.trim(), "--tag=built", &context]);
}

#[test]
fn options_of_the_old_builder_are_taken_and_those_that_meant_something_are_named() {
    let env = world();
    env.build(["--rm", "--force-rm", "--compress", "--disable-content-trust=false", "--squash=false"])
        .success()
        .says_not(["changes nothing"]);
    env.build(["--squash", "--security-opt=seccomp=unconfined"])
        .success()
        .says(["--squash changes nothing", "--security-opt changes nothing"]);
}

#[test]
fn images_are_listed_by_filter_and_template() {
    let env = world();
    says(&env, ["tag", "app:v1", "localhost:5000/team/app:v2"]);
    let table: [(&str, &[&str]); 9] = [
        ("reference=app", &["app:v1"]),
        ("reference=ap?:v*", &["app:v1"]),
        ("reference=*/team/*", &["localhost:5000/team/app:v2"]),
        ("label=team=red", &["app:v1", "localhost:5000/team/app:v2"]),
        ("label=team=blue", &[]),
        ("since=busybox", &["app:v1", "localhost:5000/team/app:v2"]),
        ("before=app:v1", &["busybox:latest"]),
        ("dangling=true", &[]),
        ("until=24h", &[]),
    ];
    for (filter, names) in table {
        let listed = says(&env, ["images", "--filter", filter, "--format", "{{.Repository}}:{{.Tag}}"]);
        assert_eq!(listed.lines().collect::<Vec<_>>(), names, "{filter}");
    }
    assert_eq!(says(&env, ["images", "--quiet", "app*"]).lines().count(), 1);
    kiln(&env, ["images", "--filter", "colour=red"]).failure(1).says(["colour=red", "dangling"]);
    kiln(&env, ["images", "--format", "{{.ID"]).failure(1).says(["--format"]);
    let line = says(&env, ["images", "--format", "json", "app:v1"]);
    let row: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
    assert_eq!(row["Size"], "2.98MB");
    assert!(row["CreatedAt"].as_str().is_some_and(|at| at.ends_with(" +0000 UTC")), "{row}");
    // What the last instruction made is the image; what is below has no id.
    let ids = says(&env, ["history", "--quiet", "app:v1"]);
    let short = says(&env, ["images", "--quiet", "app:v1"]);
    assert!(ids.starts_with(&short) && ids.ends_with("<missing>\n"), "{ids}");
    let sizes = says(&env, ["history", "--human=false", "--format", "{{.Size}}", "app:v1"]);
    assert!(sizes.lines().any(|size| size == "1000000"), "{sizes}");
    assert_eq!(says(&env, ["version", "--format", "{{.Server.Version}}"]).trim(), env!("CARGO_PKG_VERSION"));
    assert_eq!(says(&env, ["info", "--format", "{{.OSType}}"]), "linux\n");
}

#[test]
fn image_prune_takes_what_has_no_name_and_with_all_what_no_container_uses() {
    let env = world();
    says(&env, ["run", "--name", "user", "busybox", "true"]);
    env.file("Dockerfile", "FROM busybox\nRUN head -c 2000000 /dev/urandom > /other\n");
    // The first app loses its name to the second.
    env.build(["--tag=app:v1"]).success();
    assert_eq!(says(&env, ["images", "--quiet", "--filter", "dangling=true"]).lines().count(), 1);
    kiln(&env, ["image", "prune", "--force", "--filter", "label=team=blue"]).success().says(["space: 0B"]);
    let freed = says(&env, ["image", "prune", "--force"]);
    assert!(freed.contains("Deleted Images:\ndeleted: sha256:") && freed.contains("space: 1.0"), "{freed}");
    assert_eq!(says(&env, ["images", "--quiet", "--filter", "dangling=true"]), "");
    assert_eq!(says(&env, ["run", "--rm", "app:v1", "wc", "-c", "/other"]), "2000000 /other\n");
    let freed = says(&env, ["image", "prune", "--all", "--force"]);
    assert!(freed.contains("untagged: app:v1") && !freed.contains("busybox"), "{freed}");
    says(&env, ["start", "--attach", "user"]);
    says(&env, ["fsck"]);
}

#[test]
fn system_prune_takes_containers_networks_images_and_volumes_that_nothing_uses() {
    let env = world();
    says(&env, ["run", "--name", "ended", "--volume", "/data", "busybox", "touch", "/data/file"]);
    says(&env, ["network", "create", "unused"]);
    says(&env, ["volume", "create", "kept"]);
    let pruned = says(&env, ["system", "prune", "--all", "--force", "--volumes"]);
    for head in ["Deleted Containers:", "Deleted Networks:\nunused\n", "Deleted Images:", "Deleted Volumes:"]
    {
        assert!(pruned.contains(head), "{head}: {pruned}");
    }
    assert_eq!(pruned.matches("Total reclaimed space").count(), 1, "{pruned}");
    assert_eq!(says(&env, ["images", "--quiet"]) + &says(&env, ["ps", "--all", "--quiet"]), "");
    assert_eq!(says(&env, ["volume", "ls", "--quiet"]), "kept\n", "a volume with a name is somebody's");
    says(&env, ["fsck"]);
}

#[test]
fn a_container_that_removed_itself_keeps_nothing() {
    let env = world();
    // It has a supervisor of its own, which outlives the command and knows no store.
    says(&env, ["run", "--detach", "--rm", "--name", "short", "app:v1", "true"]);
    let end = Instant::now() + Duration::from_secs(30);
    while !says(&env, ["ps", "--all", "--quiet"]).is_empty() {
        assert!(Instant::now() < end, "the container stays");
        std::thread::sleep(Duration::from_millis(20));
    }
    let pruned = says(&env, ["system", "prune", "--all", "--force"]);
    assert!(pruned.contains("untagged: app:v1"), "{pruned}");
    let left = says(&env, ["du", "--format", "json"]);
    let left: serde_json::Value = serde_json::from_str(&left).expect("JSON");
    let layers: Vec<_> =
        left["Records"].as_array().expect("records").iter().filter(|r| r["Type"] == "regular").collect();
    assert!(layers.is_empty(), "{layers:?}");
}

#[test]
fn several_images_go_into_one_archive() {
    let env = world();
    says(&env, ["tag", "app:v1", "app:v2"]);
    for format in ["docker", "oci"] {
        let file = env.path(format).display().to_string();
        says(&env, ["save", "--format", format, "--output", &file, "app:v1", "busybox", "app:v2"]);
        let other = TestEnv::new();
        let loaded = says(&other, ["load", "--input", &file]);
        assert_eq!(loaded.lines().count(), 3, "{format}: {loaded}");
        for name in ["app:v1", "app:v2", "busybox"] {
            let ids = [&env, &other].map(|env| says(env, ["inspect", "--format", "{{.Id}}", name]));
            assert_eq!(ids[0], ids[1], "{format}: {name}");
        }
    }
    let Some(podman) = Peer::podman(&env.path("podman")) else { return };
    podman.run(["load", "--input", &env.path("docker").display().to_string()]).success();
    let images = podman.run(["images", "--format", "{{.Repository}}:{{.Tag}}"]).success().stdout();
    for name in ["app:v1", "app:v2", "busybox:latest"] {
        assert!(images.lines().any(|line| line.ends_with(name)), "{name} is not among {images}");
    }
    assert!(
        fs::metadata(env.path("docker")).is_ok_and(|about| about.len() < 5_000_000),
        "layers are written once"
    );
}
