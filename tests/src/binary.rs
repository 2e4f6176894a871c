//! Where things are: the workspace, its target directory, the kiln binary.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests crate lies in the workspace")
}

/// The reference data beside the workspace, if it is there; prints that the test is skipped if not.
pub fn shared() -> Option<PathBuf> {
    let path = workspace().parent()?.join("shared");
    if path.is_dir() {
        return Some(path);
    }
    println!("skipped: ../shared is absent");
    None
}

/// The directory of the running test's profile: `target/<triple>/debug`.
fn profile_dir() -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a path");
    // …/debug/deps/dockerfile-1234 → …/debug
    test.parent().and_then(Path::parent).expect("tests run from <profile>/deps").to_owned()
}

/// A directory below cargo's target directory, for what tests keep from run to run (the Debian base image).
pub fn target_dir() -> PathBuf {
    let profile = profile_dir();
    let target = profile.ancestors().filter(|dir| dir.join("CACHEDIR.TAG").is_file()).last();
    target.unwrap_or(&profile).join("kiln-tests")
}

/// The kiln binary: `KILN_BIN`, or the one that cargo builds from this workspace, in the profile of the tests.
pub fn kiln_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("KILN_BIN") {
        Some(path) => workspace().join(path),
        None => built_by_cargo(),
    })
}

/// Cargo itself decides whether the binary is up to date; a test never runs yesterday's kiln.
fn built_by_cargo() -> PathBuf {
    let profile = profile_dir();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(workspace()).args(["build", "--quiet", "--package", "kiln-cli", "--bin", "kiln"]);
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.status().expect("run cargo build");
    assert!(status.success(), "cargo build --package kiln-cli failed");
    profile.join("kiln")
}
