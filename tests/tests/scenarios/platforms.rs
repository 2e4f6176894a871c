//! Several platforms in one build.

use std::fs;
use std::path::Path;

use kiln_tests::TestEnv;
use serde_json::Value;

use crate::corpus::{Scenario, fill};
use crate::made::Made;

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        .expect("JSON")
}

/// Builds for several platforms; of each, in order: its name, the manifest, the configuration.
fn images(env: &TestEnv, platforms: &str) -> Vec<(String, Value, Value)> {
    let dest = env.path("layout");
    let output = format!("--output=type=oci,tar=false,dest={}", dest.display());
    env.build([&*format!("--platform={platforms}"), &output]).success();
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().expect("a digest");
        json(&dest.join("blobs").join(digest.replacen(':', "/", 1)))
    };
    let index = blob(&json(&dest.join("index.json"))["manifests"][0]);
    let manifests = index["manifests"].as_array().expect("manifests").iter().map(|descriptor| {
        let field = |name: &str| descriptor["platform"][name].as_str();
        let name = [field("os"), field("architecture"), field("variant")];
        let manifest = blob(descriptor);
        let config = blob(&manifest["config"]);
        (name.into_iter().flatten().collect::<Vec<_>>().join("/"), manifest, config)
    });
    manifests.collect()
}

#[test]
fn each_platform_has_a_directory_or_a_manifest_of_its_own() {
    let Some(scenario) = Scenario::read("export/testExportMultiPlatform") else { return };
    let env = TestEnv::new();
    env.file("Dockerfile", scenario.dockerfile());
    for architecture in ["arm", "amd64", "s390x", "ppc64le"] {
        env.file(&format!("arch-{architecture}"), format!("i am {architecture}"));
    }
    let made = Made::new(&env, &["--platform=windows/amd64,linux/arm,linux/s390x"]);
    for (platform, architecture) in
        [("windows_amd64", "amd64"), ("linux_arm_v7", "arm"), ("linux_s390x", "s390x")]
    {
        assert_eq!(made.content(&format!("{platform}/whoami")), format!("i am {architecture}"));
    }

    let names = ["windows/amd64", "linux/arm/v6", "linux/ppc64le"];
    let images = images(&env, &names.join(","));
    assert_eq!(images.len(), names.len());
    for ((name, manifest, config), wanted) in images.iter().zip(names) {
        assert_eq!(name, wanted);
        assert_eq!(manifest["layers"].as_array().expect("layers").len(), 1);
        let mut parts = wanted.split('/');
        assert_eq!(config["os"].as_str(), parts.next());
        assert_eq!(config["architecture"].as_str(), parts.next());
        assert_eq!(config["config"]["Labels"]["target"], wanted);
    }
}

#[test]
fn shell_and_path_are_those_of_the_platform() {
    let Some(scenario) = Scenario::read("cmd/testDefaultShellAndPath") else { return };
    let env = TestEnv::new();
    env.file("Dockerfile", scenario.dockerfile());
    let rows = scenario.rows("range");
    let images = images(&env, "windows/amd64,linux/amd64");
    assert_eq!(images.len(), rows.len());
    for ((name, manifest, config), row) in images.iter().zip(rows) {
        assert_eq!(row["p"], **name);
        assert_eq!(manifest["layers"].as_array().expect("layers").len(), 1);
        assert_eq!(config["config"]["Entrypoint"], row["entrypoint"]);
        assert_eq!(config["config"].get("Env").unwrap_or(&Value::Null), &row["env"]);
    }
}

#[test]
fn arguments_of_the_platform_need_no_declaration_before_the_first_stage() {
    let Some(scenario) = Scenario::read("platform/testPlatformArgsImplicit") else { return };
    let env = TestEnv::new();
    env.file("Dockerfile", fill(scenario.dockerfile(), &[("runtime.GOOS", "linux")]));
    env.file("foo", "d0").file("foo2", "d1");
    let made = Made::new(&env, &[]);
    assert_eq!((made.content("bar"), made.content("bar2")), ("d0".to_owned(), "d1".to_owned()));
}
