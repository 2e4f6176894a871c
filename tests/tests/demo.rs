//! `make demo`, with the binary of the tests.

use std::process::{Command, Stdio};

use kiln_tests::{TestEnv, workspace};

#[test]
fn the_demo_builds_exports_and_runs_an_image_without_a_registry() {
    let env = TestEnv::new();
    let mut demo = Command::new(workspace().join("examples/demo.sh"));
    demo.arg(env.binary()).arg(env.path("demo")).stdin(Stdio::null());
    let output = demo.output().expect("run the demo");
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    assert!(text.contains("Hello"), "{text}");
    assert!(env.path("demo/hello.tar").is_file());
}
