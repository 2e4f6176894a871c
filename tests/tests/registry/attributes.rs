//! The attributes of `--output` that say what a registry gets, by BuildKit's names.

use kiln_tests::{Login, Registry, TestEnv};
use serde_json::Value;

fn world() -> Option<(TestEnv, Registry)> {
    let registry = Registry::start(Login::Open)?;
    let env = TestEnv::new();
    env.file("Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY Dockerfile /$TARGETARCH\n");
    Some((env, registry))
}

#[track_caller]
fn raw(env: &TestEnv, name: &str) -> Value {
    env.kiln(["imagetools", "inspect", "--raw", name]).run().success().json()
}

#[test]
fn by_digest_means_without_a_tag() {
    let Some((env, registry)) = world() else { return };
    let (name, metadata) = (registry.name("app"), env.path("metadata.json"));
    let output = format!("--output=type=image,name={name},push-by-digest=true,push=true,store=false");
    env.build([&output, "--metadata-file", &metadata.display().to_string()]).success();
    let written: Value = serde_json::from_slice(&std::fs::read(metadata).expect("it")).expect("JSON");
    let digest = written["containerimage.digest"].as_str().expect("a digest");
    assert!(raw(&env, &format!("{name}@{digest}"))["layers"].is_array());
    env.kiln(["imagetools", "inspect", &name]).run().failure(1).says(["not found"]);
    assert_eq!(env.kiln(["images", "--quiet"]).run().success().stdout(), "", "store=false");
}

#[test]
fn media_types_are_dockers_if_they_are_to_be() {
    let Some((env, registry)) = world() else { return };
    let name = registry.name("app:1");
    env.build([&format!("--output=type=registry,name={name},oci-mediatypes=false")]).success();
    let manifest = raw(&env, &name);
    assert_eq!(manifest["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.docker.container.image.v1+json");
    assert_eq!(manifest["layers"][0]["mediaType"], "application/vnd.docker.image.rootfs.diff.tar.gzip");
}

#[test]
fn annotations_are_where_they_are_to_be() {
    let Some((env, registry)) = world() else { return };
    let name = registry.name("app:1");
    let output = format!(
        "--output=type=registry,name={name},annotation.all=1,annotation-index.i=2,\
         annotation-manifest[linux/arm64].arm=3,annotation-manifest-descriptor.d=4"
    );
    env.build(["--platform=linux/amd64,linux/arm64", &output]).success();
    let index = raw(&env, &name);
    assert_eq!(index["annotations"], serde_json::json!({"i": "2"}));
    for (n, wanted) in
        [(0, serde_json::json!({"all": "1"})), (1, serde_json::json!({"all": "1", "arm": "3"}))]
    {
        let entry = &index["manifests"][n];
        assert_eq!(entry["annotations"], serde_json::json!({"d": "4"}));
        let digest = entry["digest"].as_str().expect("a digest");
        assert_eq!(raw(&env, &registry.name(&format!("app@{digest}")))["annotations"], wanted);
    }
}

#[test]
fn platforms_have_directories_of_their_own_if_they_are_to() {
    let env = TestEnv::new();
    env.file("Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY Dockerfile /$TARGETARCH\n");
    let both = "--platform=linux/amd64,linux/arm64";
    for (platforms, split, files) in [
        (both, "", ["linux_amd64/amd64", "linux_arm64/arm64"]),
        (both, ",platform-split=false", ["amd64", "arm64"]),
        ("--platform=linux/arm64", ",platform-split=true", ["linux_arm64", "linux_arm64/arm64"]),
    ] {
        let out = place(&env, split, platforms);
        env.build([platforms, &format!("--output=type=local,dest={out}{split}")]).success();
        for file in files {
            assert!(std::path::Path::new(&out).join(file).exists(), "{file} {split}");
        }
    }
}

/// A place for one export.
fn place(env: &TestEnv, split: &str, platforms: &str) -> String {
    env.path(&format!("out{}{}", split.len(), platforms.len())).display().to_string()
}
