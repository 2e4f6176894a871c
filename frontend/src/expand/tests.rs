use serde_json::Value;

use super::glob::{translated, turned_for_tests};
use super::*;

fn table(name: &str) -> Option<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpus/");
    let Ok(text) = std::fs::read_to_string(format!("{path}{name}")) else {
        println!("skipped: ../shared is absent");
        return None;
    };
    Some(serde_json::from_str(&text).expect("the corpus is JSON"))
}

fn map(value: &Value) -> BTreeMap<String, String> {
    let entries = value.as_object().into_iter().flatten();
    entries.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect()
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect()
}

fn sorted(names: &[String]) -> Vec<&str> {
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    names
}

fn rules(row: &Value) -> Rules {
    Rules::words(row["escape"].as_str().unwrap().chars().next().unwrap())
}

/// Expands the row's input and compares the text, and the names if the row has them.
fn check_row(row: &Value, variables: &BTreeMap<String, String>) {
    let input = row["input"].as_str().unwrap();
    let result = rules(row).split(input, variables);
    assert_eq!(rules(row).expand(input, variables).ok(), result.clone().ok().map(|(text, _)| text), "{row}");
    match (&row["expected"], result) {
        (Value::Null, result) => assert!(result.is_err(), "{row}\ngot {result:?}"),
        (expected, Ok((result, words))) => {
            assert_eq!(&Value::from(result.text.clone()), expected, "{row}");
            for (field, names) in [("matched", &result.used), ("unmatched", &result.unset)] {
                if row[field].is_array() {
                    let mut expected = strings(&row[field]);
                    expected.sort_unstable();
                    assert_eq!(sorted(names), expected, "{row}");
                }
            }
            if row["words"].is_array() {
                assert_eq!(words, strings(&row["words"]), "{row}");
            }
        }
        (_, Err(error)) => panic!("{row}\n{error}"),
    }
}

#[test]
fn words_expand_as_in_the_references_tables() {
    for name in ["env_var", "process_with_matches", "mandatory_vars"] {
        let Some(rows) = table(&format!("tables/buildkit/shell/{name}.json")) else { return };
        for row in rows.as_array().unwrap() {
            // Names that ignore case are for Windows.
            if row["platform"] != "windows" {
                check_row(row, &map(&row["env"]));
            }
        }
    }
}

#[test]
fn words_split_as_in_the_references_table() {
    let Some(rows) = table("tables/buildkit/shell/words.json") else { return };
    for row in rows.as_array().unwrap() {
        let mut variables = BTreeMap::new();
        for entry in strings(&row["env_list"]) {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            variables.insert(name.to_owned(), value.to_owned());
        }
        match rules(row).split(row["input"].as_str().unwrap(), &variables) {
            Ok((_, words)) => assert_eq!(words, strings(&row["expected"]), "{row}"),
            Err(_) => assert_eq!(row["error"], true, "{row}"),
        }
    }
}

#[test]
fn generated_expansions_are_the_references() {
    let Some(file) = table("oracle/expand_generated.json") else { return };
    let variables = map(&file["env"]);
    let rows = file["cases"].as_array().unwrap();
    assert!(rows.len() > 1000);
    for row in rows {
        check_row(row, &variables);
        if let Some(message) = row["error"].as_str() {
            let error = rules(row).expand(row["input"].as_str().unwrap(), &variables).unwrap_err();
            assert_eq!(error.to_string(), message, "{row}");
        }
    }
}

#[test]
fn patterns_become_expressions_as_in_the_references_tables() {
    let Some(rows) = table("tables/buildkit/shell/glob_to_regex.json") else { return };
    for row in rows.as_array().unwrap() {
        let (greedy, anchored) = (row["greedy"].as_bool().unwrap(), row["anchored"].as_bool().unwrap());
        let result = translated(row["input"].as_str().unwrap(), greedy, anchored);
        assert_eq!(result.ok().as_deref(), row["expected"].as_str(), "{row}");
    }
    let Some(rows) = table("tables/buildkit/shell/reverse_pattern.json") else { return };
    for row in rows.as_array().unwrap() {
        assert_eq!(turned_for_tests(row["input"].as_str().unwrap()), row["expected"], "{row}");
    }
}

#[test]
fn shown_commands_keep_their_quotes_and_what_is_unset() {
    let variables = map(&serde_json::json!({ "A": "x y" }));
    let shown = |text: &str| Rules::display('\\').expand(text, &variables).unwrap().text;
    assert_eq!(shown("echo \"$A\" '$A' $B ${B:-c} ${B/x/y}"), "echo \"x y\" '$A' $B ${B:-c} ${B/x/y}");
}

#[test]
fn quotes_are_plain_in_heredocs() {
    let variables = map(&serde_json::json!({ "A": "x" }));
    let result = Rules::heredoc().expand("it's \"$A\" \\$A\n", &variables).unwrap();
    assert_eq!(result.text, "it's \"x\" $A\n");
}

#[test]
fn deep_nesting_and_runaway_growth_are_errors() {
    let deep = "${a:-".repeat(100_000);
    let problem = Rules::words('\\').expand(&deep, &NoVariables).unwrap_err().problem;
    assert_eq!(problem, ExpandProblem::TooDeep);
    let variables = map(&serde_json::json!({ "A": "x".repeat(1 << 20) }));
    let problem = Rules::words('\\').expand(&"$A".repeat(17), &variables).unwrap_err().problem;
    assert_eq!(problem, ExpandProblem::TooLong);
}
