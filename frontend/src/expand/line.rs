//! One expansion as a line of JSON, for people who wonder what a word comes to.

use serde_json::json;

use super::{Rules, Variables};

/// Expands `word`: `{"expected": …, "words": […], "error": null}`, or `{"error": text}`.
pub fn expansion_json(word: &str, escape: char, variables: &dyn Variables) -> String {
    match Rules::words(escape).split(word, variables) {
        Ok((expanded, words)) => {
            json!({ "expected": expanded.text, "words": words, "error": null }).to_string()
        }
        Err(error) => json!({ "error": error.to_string() }).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_word_is_one_line() {
        let variables = BTreeMap::from([("A".to_owned(), "x y".to_owned())]);
        assert_eq!(
            expansion_json("$A\"z\"", '\\', &variables),
            r#"{"expected":"x yz","words":["x","yz"],"error":null}"#
        );
        assert!(expansion_json("${", '\\', &variables).starts_with(r#"{"error":"failed to process"#));
    }
}
