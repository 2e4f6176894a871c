//! `kiln imagetools` against a real registry, with skopeo reading what came of it.

use kiln_tests::{Login, Peer, Registry, TestEnv};
use serde_json::Value;

/// A registry with `app:1` for two platforms in it.
fn published() -> Option<(TestEnv, Registry)> {
    let registry = Registry::start(Login::Open)?;
    let env = TestEnv::new();
    env.file(
        "Dockerfile",
        "FROM scratch\nARG TARGETARCH\nCOPY file /file-$TARGETARCH\nENV ARCH=$TARGETARCH\n",
    );
    env.file("file", "content");
    let output = format!("--output=type=registry,name={}", registry.name("app:1"));
    env.build(["--platform=linux/amd64,linux/arm64", &output]).success();
    Some((env, registry))
}

#[track_caller]
fn imagetools<const N: usize>(env: &TestEnv, words: [&str; N]) -> String {
    let words: Vec<&str> = ["imagetools"].into_iter().chain(words).collect();
    env.kiln(&words).run().success().stdout()
}

#[track_caller]
fn raw(env: &TestEnv, name: &str) -> Value {
    serde_json::from_str(&imagetools(env, ["inspect", "--raw", name])).expect("JSON")
}

#[test]
fn inspect_shows_what_a_name_leads_to_without_pulling_it() {
    let Some((env, registry)) = published() else { return };
    let name = registry.name("app:1");
    let shown = imagetools(&env, ["inspect", &name]);
    for word in ["MediaType: application/vnd.oci.image.index.v1+json", "linux/amd64", "linux/arm64", &name] {
        assert!(shown.contains(word), "{word} in {shown}");
    }
    assert_eq!(raw(&env, &name)["manifests"].as_array().map(Vec::len), Some(2));
    let digest = imagetools(&env, ["inspect", "--format", "{{.Manifest.Digest}}", &name]);
    assert!(shown.contains(digest.trim()), "{digest} in {shown}");
    let images: Value =
        serde_json::from_str(&imagetools(&env, ["inspect", "--format", "{{json .Image}}", &name])).unwrap();
    assert_eq!(images["linux/arm64"]["config"]["Env"][1], "ARCH=arm64");
    env.kiln(["imagetools", "inspect", &registry.name("nothing:1")]).run().failure(1).says(["nothing"]);
}

#[test]
fn copy_takes_all_platforms_over_as_they_are() {
    let (Some((env, registry)), Some(other)) = (published(), Registry::start(Login::Open)) else { return };
    let Some(skopeo) = Peer::find("skopeo") else { return };
    let (from, to) = (registry.name("app:1"), other.name("mirror/app:copy"));
    imagetools(&env, ["copy", &from, &to]);
    assert_eq!(raw(&env, &from), raw(&env, &to));
    let everything = ["inspect", "--tls-verify=false", "--override-arch=arm64", &format!("docker://{to}")];
    assert_eq!(skopeo.run(everything).success().json()["Architecture"], "arm64");
    let copied = skopeo.run([
        "copy",
        "--all",
        "--src-tls-verify=false",
        &format!("docker://{to}"),
        &format!("oci:{}", env.path("all").display()),
    ]);
    copied.success();
    // A second copy into another repository of the same registry, of one platform alone.
    let one = other.name("one:arm");
    imagetools(&env, ["copy", "--platform=linux/arm64", &to, &one]);
    assert_eq!(raw(&env, &one)["manifests"].as_array().map(Vec::len), Some(1));
    let missing = ["imagetools", "copy", "--platform=linux/s390x", &to, &one];
    env.kiln(missing).run().failure(1).says(["linux/s390x", "linux/amd64, linux/arm64"]);
}

#[test]
fn create_joins_images_and_adds_to_them() {
    let Some((env, registry)) = published() else { return };
    let whole = raw(&env, &registry.name("app:1"));
    let part = |n: usize| {
        let digest = whole["manifests"][n]["digest"].as_str().expect("a digest");
        registry.name(&format!("app@{digest}"))
    };
    let joined = registry.name("joined:1");
    imagetools(&env, ["create", "--tag", &joined, &part(0)]);
    assert_eq!(raw(&env, &joined)["manifests"].as_array().map(Vec::len), Some(1));
    let metadata = env.path("metadata.json").display().to_string();
    imagetools(
        &env,
        [
            "create",
            "--append",
            "--tag",
            &joined,
            "--annotation",
            "index:k=v",
            "--metadata-file",
            &metadata,
            &part(1),
        ],
    );
    let both = raw(&env, &joined);
    assert_eq!(both["manifests"], whole["manifests"], "the parts in their order, with their platforms");
    assert_eq!(both["annotations"]["k"], "v");
    let written: Value = serde_json::from_slice(&std::fs::read(&metadata).unwrap()).unwrap();
    assert_eq!(written["image.name"], joined.as_str());
    // Nothing is pushed for a look.
    let dry = registry.name("dry:1");
    imagetools(&env, ["create", "--dry-run", "--tag", &dry, &part(0)]);
    env.kiln(["imagetools", "inspect", &dry]).run().failure(1);
    env.kiln(["imagetools", "create", &part(0)]).run().failure(1).says(["--tag"]);
}
