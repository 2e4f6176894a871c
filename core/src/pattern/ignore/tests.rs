use std::path::PathBuf;

use serde_json::Value;

use super::*;
use crate::pattern::compile::described;

/// The rows of a table of the corpus, or `None` if it is not on this machine.
fn table(name: &str) -> Option<Value> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpus")).join(name);
    let Ok(text) = std::fs::read_to_string(path) else {
        println!("skipped: ../shared is absent");
        return None;
    };
    Some(serde_json::from_str(&text).expect("the corpus is JSON"))
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|s| s.as_str().unwrap().to_owned()).collect()
}

#[test]
fn patterns_match_as_in_mobys_tables() {
    for name in ["match", "matches_or_parent"] {
        let Some(rows) = table(&format!("tables/patternmatcher/{name}.json")) else { return };
        for row in rows.as_array().unwrap() {
            let patterns = strings(&row["patterns"]);
            let path = row["path"].as_str().unwrap();
            match Ignore::from_patterns(&patterns) {
                Ok(ignore) => {
                    assert_eq!(row["error"], false, "{row}");
                    assert_eq!(ignore.decide(path).excluded, row["expected"].as_bool().unwrap(), "{row}");
                }
                Err(_) => assert_eq!(row["error"], true, "{row}"),
            }
        }
    }
}

#[test]
fn pattern_lists_are_cleaned_as_in_mobys_table() {
    let Some(rows) = table("tables/patternmatcher/clean.json") else { return };
    for row in rows.as_array().unwrap() {
        let ignore = Ignore::from_patterns(&strings(&row["patterns"]));
        assert_eq!(ignore.is_err(), row["error"].as_bool().unwrap(), "{row}");
        let Ok(ignore) = ignore else { continue };
        if let Some(count) = row["count"].as_u64() {
            assert_eq!(ignore.rules().len() as u64, count, "{row}");
        }
        assert_eq!(ignore.exceptions, row["exclusions"].as_bool().unwrap(), "{row}");
    }
}

#[test]
fn patterns_compile_as_in_mobys_table() {
    let Some(rows) = table("tables/patternmatcher/compile.json") else { return };
    for row in rows.as_array().unwrap() {
        let (kind, expression) = described(row["pattern"].as_str().unwrap());
        assert_eq!(kind, row["match_type"], "{row}");
        if let Some(expected) = row["regexp"].as_str() {
            assert_eq!(expression, expected, "{row}");
        }
    }
}

#[test]
fn files_are_read_as_the_reference_reads_them() {
    for name in ["tables/patternmatcher/ignorefile.json", "oracle/ignorefile_texts.json"] {
        let Some(rows) = table(name) else { return };
        for row in rows.as_array().unwrap() {
            let text = row["input"].as_str().unwrap();
            let text = text.strip_prefix('\u{feff}').unwrap_or(text);
            let read: Vec<String> = text.split('\n').filter_map(normalized).collect();
            assert_eq!(read, strings(&row["expected"]), "{row}");
        }
    }
}

#[test]
fn the_matrix_of_patterns_and_paths_is_the_references() {
    let Some(matrix) = table("oracle/ignore_matrix.json") else { return };
    let paths = strings(&matrix["paths"]);
    for case in matrix["cases"].as_array().unwrap() {
        let Ok(ignore) = Ignore::from_patterns(&strings(&case["patterns"])) else {
            // The reference finds the error when it compares, we when we compile.
            assert_ne!(case["errors"], serde_json::json!({}), "{}", case["patterns"]);
            continue;
        };
        assert_eq!(case["errors"], serde_json::json!({}), "{}", case["patterns"]);
        let excluded: Vec<&String> = paths.iter().filter(|p| ignore.decide(p).excluded).collect();
        assert_eq!(excluded, strings(&case["matched"]).iter().collect::<Vec<_>>(), "{}", case["patterns"]);
    }
}

#[test]
fn the_deciding_line_is_named() {
    let ignore = Ignore::parse("# all docs\n docs \n\n!/docs/README.md\n").unwrap();
    let deciding = |path: &str| ignore.decide(path).by.map(|rule| (rule.line, rule.text.as_str()));
    assert_eq!(deciding("docs/a"), Some((2, "docs")));
    assert_eq!(deciding("docs/README.md"), Some((4, "!/docs/README.md")));
    assert_eq!(deciding("src"), None);
    assert!(!ignore.decide("docs/README.md").excluded);
}

#[test]
fn a_directory_is_skipped_only_if_nothing_in_it_can_come_back() {
    let skip = |text: &str, path: &str| Ignore::parse(text).unwrap().can_skip(path);
    assert!(skip("a", "a"));
    assert!(skip("a\n!b/c", "a"));
    assert!(!skip("a\n!a/b/c", "a"));
    assert!(!skip("a\n!a/b/c", "a/b"));
    assert!(skip("a\n!a/b/c", "a/x"));
    assert!(!skip("a\n!a/b/**", "a"));
    assert!(!skip("a\n!**/x", "a"));
}

#[test]
fn escapes_of_letters_are_those_of_gos_expressions() {
    for (pattern, path, expected) in [
        ("\\d", "7", Some(true)),
        ("\\d", "d", Some(false)),
        ("\\x", "x", None),
        ("\\y", "y", None),
        ("\\é", "é", None),
        ("\\.git", ".git", Some(true)),
        ("[[:alpha:]]1", "a1", Some(true)),
        ("[[:nope:]]1", "a1", None),
        ("[a&&b]", "&", Some(true)),
        ("*[^x]", "!", Some(true)),
        ("a]", "a]", Some(true)),
    ] {
        let got = Ignore::from_patterns(&[pattern]).ok().map(|ignore| ignore.decide(path).excluded);
        assert_eq!(got, expected, "{pattern}");
    }
}

#[test]
fn errors_name_the_line() {
    assert_eq!(Ignore::parse("a\n!\n").unwrap_err(), IgnoreError::EmptyException { line: 2 });
    let error = Ignore::parse("a\n\n[b\n").unwrap_err();
    assert_eq!(error.to_string(), "line 3: syntax error in pattern `[b`");
    let long = "x".repeat(70_000);
    assert_eq!(Ignore::parse(&long).unwrap_err(), IgnoreError::LineTooLong { line: 1 });
}

#[test]
fn no_gate_turns_away_what_its_rule_matches() {
    let pieces = [
        "", "a", "b", "*", "**", "/", ".c", "?", "[^x]", "[ab]", "\\a", "^", "-", "_1", "é", "+", "\\d", "$",
    ];
    let paths = [
        "a", "b", "ab", "a/b", "a/b.c", ".c", "b/a/.c", "a-b_1", "é", "a+", "1", "^a", "a/b/a/b", "$", "x/a",
        "é/.c",
    ];
    for pattern in pieces
        .iter()
        .flat_map(|a| pieces.iter().map(move |b| (a, b)))
        .flat_map(|(a, b)| pieces.map(|c| format!("{a}{b}{c}")))
    {
        let Ok(ignore) = Ignore::from_patterns(&[&pattern]) else { continue };
        for (rule, (_, gate)) in ignore.rules.iter().zip(&ignore.gates) {
            for path in paths.map(Path::new) {
                assert!(!rule.matcher.matches(&path) || gate.lets_in(&path), "{pattern} {path:?}");
            }
        }
    }
}
