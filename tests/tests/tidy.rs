//! The shape of the code: which crate may know which, how long a file may be, what may not be said.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_tests::workspace;

/// Which crates of the workspace each crate may depend on, tests included.
const EDGES: &[(&str, &[&str])] = &[
    ("kiln-core", &[]),
    ("kiln-frontend", &["kiln-core"]),
    ("kiln-solver", &["kiln-core"]),
    ("kiln-cache", &["kiln-core"]),
    ("kiln-registry", &["kiln-core"]),
    ("kiln-executor", &["kiln-core", "kiln-cache", "kiln-registry"]),
    ("kiln-exporter", &["kiln-core", "kiln-registry"]),
    (
        "kiln-cli",
        &[
            "kiln-core",
            "kiln-frontend",
            "kiln-solver",
            "kiln-cache",
            "kiln-registry",
            "kiln-executor",
            "kiln-exporter",
        ],
    ),
    ("kiln-tests", &[]),
    ("kiln-fuzz", &["kiln-core", "kiln-frontend", "kiln-cache"]),
];

#[test]
fn crates_know_only_the_crates_below_them() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(workspace())
        .output()
        .expect("cargo metadata");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = |value: &serde_json::Value| value.as_str().expect("a string").to_owned();
    let packages = metadata["packages"].as_array().expect("packages");
    let found: BTreeMap<String, BTreeSet<String>> = packages
        .iter()
        .map(|package| {
            let all = package["dependencies"].as_array().expect("dependencies").iter();
            let ours = all.map(|d| text(&d["name"])).filter(|name| name.starts_with("kiln-"));
            (text(&package["name"]), ours.collect())
        })
        .collect();
    let allowed: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    for (package, dependencies) in found {
        let Some(allowed) = allowed.get(package.as_str()) else {
            panic!("{package} has no place in the picture")
        };
        for dependency in dependencies {
            assert!(allowed.contains(&dependency.as_str()), "{package} may not know {dependency}");
        }
    }
}

/// All files of the repository with this ending.
fn files(extension: &str) -> Vec<PathBuf> {
    fn walk(dir: &Path, extension: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).expect("list").flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && name != ".git" {
                walk(&path, extension, found);
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(workspace(), extension, &mut found);
    found
}

/// Requires of every source file that `fault` finds nothing in its text.
#[track_caller]
fn check(fault: impl Fn(&str, &str) -> Option<String>) {
    let mut faults = String::new();
    for path in files("rs") {
        let name = path.strip_prefix(workspace()).expect("within the workspace").display().to_string();
        let text = fs::read_to_string(&path).expect("read a source file");
        faults.extend(fault(&name, &text).map(|fault| format!("{name}: {fault}\n")));
    }
    assert!(faults.is_empty(), "\n{faults}");
}

#[test]
fn a_file_over_five_hundred_lines_gives_its_reason_in_its_header() {
    check(|_, text| {
        let lines = text.lines().count();
        let header: String = text.lines().take_while(|line| line.starts_with("//!")).collect();
        let reason = header.to_lowercase().contains("one file");
        (lines > 500 && !reason)
            .then(|| format!("{lines} lines; the header says \"one file\" and why, or there are two"))
    });
}

#[test]
fn files_are_named_by_nouns() {
    check(|name, _| {
        let stem = Path::new(name).file_stem()?.to_str()?;
        let empty = ["utils", "util", "helpers", "common", "types", "misc"];
        empty.contains(&stem).then(|| "says nothing of what is in it".to_owned())
    });
}

#[test]
fn nothing_is_left_for_later_or_silenced_without_a_reason() {
    let forbidden = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
        concat!("#[all", "ow("),
        concat!("#[ign", "ore]"),
    ];
    check(|_, text| {
        let left = forbidden.iter().find(|word| text.contains(**word)).map(|word| format!("says {word}"));
        left.or_else(|| {
            let attributes = text.match_indices(concat!("[exp", "ect(")).map(|(start, _)| &text[start..]);
            let mut attributes = attributes.map(|rest| &rest[..rest.find(")]").unwrap_or(rest.len())]);
            attributes
                .find(|attribute| !attribute.contains("reason"))
                .map(|attribute| format!("{attribute} gives no reason"))
        })
    });
}

#[test]
fn unsafe_code_is_in_the_executors_system_calls_alone() {
    check(|name, text| {
        let elsewhere = !name.starts_with("executor/src/sys") && text.contains(concat!("unsafe", " {"));
        elsewhere.then(|| "has unsafe code".to_owned())
    });
}

#[test]
fn every_source_file_says_what_it_is_for() {
    check(|name, text| {
        // What unit tests are about, the file beside them says.
        let is_test = name.ends_with("tests.rs") || name.contains("/tests/");
        (!is_test && !text.starts_with("//!") && !text.starts_with("#![")).then(|| "has no header".to_owned())
    });
}

#[test]
fn the_documents_name_the_commands_and_keep_their_length() {
    let read = |name: &str| fs::read_to_string(workspace().join(name)).expect(name);
    let readme = read("README.md");
    assert!(readme.contains("make demo") && readme.contains("make test"));
    assert!(read("ARCHITECTURE.md").lines().count() < 150);
    assert!(read("CHANGELOG.md").contains("Unreleased"));
}
