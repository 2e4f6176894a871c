//! Images of the local store: listing, naming, removing, saving, loading.

use kiln_tests::{Image, TestEnv};

fn built() -> TestEnv {
    let env = TestEnv::new();
    env.busybox()
        .file("Dockerfile", "FROM busybox\nRUN echo x > /x\nENV A=1\nLABEL l=1\nCMD [\"cat\", \"/x\"]\n");
    env.build(["--tag=app:v1"]).success();
    env
}

#[track_caller]
fn kiln<const N: usize>(env: &TestEnv, words: [&str; N]) -> String {
    env.kiln(words).run().success().stdout()
}

#[test]
fn images_lists_names_tags_and_ids() {
    let env = built();
    let table = kiln(&env, ["images"]);
    assert!(table.contains("REPOSITORY") && table.contains("app") && table.contains("busybox"), "{table}");
    let lines = kiln(&env, ["images", "--format", "json", "app"]);
    let row: serde_json::Value = serde_json::from_str(lines.trim()).expect("one line of JSON");
    assert_eq!((row["Repository"].as_str(), row["Tag"].as_str()), (Some("app"), Some("v1")));
    assert!(kiln(&env, ["images", "--quiet", "app"]).trim().len() >= 12);
}

#[test]
fn an_image_can_have_several_names_and_goes_with_the_last() {
    let env = built();
    kiln(&env, ["tag", "app:v1", "other"]);
    kiln(&env, ["rmi", "app:v1"]);
    env.kiln(["inspect", "app:v1"]).run().failure(1).says(["app:v1"]);
    assert_eq!(kiln(&env, ["run", "--rm", "other"]), "x\n");
    kiln(&env, ["rmi", "other"]);
    env.kiln(["run", "--rm", "--pull=never", "other"]).run().failure(125);
}

#[test]
fn removing_an_image_that_is_not_there_is_an_error_unless_forced() {
    let env = TestEnv::new();
    env.kiln(["rmi", "nothing"]).run().failure(1).says(["nothing"]);
    kiln(&env, ["rmi", "--force", "nothing"]);
}

#[test]
fn inspect_shows_the_configuration_as_docker_does() {
    let env = built();
    let all: serde_json::Value = serde_json::from_str(&kiln(&env, ["inspect", "app:v1"])).expect("JSON");
    let image = &all[0];
    assert_eq!(image["Config"]["Cmd"], serde_json::json!(["cat", "/x"]));
    assert_eq!(image["Config"]["Labels"]["l"], "1");
    assert_eq!(image["Os"], "linux");
    assert_eq!(image["RootFS"]["Layers"].as_array().map(Vec::len), Some(2));
    assert_eq!(image["RepoTags"].as_array().map(Vec::len), Some(1));
}

#[test]
fn history_names_each_instruction() {
    let env = built();
    let history = kiln(&env, ["history", "--no-trunc", "app:v1"]);
    for word in ["RUN /bin/sh -c echo x > /x # buildkit", "ENV A=1", "LABEL l=1", "CMD [\"cat\" \"/x\"]"] {
        assert!(history.contains(word), "{word} in {history}");
    }
}

#[test]
fn saved_images_load_in_another_store() {
    let env = built();
    for format in ["docker", "oci"] {
        let file = env.path(&format!("{format}.tar")).display().to_string();
        kiln(&env, ["save", "--format", format, "--output", &file, "app:v1"]);
        let other = TestEnv::new();
        kiln(&other, ["load", "--input", &file]);
        assert_eq!(kiln(&other, ["run", "--rm", "app:v1"]), "x\n", "{format}");
    }
    let saved = env.kiln(["save", "app:v1"]).run().success();
    let other = TestEnv::new();
    other.kiln(["load"]).stdin(saved.stdout).run().success().says(["app:v1"]);
    assert_eq!(kiln(&other, ["run", "--rm", "app:v1"]), "x\n");
}

#[test]
fn load_reads_an_oci_layout_directory() {
    let env = built();
    let layout = env.path("layout").display().to_string();
    env.build(["--tag=laid:out", &format!("--output=type=oci,tar=false,dest={layout}")]).success();
    let other = TestEnv::new();
    kiln(&other, ["load", "--input", &layout]);
    assert_eq!(kiln(&other, ["run", "--rm", "laid:out"]), "x\n");
}

#[test]
fn import_makes_an_image_of_a_root_directory() {
    let env = TestEnv::new();
    kiln_tests::busybox_tar(&env.path("root.tar"));
    let file = env.path("root.tar").display().to_string();
    kiln(
        &env,
        ["import", "--change", "CMD [\"echo\", \"imported\"]", "--change", "ENV X=1", &file, "made:1"],
    );
    assert_eq!(kiln(&env, ["run", "--rm", "made:1"]), "imported\n");
    let bytes = std::fs::read(env.path("root.tar")).expect("read");
    let compressed = zstd::encode_all(&*bytes, 1).expect("compress");
    env.kiln(["import", "-", "piped"]).stdin(compressed).run().success();
    assert_eq!(kiln(&env, ["run", "--rm", "piped", "echo", "hi"]), "hi\n");
}

#[test]
fn a_loaded_image_is_exported_byte_for_byte() {
    let env = built();
    let [one, two] = ["one.tar", "two.tar"].map(|name| env.path(name));
    kiln(&env, ["save", "--format=oci", "--output", &one.display().to_string(), "app:v1"]);
    let other = TestEnv::new();
    kiln(&other, ["load", "--input", &one.display().to_string()]);
    kiln(&other, ["save", "--format=oci", "--output", &two.display().to_string(), "app:v1"]);
    assert_eq!(Image::tar(&one).digest, Image::tar(&two).digest);
}

#[test]
fn prune_frees_what_no_image_needs_and_keeps_the_rest() {
    let env = built();
    env.file("Dockerfile", "FROM busybox\nRUN head -c 3000000 /dev/urandom > /big\n");
    env.build(["--tag=big"]).success();
    let before = store_size(&env);
    kiln(&env, ["rmi", "big"]);
    kiln(&env, ["prune", "--all", "--force"]);
    assert!(store_size(&env) + 2_500_000 < before, "{} of {before} bytes are left", store_size(&env));
    assert_eq!(kiln(&env, ["run", "--rm", "app:v1"]), "x\n");
    kiln(&env, ["fsck"]);
}

fn store_size(env: &TestEnv) -> u64 {
    fn size(path: &std::path::Path) -> u64 {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        let sizes = entries.map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => size(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        });
        sizes.sum()
    }
    size(&env.store().join("layers")) + size(&env.store().join("blobs"))
}

#[test]
fn du_version_and_info_speak_to_people_and_to_scripts() {
    let env = built();
    for words in [["du", "--format=json"], ["version", "--format=json"], ["info", "--format=json"]] {
        let out = kiln(&env, words);
        let lines = out.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok());
        assert!(lines || serde_json::from_str::<serde_json::Value>(&out).is_ok(), "{words:?}: {out}");
    }
    assert!(kiln(&env, ["version"]).contains(env!("CARGO_PKG_VERSION")));
    assert!(!kiln(&env, ["info"]).is_empty() && !kiln(&env, ["du"]).is_empty());
}

#[test]
fn the_store_is_named_by_the_option_before_the_environment() {
    let env = built();
    let other = env.path("elsewhere").display().to_string();
    assert!(!kiln(&env, ["--root", &other, "images"]).contains("app"));
    assert!(!kiln(&env, ["images", "--root", &other]).contains("app"));
    assert!(kiln(&env, ["images"]).contains("app"));
}

#[test]
fn diff_tells_files_settings_and_sizes_apart() {
    let env = built();
    env.file(
        "Dockerfile",
        "FROM app:v1\nRUN echo longer > /x && echo y > /y && chmod 600 /etc && rm -r /bin/busybox\nENV A=2\n",
    );
    env.build(["--tag=app:v2"]).success();
    let table = kiln(&env, ["diff", "app:v1", "app:v2"]);
    let lines: Vec<&str> = table.lines().collect();
    for line in ["D /bin/busybox", "C /etc (mode 0755 -> 0600)", "C /x (2B -> 7B)", "A /y (2B)"] {
        assert!(lines.iter().any(|found| found.starts_with(line)), "{line} in\n{table}");
    }
    assert!(table.contains(r#"config Env: ["PATH="#) && table.contains(r#""A=2"]"#), "{table}");
    let json = env.kiln(["diff", "--format=json", "app:v2", "app:v2"]).run().success().json();
    assert_eq!((json["Files"].as_array().map(Vec::len), &json["Config"]), (Some(0), &serde_json::json!({})));
    env.kiln(["diff", "app:v1", "nothing"]).run().failure(1).says(["nothing"]);
}
