//! Parser directives: `# syntax=`, `# escape=` and `# check=` at the top of a file.

use kiln_core::{Diagnostic, Span, Spanned};
use nom::Parser as _;
use nom::bytes::complete::take_while;
use nom::character::complete::{char, multispace0, satisfy};
use nom::combinator::{recognize, rest};
use nom::sequence::{delimited, pair, preceded, separated_pair};

use crate::ast::{Directives, Word};

const NAMES: [&str; 3] = ["syntax", "escape", "check"];

/// One directive.
#[derive(Debug, Clone)]
struct Directive {
    /// In lower case.
    name: String,
    value: Word,
}

/// The directives of `text`, how many lines they take, and what is wrong with them.
pub(super) fn read(text: &str) -> (Directives, usize, Vec<Diagnostic>) {
    let mut problems = Vec::new();
    let (at_top, duplicate) = scan(text, bom(text), "#", str::trim_start);
    if let Some(second) = duplicate {
        let message = format!("only one {} parser directive can be used", second.name);
        problems.push(Diagnostic::error(message, second.value.span));
    }
    let mut escape = '\\';
    if let Some(found) = at_top.iter().find(|d| d.name == "escape") {
        match found.value.value.as_str() {
            "`" => escape = '`',
            "\\" => {}
            other => problems.push(Diagnostic::error(
                format!("invalid escape token '{other}' does not match ` or \\"),
                found.value.span,
            )),
        }
    }
    let directives =
        Directives { syntax: syntax(text), escape, check: detect(text, "check", "#").map(|d| d.value) };
    (directives, at_top.len(), problems)
}

/// The value of the syntax directive, in any of its forms: after `#`, after `//`, or in a JSON object. A first line that
/// begins with `#!` is passed over.
fn syntax(text: &str) -> Option<Word> {
    let found = detect(text, "syntax", "#").or_else(|| detect(text, "syntax", "//"));
    if let Some(directive) = found {
        return Some(directive.value);
    }
    let start = after_shebang(text);
    if !text[start..].trim_start().starts_with('{') {
        return None;
    }
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text[start..]).ok()?;
    let value = object.get("syntax")?.as_str()?;
    Some(Spanned::new(value.to_owned(), Span::new(start, text.trim_end().len())))
}

/// The directive `name` after the shebang line, if there is one.
fn detect(text: &str, name: &str, comment: &str) -> Option<Directive> {
    scan(text, after_shebang(text), comment, |line| line).0.into_iter().find(|d| d.name == name)
}

fn bom(text: &str) -> usize {
    if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 }
}

fn after_shebang(text: &str) -> usize {
    let start = bom(text);
    if !text[start..].starts_with("#!") {
        return start;
    }
    text[start..].find('\n').map_or(text.len(), |at| start + at + 1)
}

/// The directives from `start` on, up to the first line that is none; and the first that stands there a second time.
fn scan(
    text: &str,
    start: usize,
    comment: &str,
    strip: fn(&str) -> &str,
) -> (Vec<Directive>, Option<Directive>) {
    let mut found: Vec<Directive> = Vec::new();
    let mut at = start;
    for line in text[start..].split_inclusive('\n') {
        let body = strip(line.trim_end_matches(['\n', '\r']));
        let offset = at + (line.trim_end_matches(['\n', '\r']).len() - body.len());
        at += line.len();
        let Some(body) = body.strip_prefix(comment) else { break };
        let Some((name, value)) = directive(body) else { break };
        let start = offset + comment.len() + (body.len() - value.len());
        let value = value.trim_end();
        let value = Spanned::new(value.to_owned(), Span::new(start, start + value.len()));
        let directive = Directive { name, value };
        if found.iter().any(|d| d.name == directive.name) {
            return (found, Some(directive));
        }
        found.push(directive);
    }
    (found, None)
}

/// `name = value`, if it is the text of a directive: the name in lower case, and the text from the value on.
fn directive(body: &str) -> Option<(String, &str)> {
    let name = recognize(pair(
        satisfy(|c| c.is_ascii_alphabetic()),
        take_while(|c: char| c.is_ascii_alphanumeric()),
    ));
    let equals = delimited(multispace0::<&str, nom::error::Error<&str>>, char('='), multispace0);
    let mut parser = preceded(take_while(char::is_whitespace), separated_pair(name, equals, rest));
    let (_, (name, value)) = parser.parse(body).ok()?;
    let name = name.to_ascii_lowercase();
    (NAMES.contains(&name.as_str()) && !value.trim().is_empty()).then_some((name, value))
}

/// The words of a directive that stands in a comment above an instruction: `check=skip=…`.
pub(crate) fn in_comment(comment: &str) -> Option<(String, &str)> {
    directive(comment)
}

/// What is wrong with the frontend that `syntax` names, if kiln is not it. `docker/dockerfile` and
/// `docker/dockerfile-upstream` of any registry, version and channel are built in.
pub(super) fn unknown_frontend(syntax: &Word) -> Option<Diagnostic> {
    let image = syntax.value.split(' ').next().unwrap_or_default();
    let name = image.split('@').next().unwrap_or_default();
    let name = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    };
    let built_in = ["docker/dockerfile", "docker/dockerfile-upstream"];
    if built_in.iter().any(|known| name == *known || name.ends_with(&format!("/{known}"))) {
        return None;
    }
    let message = format!("frontend `{image}` is not supported: kiln runs no frontend images");
    Some(
        Diagnostic::error(message, syntax.span)
            .with_help("remove the syntax line, or name docker/dockerfile, whose language is built in"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn syntax_of(text: &str) -> Option<String> {
        read(text).0.syntax.map(|word| word.value)
    }

    #[test]
    fn syntax_has_four_forms() {
        for text in [
            "# syntax = a/b:1\nFROM x",
            "\u{feff}#syntax=a/b:1\r\n",
            "#!/usr/bin/env x\n# Syntax=a/b:1",
            "//syntax=a/b:1\nx",
            "{\"syntax\": \"a/b:1\", \"x\": [1]}",
        ] {
            assert_eq!(syntax_of(text).as_deref(), Some("a/b:1"), "{text}");
        }
        assert_eq!(syntax_of("FROM x\n# syntax=a"), None);
        assert_eq!(syntax_of("# key=v\n# syntax=a"), None);
    }

    #[test]
    fn directives_stand_once() {
        let (_, _, problems) = read("# escape=`\n# escape=\\\nFROM x");
        assert_eq!(problems[0].message, "only one escape parser directive can be used");
        assert_eq!(problems[0].span, Span::new(20, 21));
        let (directives, lines, _) = read("  # escape = ` \n# check=skip=all // x\nFROM x");
        assert_eq!((directives.escape, lines), ('`', 2));
        assert_eq!(read("# escape=x\n").2[0].message, "invalid escape token 'x' does not match ` or \\");
    }

    #[test]
    fn the_dockerfile_frontends_are_built_in() {
        let known = |text: &str| unknown_frontend(&Spanned::new(text.to_owned(), Span::default())).is_none();
        for text in
            ["docker/dockerfile", "docker/dockerfile:1", "mirror.gcr.io/docker/dockerfile:1.7-labs // x"]
        {
            assert!(known(text), "{text}");
        }
        for text in ["docker/dockerfile-other", "foobar", "localhost:5000/x/y@sha256:00"] {
            assert!(!known(text), "{text}");
        }
    }
}
