//! Which behaviours of other tools' tests kiln's own tests cover.

use std::collections::{BTreeMap, BTreeSet};

use kiln_tests::{shared, workspace};

use crate::cases::{FILES, titles};

const LIST: &str = include_str!("checklist.txt");

/// How many have to be covered at least.
const LEAST: usize = 150;

/// The names in the corpus.
fn wanted() -> Option<BTreeSet<String>> {
    let tables = shared()?.join("corpus/tables");
    let names = ["moby/run_tests.json", "runtime-tools/validation.json"].into_iter().flat_map(|table| {
        let text = std::fs::read_to_string(tables.join(table)).expect("the table");
        let rows: Vec<BTreeMap<String, serde_json::Value>> = serde_json::from_str(&text).expect("rows");
        rows.into_iter().map(|row| row["name"].as_str().expect("a name").to_owned())
    });
    Some(names.collect())
}

/// Names in the list with the tests that cover them, and those that have a reason.
fn listed() -> (BTreeMap<&'static str, &'static str>, BTreeSet<&'static str>) {
    let (mut covered, mut excused) = (BTreeMap::new(), BTreeSet::new());
    for line in LIST.lines().skip_while(|line| !line.is_empty()).filter(|line| !line.is_empty()) {
        let (name, rest) = line.split_once(' ').expect("a name and more");
        match rest.trim_start().split_once(' ') {
            Some(("=", test)) => assert!(covered.insert(name, test).is_none(), "{name} twice"),
            Some(("-", reason)) if !reason.is_empty() => assert!(excused.insert(name), "{name} twice"),
            _ => panic!("`{line}`: neither a test nor a reason"),
        }
    }
    (covered, excused)
}

/// Whether there is such a test.
fn exists(test: &str) -> bool {
    let Some((file, function)) = test.split_once("::") else { return false };
    let text = std::fs::read_to_string(workspace().join("tests/tests").join(file)).unwrap_or_default();
    text.contains(&format!("#[test]\nfn {function}() {{"))
}

#[test]
fn every_behaviour_is_covered_or_has_a_reason() {
    let (covered, excused) = listed();
    for (name, test) in &covered {
        assert!(exists(test), "{name}: there is no test {test}");
    }
    let cases = FILES.iter().flat_map(|(_, text)| titles(text));
    let cases: BTreeSet<&str> = cases.map(|title| title.split(':').next().expect("a name")).collect();
    let all: BTreeSet<&str> = cases.iter().copied().chain(covered.keys().copied()).collect();
    let twice: Vec<_> = all.intersection(&excused).collect();
    assert!(twice.is_empty(), "covered, and has a reason not to be: {twice:?}");
    assert!(all.len() >= LEAST, "{} are covered", all.len());
    let Some(wanted) = wanted() else { return };
    let known: BTreeSet<&str> = all.iter().chain(&excused).copied().collect();
    let wanted: BTreeSet<&str> = wanted.iter().map(String::as_str).collect();
    let missing: Vec<_> = wanted.difference(&known).collect();
    assert!(missing.is_empty(), "neither a test nor a reason: {missing:?}");
    let unknown: Vec<_> = known.difference(&wanted).collect();
    assert!(unknown.is_empty(), "names that nobody has: {unknown:?}");
    println!("{} of {} behaviours are covered", all.len(), wanted.len());
}
