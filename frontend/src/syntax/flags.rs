//! `--name=value` words between the keyword and the arguments of an instruction.

use kiln_core::{Diagnostic, Spanned};

use super::lines::Slice;
use super::suggest;
use crate::ast::{Flag, Word};

/// The flags at the beginning of `text`, and what follows them. A lone `--` ends them.
pub(super) fn split(text: Slice<'_>) -> (Vec<Flag>, Slice<'_>) {
    let mut flags = Vec::new();
    let mut at = 0;
    loop {
        let rest = &text.text()[at..];
        at += rest.len() - rest.trim_start().len();
        if !text.text()[at..].starts_with("--") {
            return (flags, text.from(at));
        }
        let (word, equals, end) = unquoted(&text.text()[at..]);
        let place = text.part(at..at + end);
        at += end;
        if word == "--" {
            return (flags, text.from(at));
        }
        let (name, value) = match word.split_once('=') {
            // `--` and `=` were written as they are, unless someone quotes the name itself.
            Some((name, value)) => (name, equals.map(|equals| (value, equals))),
            None => (word.as_str(), None),
        };
        let name_end = value.map_or(end, |(_, equals)| equals).max(2);
        flags.push(Flag {
            name: Spanned::new(
                name.strip_prefix("--").unwrap_or(name).to_owned(),
                place.part(2..name_end).span(),
            ),
            value: value.map(|(value, equals)| Spanned::new(value.to_owned(), place.from(equals + 1).span())),
            span: place.span(),
        });
    }
}

/// The word at the beginning of `text` without quotes and backslashes, where its first `=` is, and where it ends.
fn unquoted(text: &str) -> (String, Option<usize>, usize) {
    let mut word = String::new();
    let mut equals = None;
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, mut c)) = chars.next() {
        match quote {
            None if c.is_whitespace() => return (word, equals, at),
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                continue;
            }
            Some(open) if c == open => {
                quote = None;
                continue;
            }
            _ => {}
        }
        if c == '\\' {
            // A backslash at the end is dropped.
            let Some((_, next)) = chars.next() else { break };
            c = next;
        }
        if c == '=' && equals.is_none() {
            equals = Some(at);
        }
        word.push(c);
    }
    (word, equals, text.len())
}

/// How a flag is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `--name`, `--name=true`, `--name=false`.
    Bool,
    /// `--name=value`, once.
    Text,
    /// `--name=value`, as often as one likes.
    List,
}

/// The flags of one instruction, checked against those it knows.
#[derive(Debug)]
pub(super) struct Flags<'a> {
    taken: Vec<&'a Flag>,
}

impl<'a> Flags<'a> {
    /// Checks `flags`; each that is wrong goes to `problems`.
    pub(super) fn check(flags: &'a [Flag], known: &[(&str, Kind)], problems: &mut Vec<Diagnostic>) -> Self {
        let mut taken: Vec<&Flag> = Vec::new();
        for flag in flags {
            match fault(flag, known, &taken) {
                Some(problem) => problems.push(problem),
                None => taken.push(flag),
            }
        }
        Self { taken }
    }

    /// The value of a flag that is given at most once.
    pub(super) fn text(&self, name: &str) -> Option<Word> {
        self.list(name).next()
    }

    /// The values of a flag.
    pub(super) fn list(&self, name: &str) -> impl Iterator<Item = Word> {
        self.taken.iter().filter(move |flag| flag.name.value == name).filter_map(|flag| flag.value.clone())
    }

    /// Whether a switch is on; `None` if it was not given.
    pub(super) fn switch(&self, name: &str) -> Option<bool> {
        let flag = self.taken.iter().find(|flag| flag.name.value == name)?;
        Some(flag.value.as_ref().is_none_or(|value| !value.value.eq_ignore_ascii_case("false")))
    }
}

fn fault(flag: &Flag, known: &[(&str, Kind)], taken: &[&Flag]) -> Option<Diagnostic> {
    let name = flag.name.value.as_str();
    let Some((_, kind)) = known.iter().find(|(known, _)| *known == name) else {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        let problem = Diagnostic::error(format!("unknown flag: --{name}"), flag.span);
        let help = suggest::help(name, &names).or_else(|| match names.as_slice() {
            [] => Some("this instruction has no flags".into()),
            names => Some(format!("its flags are --{}", names.join(", --"))),
        });
        return Some(Diagnostic { help, ..problem });
    };
    if *kind != Kind::List && taken.iter().any(|flag| flag.name.value == name) {
        return Some(Diagnostic::error(format!("duplicate flag specified: --{name}"), flag.span));
    }
    let missing = || {
        Some(
            Diagnostic::error(format!("missing a value on flag: --{name}"), flag.span)
                .with_help(format!("write --{name}=value")),
        )
    };
    match (kind, &flag.value) {
        (Kind::Bool, None) => None,
        (Kind::Bool, Some(value)) if value.value.is_empty() => missing(),
        (Kind::Bool, Some(value)) => {
            let word = value.value.to_lowercase();
            (word != "true" && word != "false").then(|| {
                let message = format!("expecting boolean value for flag --{name}, not: {}", value.value);
                Diagnostic::error(message, value.span)
            })
        }
        (Kind::Text | Kind::List, None) => missing(),
        (Kind::Text | Kind::List, Some(_)) => None,
    }
}
