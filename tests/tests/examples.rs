//! The examples build and do what their READMEs say.

use std::fs;

use kiln_tests::{TestEnv, workspace};

/// Builds `examples/<name>` as `name`.
#[track_caller]
fn build(env: &TestEnv, name: &str) {
    let context = workspace().join("examples").join(name).display().to_string();
    env.kiln(["build", "--progress=plain", "--network=host", "--tag", name, &context]).run().success();
}

#[test]
fn every_example_has_a_readme_and_a_dockerfile() {
    for entry in fs::read_dir(workspace().join("examples")).expect("list examples").flatten() {
        if entry.path().is_dir() {
            for file in ["README.md", "Dockerfile"] {
                assert!(entry.path().join(file).is_file(), "{} has no {file}", entry.path().display());
            }
        }
    }
}

#[test]
fn hello_greets_and_leaves_ignored_files_out() {
    let env = TestEnv::new();
    env.busybox();
    build(&env, "hello");
    let out = env.kiln(["run", "--rm", "hello"]).run().success().stdout();
    assert!(out.starts_with("Hello"), "{out}");
    env.kiln(["run", "--rm", "hello", "test", "!", "-e", "/app/context/notes.txt"]).run().success();
}

#[test]
fn c_static_is_one_binary_from_scratch() {
    let env = TestEnv::new();
    if env.debian().is_none() {
        return;
    }
    build(&env, "c-static");
    let out = env.kiln(["run", "--rm", "c-static", "World"]).run().success().stdout();
    assert_eq!(out, "Hello, World, from an image with one file.\n");
}

#[test]
fn python_app_counts_words() {
    let env = TestEnv::new();
    if env.debian().is_none() {
        return;
    }
    build(&env, "python-app");
    let out = env.kiln(["run", "--rm", "-i", "python-app"]).stdin("one two\ntwo\n").run().success().stdout();
    assert_eq!(out, "2 two\n1 one\n");
}

#[test]
fn web_exposes_its_port() {
    let env = TestEnv::new();
    env.busybox();
    build(&env, "web");
    let all = env.kiln(["inspect", "web"]).run().success().json();
    assert_eq!(all[0]["Config"]["ExposedPorts"], serde_json::json!({"8080/tcp": {}}));
}
