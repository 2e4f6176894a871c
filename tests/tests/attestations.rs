//! `--provenance` and `--sbom`: statements beside an image, as BuildKit stores them.

use kiln_tests::{Login, Registry, TestEnv};
use serde_json::Value;

/// A build pushed with these flags, and the raw index that came of it.
fn pushed(env: &TestEnv, registry: &Registry, flags: &[&str]) -> (String, Value) {
    let name = registry.name("app:1");
    let output = format!("--output=type=registry,name={name}");
    let context = env.path("context").display().to_string();
    let mut words = vec!["build", "--build-arg=FOO=bar", "--label=lbl=abc", output.as_str()];
    words.extend(flags);
    words.push(&context);
    env.kiln(&words).run().success();
    let raw = env.kiln(["imagetools", "inspect", "--raw", &name]).run().success().json();
    (name, raw)
}

fn world() -> Option<(TestEnv, Registry)> {
    let registry = Registry::start(Login::Open)?;
    let env = TestEnv::new();
    env.busybox().file("Dockerfile", "FROM busybox:latest\nARG FOO\nRUN echo ok > /foo\n");
    Some((env, registry))
}

fn shown(env: &TestEnv, name: &str, template: &str) -> Value {
    env.kiln(["imagetools", "inspect", "--format", template, name]).run().success().json()
}

#[test]
fn a_single_image_has_no_attestations_unless_they_are_asked_for() {
    let Some((env, registry)) = world() else { return };
    let (_, raw) = pushed(&env, &registry, &[]);
    assert!(raw["manifests"].is_null() && raw["layers"].is_array(), "{raw}");
}

#[test]
fn the_index_says_which_manifest_attests_which_image() {
    let Some((env, registry)) = world() else { return };
    let (name, raw) = pushed(&env, &registry, &["--provenance=mode=max"]);
    let manifests = raw["manifests"].as_array().expect("an index");
    assert_eq!(manifests.len(), 2);
    let annotations = &manifests[1]["annotations"];
    assert_eq!(annotations["vnd.docker.reference.type"], "attestation-manifest");
    assert_eq!(annotations["vnd.docker.reference.digest"], manifests[0]["digest"]);
    assert_eq!(manifests[1]["platform"]["os"], "unknown");
    // Whoever pulls the name for a platform gets the image.
    env.kiln(["rmi", &name]).run().success();
    env.kiln(["run", "--rm", "--pull=always", &name, "cat", "/foo"]).run().success().says(["ok"]);
}

#[test]
fn provenance_tells_what_buildkits_tells() {
    let Some((env, registry)) = world() else { return };
    let (name, _) = pushed(&env, &registry, &["--provenance=mode=max"]);
    let slsa = &shown(&env, &name, "{{json .Provenance}}")["SLSA"];
    let definition = &slsa["buildDefinition"];
    let kind = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";
    assert_eq!(definition["buildType"], kind);
    assert_eq!(definition["externalParameters"]["configSource"]["path"], "Dockerfile");
    let request = &definition["externalParameters"]["request"];
    assert_eq!(request["frontend"], "dockerfile.v0");
    assert_eq!(request["args"]["build-arg:FOO"], "bar");
    assert_eq!(request["args"]["label:lbl"], "abc");
    assert_eq!(request["locals"][1]["name"], "dockerfile");
    let material = &definition["resolvedDependencies"][0];
    assert_eq!(material["uri"], "pkg:docker/busybox@latest?platform=linux%2Famd64");
    assert_eq!(material["digest"]["sha256"].as_str().map(str::len), Some(64));
    assert_eq!(definition["internalParameters"]["builderPlatform"], "linux/amd64");
    let run = &slsa["runDetails"];
    assert_eq!(run["builder"]["id"], "");
    assert!(run["metadata"]["startedOn"].as_str() < run["metadata"]["finishedOn"].as_str(), "{run}");
    let source = &run["metadata"]["buildkit_metadata"]["source"]["infos"][0];
    assert_eq!(source["filename"], "Dockerfile");
    assert_eq!(run["metadata"]["buildkit_completeness"]["request"], true);
}

#[test]
fn the_least_provenance_holds_back_what_may_be_secret() {
    let Some((env, registry)) = world() else { return };
    let (name, _) = pushed(&env, &registry, &["--provenance=mode=min,builder-id=https://ci.example/1"]);
    let all = shown(&env, &name, "{{json .Provenance}}");
    assert!(!all.to_string().contains("bar") && !all.to_string().contains("llbDefinition"), "{all}");
    assert_eq!(all["SLSA"]["runDetails"]["builder"]["id"], "https://ci.example/1");
}

#[test]
fn the_packages_of_an_image_are_listed() {
    let Some((env, registry)) = world() else { return };
    let status = "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9\n";
    env.file("status", status)
        .file("package.json", r#"{"name":"left-pad","version":"1.3.0","license":"WTFPL"}"#);
    env.file(
        "Dockerfile",
        "FROM busybox\nCOPY status /var/lib/dpkg/status\nCOPY package.json /app/node_modules/left-pad/\n\
         RUN echo ID=debian > /etc/os-release\n",
    );
    let (name, _) = pushed(&env, &registry, &["--sbom=true"]);
    let spdx = &shown(&env, &name, "{{json .SBOM}}")["SPDX"];
    assert_eq!(spdx["spdxVersion"], "SPDX-2.3");
    let urls: Vec<&str> = spdx["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .map(|package| package["externalRefs"][0]["referenceLocator"].as_str().expect("a package URL"))
        .collect();
    assert_eq!(urls, ["pkg:deb/debian/libc6@2.36-9?arch=amd64", "pkg:npm/left-pad@1.3.0"]);

    // As its files have them, and as stated beside the image.
    let inspect = |image: &str| env.kiln(["inspect", "--sbom", image]).run().success().json();
    assert_eq!(inspect(&name)["packages"], spdx["packages"]);
    env.kiln(["rmi", &name]).run().success();
    assert_eq!(inspect(&name)["SPDX"]["packages"], spdx["packages"]);
    env.kiln(["inspect", "--provenance", &name]).run().failure(1).says(["has no Provenance", "--push"]);
}

#[test]
fn a_directory_gets_the_statements_beside_the_files() {
    let env = TestEnv::new();
    env.file("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    let out = env.path("out");
    let output = format!("--output=type=local,dest={},attestation-prefix=app.", out.display());
    env.build(["--provenance=true", "--sbom=true", &output]).success();
    let read =
        |name: &str| -> Value { serde_json::from_slice(&std::fs::read(out.join(name)).unwrap()).unwrap() };
    assert!(read("app.provenance.json")["buildDefinition"].is_object());
    assert_eq!(read("app.sbom.spdx.json")["packages"].as_array().map(Vec::len), Some(0));
}

#[test]
fn an_artifact_names_its_subject() {
    let env = TestEnv::new();
    env.file("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    let out = env.path("layout");
    let output = format!("--output=type=oci,tar=false,dest={},oci-artifact=true", out.display());
    env.build(["--provenance=true", &output]).success();
    let read = |digest: &Value| -> Value {
        let hex = digest.as_str().unwrap().trim_start_matches("sha256:").to_owned();
        serde_json::from_slice(&std::fs::read(out.join("blobs/sha256").join(hex)).unwrap()).unwrap()
    };
    let layout: Value = serde_json::from_slice(&std::fs::read(out.join("index.json")).unwrap()).unwrap();
    let index = read(&layout["manifests"][0]["digest"]);
    let attestation = read(&index["manifests"][1]["digest"]);
    assert_eq!(attestation["artifactType"], "application/vnd.docker.attestation.manifest.v1+json");
    assert_eq!(attestation["subject"]["digest"], index["manifests"][0]["digest"]);
    assert_eq!(attestation["config"]["mediaType"], "application/vnd.oci.empty.v1+json");
}
