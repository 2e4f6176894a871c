//! Where a registry is, as podman's and containerd's files say it, and when one is asked at all.

use kiln_tests::{Login, Registry, TestEnv};

use crate::line::{Faults, Line};
use crate::push::noise;

/// An image in a registry.
fn pushed(registry: &Registry, size: usize) -> TestEnv {
    let env = TestEnv::new();
    env.file("Dockerfile", "FROM scratch\nCOPY a /\n").file("a", noise(size, 1));
    env.build(["--push", "--tag", &registry.name("team/app:1")]).success();
    env
}

#[test]
fn registries_conf_says_where_an_image_is_and_what_is_blocked() {
    let Some(registry) = Registry::start(Login::Open) else { return };
    pushed(&registry, 10);
    let env = TestEnv::new();
    let conf = format!(
        "[[registry]]\nprefix = \"nowhere.example/hub\"\nlocation = \"{}/team\"\n\
         [[registry]]\nprefix = \"bad.example\"\nblocked = true\n",
        registry.address()
    );
    env.write("home/.config/containers/registries.conf", conf);
    env.kiln(["pull", "nowhere.example/hub/app:1"]).run().success();
    env.kiln(["images"]).run().success().says(["nowhere.example/hub/app"]);
    let blocked = env.kiln(["pull", "bad.example/app:1"]).run().failure(1);
    blocked.says(["bad.example", "is blocked by", "registries.conf"]);
    env.write("home/.config/containers/registries.conf", "[[registry]]\nlocation = 1\n");
    env.kiln(["pull", "nowhere.example/hub/app:1"]).run().failure(1).says(["registries.conf"]);
}

#[test]
fn containerds_hosts_toml_says_where_a_registry_is() {
    let Some(registry) = Registry::start(Login::Open) else { return };
    pushed(&registry, 10);
    let env = TestEnv::new();
    let hosts = format!("server = \"http://{}\"\n", registry.address());
    env.write("home/.config/containers/certs.d/nowhere.example/hosts.toml", hosts);
    env.kiln(["pull", "nowhere.example/team/app:1"]).run().success();
}

#[test]
fn podmans_login_is_a_login() {
    let Some(registry) = Registry::start(Login::Basic) else { return };
    let env = TestEnv::new();
    env.file("Dockerfile", "FROM scratch\nCOPY a /\n").file("a", "a");
    // base64 of kiln:letmein, for one namespace of the registry alone.
    let auth =
        format!("{{\"auths\": {{\"{}/team\": {{\"auth\": \"a2lsbjpsZXRtZWlu\"}}}}}}", registry.address());
    env.write("home/.config/containers/auth.json", auth);
    env.build(["--push", "--tag", &registry.name("team/app:1")]).success();
    env.build(["--push", "--tag", &registry.name("other/app:1")]).failure(1).says(["login"]);
}

#[test]
fn pull_says_when_a_registry_is_asked() {
    let Some(registry) = Registry::start(Login::Open) else { return };
    let first = pushed(&registry, 10);
    let name = registry.name("team/app:1");
    let env = TestEnv::new();
    env.file("Dockerfile", format!("FROM {name}\nLABEL a=b\n"));
    env.build(["--pull=never"]).failure(1).says(["not in the local store"]);
    env.build([]).success();
    first.file("Dockerfile", "FROM scratch\nCOPY a /\nLABEL newer=1\n");
    first.build(["--push", "--tag", &name]).success();
    let label = |pull: &str| {
        env.build([pull, "--tag", "x"]).success();
        env.kiln(["inspect", "x"]).run().success().stdout().contains("newer")
    };
    assert!(!label("--pull=missing") && !label("--pull=never"));
    assert!(label("--pull=newer"));
    drop(registry);
    assert!(label("--pull=newer"), "what is here does when nobody answers");
    env.build(["--pull"]).failure(1);
    env.build([]).success();
    env.build(["--pull=sometimes"]).failure(1).says(["always, newer, missing or never"]);
}

#[test]
fn what_no_step_reads_is_not_downloaded() {
    const SIZE: u64 = 3_000_000;
    let Some(registry) = Registry::start(Login::Open) else { return };
    pushed(&registry, SIZE as usize);
    let line = Line::to(registry.address(), Faults::default());
    let env = TestEnv::new();
    let base = format!("{}/team/app:1", line.address);
    env.file("Dockerfile", format!("FROM {base} AS unread\nENV A=b\nFROM scratch\nCOPY a /\n"))
        .file("a", "a");
    env.build([]).success();
    assert!(line.bytes() < SIZE / 10, "{} bytes", line.bytes());
    // By its digest, an image that is here needs no registry.
    env.kiln(["pull", &base]).run().success();
    let digest = env.kiln(["pull", &base]).run().success().stderr;
    let digest = digest.split("Digest: ").nth(1).expect("a digest").trim().to_owned();
    drop(registry);
    env.file("Dockerfile", format!("FROM {}/team/app@{digest}\nLABEL a=b\n", line.address));
    env.build([]).success();
}
