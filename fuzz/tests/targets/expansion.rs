//! Expansion of words: a line of variables, then the word.

use std::collections::BTreeMap;

use kiln_frontend::expand::{ExpandError, Expanded, MAX_BYTES, Rules, expansion_json};
use kiln_fuzz::{Campaign, Trace, corpus_texts};

use crate::text;

const WORDS: &[&str] = &[
    "$",
    "${",
    "}",
    "$a",
    "${a}",
    "${a:-",
    "${a-",
    "${a:+",
    "${a+",
    "${a:?",
    "${a?",
    "${a#",
    "${a##",
    "${a%",
    "${a%%",
    "${a/",
    "${a//",
    "/",
    "*",
    "?",
    "[",
    "]",
    "[a-z]",
    "\\",
    "`",
    "'",
    "\"",
    "\\}",
    "\\/",
    "\\$",
    "${b}",
    "$0",
    "$1",
    "$@",
    "$_",
    "${^",
    " ",
    "\t",
    "\n",
    "\u{e9}",
    "\u{1f600}",
    "\u{301}",
    "\u{a0}",
    "a",
    "b",
    "ab",
    "^^",
    ",,",
    ":",
    "::",
    "\0",
];

fn variables() -> BTreeMap<String, String> {
    let pairs = [
        ("a", "x y/é*?"),
        ("b", ""),
        ("c", "$a${a}'\""),
        ("HOME", "/root"),
        ("é", "z"),
        ("_", "[a-"),
        ("1", "one"),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

fn note(result: Result<&Expanded, &ExpandError>, trace: &mut Trace) {
    match result {
        Ok(expanded) => {
            assert!(expanded.text.len() <= MAX_BYTES, "longer than allowed");
            trace.counted("text", expanded.text.len());
            trace.reached((expanded.used.len().min(4), expanded.unset.len().min(4)));
        }
        Err(error) => {
            trace.reached(std::mem::discriminant(&error.problem));
            trace.said(&error.problem.to_string());
        }
    }
}

fn expand(word: &str, trace: &mut Trace) {
    let variables = variables();
    for escape in ['\\', '`'] {
        for rules in [Rules::words(escape), Rules::display(escape), Rules::heredoc()] {
            let whole = rules.expand(word, &variables);
            note(whole.as_ref(), trace);
            let split = rules.split(word, &variables);
            // Splitting changes nothing of the text as one word.
            assert_eq!(whole.as_ref().ok(), split.as_ref().ok().map(|(expanded, _)| expanded));
            if let Ok((_, words)) = &split {
                trace.counted("words", words.len());
            }
        }
        expansion_json(word, escape, &variables);
    }
}

#[test]
fn expansions() {
    let mut seeds = corpus_texts("corpus/tables/buildkit/shell");
    seeds.extend(corpus_texts("corpus/oracle/expand_generated.json"));
    seeds.extend(corpus_texts("corpus/tables/buildkit/parser"));
    Campaign::new("expansion", seeds, WORDS).run(|input, trace| expand(&text(input), trace));
}
