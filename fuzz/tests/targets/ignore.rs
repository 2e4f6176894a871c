//! Ignore files and wildcards: up to the first NUL the file, then paths, one a line.

use std::collections::BTreeMap;

use kiln_core::pattern::{Ignore, Matched, wildcard};
use kiln_fuzz::{Campaign, Trace, corpus_files, corpus_texts};

use crate::text;

const WORDS: &[&str] = &[
    "*",
    "**",
    "**/",
    "/**",
    "?",
    "[",
    "]",
    "[^",
    "[a-z]",
    "[!a]",
    "-",
    "!",
    "!!",
    "#",
    "/",
    "//",
    "./",
    "../",
    "..",
    ".",
    "\\",
    "\\*",
    "\n",
    "\r\n",
    " ",
    "\0",
    "a",
    "b/c",
    "a/b/c",
    "*.go",
    "x.go",
    "(",
    "+",
    "$",
    "^",
    "|",
    "{",
    "\u{e9}",
    "\u{feff}",
    "\u{1f600}",
    ",",
];

/// Components of a path that is asked for, at most.
const DEEPEST: usize = 40;

/// What a walk from the root decides of a path, as the executor walks.
fn walked(ignore: &Ignore, path: &str) -> bool {
    let mut matched = Matched::default();
    for (end, _) in path.match_indices('/') {
        matched = ignore.enter(&matched, &path[..end]).1;
    }
    ignore.decide_in(&matched, path).excluded
}

fn decide(ignore: &Ignore, paths: &[&str], trace: &mut Trace) {
    let mut skipped: BTreeMap<&str, bool> = BTreeMap::new();
    for path in paths {
        let decision = ignore.decide(path);
        trace.reached((decision.excluded, decision.by.map(|rule| rule.text.len().min(12))));
        assert_eq!(decision.excluded, walked(ignore, path), "{path:?} on foot");
        for (end, _) in path.match_indices('/') {
            let above = &path[..end];
            let skip = *skipped
                .entry(above)
                .or_insert_with(|| ignore.decide(above).excluded && ignore.can_skip(above));
            assert!(!skip || decision.excluded, "{path:?} is wanted, though {above:?} may be skipped");
        }
    }
}

fn read(input: &str, trace: &mut Trace) {
    let (file, rest) = input.split_once('\0').unwrap_or((input, "a\nb/c\na/b/c/d\nx.go\nd/e.go\n.hidden/f"));
    // Each directory above a path is asked for too: a path of a thousand of them is a thousand questions about long paths.
    let clean = |path: &&str| {
        let deep = path.split('/').nth(DEEPEST).is_some();
        !path.is_empty() && !deep && kiln_core::path::clean(path) == **path && !path.starts_with(['/', '.'])
    };
    let paths: Vec<&str> = rest.split('\n').filter(clean).take(50).collect();
    let lines: Vec<&str> = file.split('\n').take(200).collect();
    match Ignore::parse(&lines.join("\n")) {
        Ok(ignore) => {
            trace.counted("rules", ignore.rules().len());
            decide(&ignore, &paths, trace);
        }
        Err(error) => {
            trace.said(&error.to_string());
            assert!((1..=lines.len()).contains(&error.line()));
        }
    }
    match Ignore::from_patterns(&lines) {
        Ok(ignore) => decide(&ignore, &paths, trace),
        Err(error) => trace.said(&error.to_string()),
    }
    for pattern in lines.iter().take(20) {
        let sound = wildcard::check(pattern).is_ok();
        for path in paths.iter().take(20) {
            // Like Go's, a match may end before it has seen what is wrong; but what is sound never fails.
            let matched = wildcard::matches(pattern, path);
            trace.reached((sound, matched.is_ok(), matched.unwrap_or(false)));
            assert!(
                !sound || wildcard::matches(pattern, path).is_ok(),
                "{pattern:?} is sound, but not for {path:?}"
            );
        }
    }
}

#[test]
fn ignore_files() {
    let mut seeds = corpus_texts("corpus/tables/patternmatcher");
    seeds.extend(corpus_texts("corpus/oracle"));
    seeds.retain(|seed| seed.len() < 2000);
    seeds.truncate(2000);
    seeds.extend(corpus_files("corpus", &|name| {
        name.ends_with("dockerignore") || name.ends_with("containerignore")
    }));
    seeds.push(b"*\n!a\n!b/**/c\n**/x*\n[a-c]/?\n\0a/b\nb/d/c\nc/x\na".to_vec());
    Campaign::new("ignore", seeds, WORDS).run(|input, trace| read(&text(input), trace));
}
