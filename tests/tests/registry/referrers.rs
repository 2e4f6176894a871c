//! Statements about an image as OCI 1.1 artifacts: listed by the registry, or under the tag that stands for its list.

use kiln_tests::{Login, Peer, Registry, TestEnv};
use serde_json::Value;

use crate::modern::modern;

/// Pushes an image of two platforms with artifacts beside it.
#[track_caller]
fn push(env: &TestEnv, name: &str) {
    env.file("Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY Dockerfile /$TARGETARCH\n");
    let output = format!("--output=type=registry,name={name},oci-artifact=true");
    env.build(["--platform=linux/amd64,linux/arm64", "--provenance=true", "--sbom=true", &output]).success();
}

#[track_caller]
fn raw(env: &TestEnv, name: &str) -> Value {
    env.kiln(["imagetools", "inspect", "--raw", name]).run().success().json()
}

/// The images of an index with the statement about each.
fn pairs(index: &Value) -> Vec<(String, String)> {
    let manifests = index["manifests"].as_array().expect("an index");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let about = |manifest: &Value| text(&manifest["annotations"]["vnd.docker.reference.digest"]);
    manifests.iter().filter(|m| !about(m).is_empty()).map(|m| (about(m), text(&m["digest"]))).collect()
}

/// What everybody sees of the image and its statements, however the registry keeps them.
#[track_caller]
fn check_shown(env: &TestEnv, repository: &str) -> Vec<(String, String)> {
    let pairs = pairs(&raw(env, &format!("{repository}:1")));
    assert_eq!(pairs.len(), 2);
    let all = env.kiln(["imagetools", "inspect", &format!("{repository}:1")]).run().success();
    let all = all.says(["Referrers:", "linux/arm64"]);
    for (image, statement) in &pairs {
        let listed = format!("{statement}: application/vnd.docker.attestation.manifest.v1+json");
        let all = all.stdout();
        let (_, after) = all.split_once(&format!("@{image}\n")).expect("the image");
        assert!(after.split("\n\n").next().is_some_and(|block| block.contains(&listed)), "{listed} in {all}");
        // The image alone leads to what is stated of it, with no index that says so.
        let alone = format!("{repository}@{image}");
        for (field, within) in [("Provenance", "buildDefinition"), ("SBOM", "spdxVersion")] {
            let template = format!("{{{{json .{field}}}}}");
            let words = ["imagetools", "inspect", "--format", &template, &alone];
            env.kiln(words).run().success().says([within]);
        }
    }
    pairs
}

#[test]
fn a_registry_lists_the_statements_about_an_image() {
    let (env, registry) = (TestEnv::new(), modern());
    let repository = format!("{registry}/team/app");
    push(&env, &format!("{repository}:1"));
    let pairs = check_shown(&env, &repository);
    for (image, statement) in &pairs {
        let list = get(&registry, &format!("/v2/team/app/referrers/{image}"));
        assert_eq!(list["manifests"].as_array().map(Vec::len), Some(1), "{list}");
        assert_eq!(list["manifests"][0]["digest"], statement.as_str());
        assert_eq!(
            list["manifests"][0]["artifactType"],
            "application/vnd.docker.attestation.manifest.v1+json"
        );
    }
    // A registry that keeps the list gets no tag in its place.
    let tags = get(&registry, "/v2/team/app/tags/list");
    assert_eq!(tags["tags"], serde_json::json!(["1"]));
    // A copy at another registry has them too.
    let other = modern();
    let copy = format!("{other}/copy:1");
    env.kiln(["cp", &format!("{repository}:1"), &copy]).run().success();
    check_shown(&env, &format!("{other}/copy"));
    let nothing = env.kiln(["imagetools", "inspect", &format!("{repository}:2")]).run().failure(1);
    nothing.says([&repository, "not found"]);
}

#[test]
fn a_registry_without_lists_has_a_tag_for_each() {
    let Some(registry) = Registry::start(Login::Open) else { return };
    let env = TestEnv::new();
    let repository = registry.name("team/app");
    push(&env, &format!("{repository}:1"));
    env.kiln(["imagetools", "copy", &format!("{repository}:1"), &format!("{repository}:2")]).run().success();
    for (image, statement) in check_shown(&env, &repository) {
        let tag = format!("{repository}:{}", image.replace(':', "-"));
        let list = raw(&env, &tag);
        assert_eq!(list["mediaType"], "application/vnd.oci.image.index.v1+json");
        let digests: Vec<_> =
            list["manifests"].as_array().expect("it").iter().map(|m| &m["digest"]).collect();
        assert_eq!(digests, [&Value::from(statement)], "each once, however often it came");
        if let Some(skopeo) = Peer::find("skopeo") {
            let raw = skopeo.run(["inspect", "--raw", "--tls-verify=false", &format!("docker://{tag}")]);
            assert_eq!(raw.success().json(), list);
        }
    }
}

/// A document of a registry, as anybody gets it.
#[track_caller]
fn get(address: &str, path: &str) -> Value {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address).expect("connect");
    write!(stream, "GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n").expect("ask");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{path}: {error}: {answer}"))
}
