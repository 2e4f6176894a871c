//! `kiln cp IMAGE IMAGE`: from registry to registry, whole and unopened.

use kiln_tests::{Login, Peer, Registry, TestEnv};
use serde_json::{Value, json};

use crate::liar::{INDEX, Liar};
use crate::line::{Faults, Line};
use crate::push::noise;

const SIZE: usize = 3_000_000;

/// A registry with `app:1` in it: two platforms and what is stated about them.
fn published(env: &TestEnv) -> Option<Registry> {
    let registry = Registry::start(Login::Open)?;
    env.file("Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY file /file-$TARGETARCH\n");
    env.file("file", noise(SIZE, 1));
    let output = format!("--output=type=registry,name={},compression=zstd", registry.name("app:1"));
    env.build(["--platform=linux/amd64,linux/arm64", "--provenance=true", &output]).success();
    Some(registry)
}

#[track_caller]
fn raw(env: &TestEnv, name: &str) -> Value {
    env.kiln(["imagetools", "inspect", "--raw", name]).run().success().json()
}

#[test]
fn an_image_goes_over_with_all_platforms_and_statements() {
    let env = TestEnv::new();
    let (Some(registry), Some(other)) = (published(&env), Registry::start(Login::Open)) else { return };
    let (into, out_of) =
        (Line::to(other.address(), Faults::default()), Line::to(registry.address(), Faults::default()));
    let from = format!("{}/app:1", out_of.address);
    let name = |repository: &str| format!("{}/{repository}", into.address);
    // By somebody who has nothing of it, and who has nothing of it afterwards.
    let courier = TestEnv::new();
    let copied = courier.kiln(["cp", &from, &name("team/copy:2")]).run().success();
    copied.says([&format!("{}: digest: sha256:", name("team/copy:2"))]);
    let wanted = raw(&env, &registry.name("app:1"));
    assert_eq!(wanted["manifests"].as_array().map(Vec::len), Some(4));
    assert_eq!(raw(&env, &other.name("team/copy:2")), wanted);
    assert_eq!(courier.kiln(["images", "--quiet"]).run().success().stdout(), "");
    courier.kiln(["fsck"]).run().success();
    // Each layer went once, as it was: noise stays as large as it is.
    let expected = 2 * SIZE as u64;
    assert!(into.bytes() < expected * 11 / 10, "{} bytes for {expected}", into.bytes());
    // Once more, and into another repository of the registry: nothing of it is sent.
    let before = (into.bytes(), out_of.bytes());
    courier.kiln(["cp", "--quiet", &from, &name("team/copy:3")]).run().success();
    courier.kiln(["cp", &name("team/copy:2"), &name("third:1")]).run().success();
    let more = (into.bytes() - before.0, out_of.bytes() - before.1);
    assert!(more.0 < 200_000 && more.1 < 200_000, "{more:?} bytes for what is there");

    if let Some(skopeo) = Peer::find("skopeo") {
        let image = format!("docker://{}", other.name("third:1"));
        let layout = format!("oci:{}:all", env.path("layout").display());
        skopeo
            .run(["copy", "--insecure-policy", "--all", "--src-tls-verify=false", &image, &layout])
            .success();
    }
    let arm = env.path("arm").display().to_string();
    let words = ["build", "--platform=linux/arm64", "--output", &arm, "-"];
    courier.kiln(words).stdin(format!("FROM {}\n", other.name("third:1"))).run().success();
    assert!(std::fs::read(env.path("arm/file-arm64")).is_ok_and(|bytes| bytes == noise(SIZE, 1)));
}

#[test]
fn what_is_no_image_is_told_apart() {
    let Some(registry) = Registry::start(Login::Open) else { return };
    let env = TestEnv::new();
    let cp = |from: &str, to: &str| env.kiln(["cp", from, to]).run().failure(1);
    let hint = "an image is copied to a name that begins with its registry";
    // Without its registry, the new name may as well be a path: nothing is made at Docker Hub by mistake.
    cp("app:1", "team/app").says(["no such container: app"]);
    cp("app", "team/app").says(["must specify at least one container source", hint]);
    cp("app:1", "team:app").says(["copying between containers is not supported", hint]);
    cp("c:/etc/passwd", &registry.name("app")).says(["copying between containers is not supported", hint]);
    cp("./app", &registry.name("app")).says(["no such container: 127.0.0.1"]);
    let missing = registry.name("nothing:1");
    cp(&missing, &registry.name("app:1")).says([&missing, "not found", "check the name"]);
    env.kiln(["cp", "-a", &missing, &registry.name("app:1")]).run().failure(1).says(["these are images"]);
    env.kiln(["cp", "--help"]).run().success().says(["REGISTRY/IMAGE", "begins with `/` or `.`"]);
}

/// An index may name others without end: whoever copies it stops.
#[test]
fn an_index_of_indexes_ends() {
    let Some(other) = Registry::start(Login::Open) else { return };
    let (env, registry) = (TestEnv::new(), Liar::start());
    registry.image("image", &[registry.layer(b"content")]);
    let mut inner = registry.document("depth", INDEX, &json!({"schemaVersion": 2, "manifests": []}));
    for depth in 0..6 {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [inner]});
        inner = registry.document(&format!("depth{depth}"), INDEX, &index);
    }
    env.kiln(["cp", &registry.name("depth3"), &other.name("app:1")]).run().success();
    let endless = env.kiln(["cp", &registry.name("depth5"), &other.name("app:2")]).run().failure(1);
    endless.says([&registry.address, "nests deeper than 4 indexes"]);
    env.kiln(["imagetools", "inspect", &other.name("app:2")]).run().failure(1).says(["not found"]);
}
