//! One logical line as keyword, flags and arguments, before anyone asks what they mean.

use kiln_core::{Diagnostic, Spanned};

use super::lines::Slice;
use super::{flags, go, json, words};
use crate::ast::{Arguments, Command, Instruction, Word};

/// ONBUILD within ONBUILD is an error; how many of them the tree still shows.
const MAX_TRIGGERS: usize = 8;

/// Splits `text`. What cannot be split goes to `problems`, and its instruction has no arguments.
pub(super) fn read(text: Slice<'_>, escape: char, problems: &mut Vec<Diagnostic>) -> Instruction {
    nested(text, escape, 0, problems)
}

fn nested(text: Slice<'_>, escape: char, depth: usize, problems: &mut Vec<Diagnostic>) -> Instruction {
    let trimmed = text.trim();
    let (keyword, rest) = words::first(trimmed);
    let (flags, rest) = flags::split(rest.unwrap_or_else(|| trimmed.from(trimmed.text().len())));
    let rest = rest.trim();
    let arguments = match arguments(&keyword.text().to_ascii_lowercase(), rest, escape, depth, problems) {
        Ok(arguments) => arguments,
        Err(problem) => {
            problems.push(problem);
            Arguments::default()
        }
    };
    Instruction {
        span: trimmed.span(),
        lines: text.line.lines,
        keyword: keyword.word(),
        original: text.word(),
        comments: Vec::new(),
        blanks: Vec::new(),
        flags,
        arguments,
        heredocs: Vec::new(),
        command: Command::Invalid,
    }
}

fn arguments(
    keyword: &str,
    rest: Slice<'_>,
    escape: char,
    depth: usize,
    problems: &mut Vec<Diagnostic>,
) -> Result<Arguments, Diagnostic> {
    let list = |words: Vec<Slice<'_>>| Arguments {
        words: words.into_iter().map(Slice::word).collect(),
        ..Arguments::default()
    };
    if rest.text().is_empty() && known(keyword) {
        return Ok(Arguments::default());
    }
    match keyword {
        "add" | "copy" | "volume" => match strings(rest)? {
            Some(arguments) => Ok(arguments),
            None => Ok(list(words::plain(rest))),
        },
        "cmd" | "entrypoint" | "run" | "shell" => match strings(rest)? {
            Some(arguments) => Ok(arguments),
            None => Ok(list(vec![rest])),
        },
        "healthcheck" => healthcheck(rest),
        "env" | "label" => pairs(keyword, rest, escape),
        "arg" => Ok(list(words::quoted(rest, escape))),
        "expose" | "from" => Ok(list(words::plain(rest))),
        "maintainer" | "stopsignal" | "user" | "workdir" => Ok(list(vec![rest])),
        "onbuild" if depth < MAX_TRIGGERS => {
            let trigger = nested(rest, escape, depth + 1, problems);
            Ok(Arguments { trigger: Some(Box::new(trigger)), ..Arguments::default() })
        }
        "onbuild" => Ok(list(vec![rest])),
        // Its arguments mean nothing; the empty one is what BuildKit's tree shows.
        _ => Ok(Arguments { words: vec![Spanned::new(String::new(), rest.span())], ..Arguments::default() }),
    }
}

fn known(keyword: &str) -> bool {
    super::KEYWORDS.iter().any(|known| known.eq_ignore_ascii_case(keyword))
}

/// The elements of a JSON array of strings; `None` if `rest` is no JSON array.
fn strings(rest: Slice<'_>) -> Result<Option<Arguments>, Diagnostic> {
    match json::array(rest.text()) {
        json::Array::NoJson => Ok(None),
        json::Array::OtherJson => Err(Diagnostic::error(
            "when using JSON array syntax, arrays must be comprised of strings only",
            rest.span(),
        )
        .with_help("put each element in double quotes")),
        json::Array::Strings(strings) => {
            let word = |(text, range): (String, _)| Spanned::new(text, rest.part(range).span());
            Ok(Some(Arguments { words: strings.into_iter().map(word).collect(), json: true, trigger: None }))
        }
    }
}

/// The type, and behind it a command.
fn healthcheck(rest: Slice<'_>) -> Result<Arguments, Diagnostic> {
    let text = rest.text();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    let kind = rest.part(0..end).word();
    let command = rest.from(end).trim();
    let mut arguments = match strings(command)? {
        Some(arguments) => arguments,
        None if command.text().is_empty() => Arguments::default(),
        None => Arguments { words: vec![command.word()], ..Arguments::default() },
    };
    arguments.words.insert(0, kind);
    Ok(arguments)
}

/// `name=value …`, or `name value` in the old form.
fn pairs(keyword: &str, rest: Slice<'_>, escape: char) -> Result<Arguments, Diagnostic> {
    let keyword = keyword.to_ascii_uppercase();
    let found = words::quoted(rest, escape);
    let Some(first) = found.first() else { return Ok(Arguments::default()) };
    let mut list: Vec<Word> = Vec::with_capacity(found.len() * 3);
    if !first.text().contains('=') {
        let (name, value) = words::first(rest);
        let Some(value) = value else {
            let problem = Diagnostic::error(format!("{keyword} must have two arguments"), rest.span());
            return Err(problem.with_help(format!("write {keyword} {}=value", name.text())));
        };
        list.extend([name.word(), value.word(), Spanned::new(String::new(), value.part(0..0).span())]);
    } else {
        for word in found {
            let Some(equals) = word.text().find('=') else {
                let message = format!(
                    "Syntax error - can't find = in {}. Must be of the form: name=value",
                    go::quote(word.text())
                );
                return Err(Diagnostic::error(message, word.span())
                    .with_help("put a value that has blanks in double quotes"));
            };
            list.extend([
                word.part(0..equals).word(),
                word.from(equals + 1).word(),
                word.part(equals..equals + 1).word(),
            ]);
        }
    }
    Ok(Arguments { words: list, ..Arguments::default() })
}
