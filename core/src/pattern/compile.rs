//! One ignore pattern, made into something that matches quickly and exactly as moby's: moby turns a pattern into a Go regular
//! expression, and its oddities (`\d` is a digit, `[*]` is no class of one star) are that expression's.

use std::sync::OnceLock;

use regex::Regex;

use super::tokens::Tokens;
use super::wildcard::{self, BadPattern};

/// How a pattern is compared with a path.
#[derive(Debug, Clone)]
pub(super) enum Matcher {
    /// The whole path.
    Exact(String),
    /// `dir/**`: the path's beginning.
    Prefix(String),
    /// `**/name`: the path's end, or the whole path without the slash.
    Suffix { end: String, whole: Option<String> },
    /// Anything else.
    Expression(Box<Expression>),
}

/// The first and the last byte of every path that a pattern matches, where they are known, and bytes that such a path must have:
/// with many patterns most of the time would go into finding out that nothing matches.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gate {
    first: Option<u8>,
    last: Option<u8>,
    needs: Letters,
}

/// A set of ASCII characters, a bit each.
type Letters = u128;

/// Those of `bytes` that name files; what means something in a pattern is not among them.
fn letters(bytes: impl Iterator<Item = u8>) -> Letters {
    let plain = bytes.filter(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    plain.fold(0, |set, byte| set | 1 << byte)
}

impl Gate {
    #[inline]
    pub(super) fn lets_in(self, path: &Path<'_>) -> bool {
        let fits = |known: Option<u8>, byte: u8| known.is_none_or(|known| known == byte);
        fits(self.first, path.first) && fits(self.last, path.last) && self.needs & !path.letters == 0
    }
}

/// A path under comparison with many patterns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Path<'p> {
    text: &'p str,
    /// Its first and last byte, 0 if it is empty.
    first: u8,
    last: u8,
    letters: Letters,
    /// A dot in an expression is no newline: paths that have one are left to the expressions.
    one_line: bool,
}

impl<'p> Path<'p> {
    pub(super) fn new(text: &'p str) -> Self {
        let bytes = text.as_bytes();
        Self {
            text,
            first: bytes.first().copied().unwrap_or(0),
            last: bytes.last().copied().unwrap_or(0),
            letters: letters(bytes.iter().copied()),
            one_line: !text.contains('\n'),
        }
    }
}

/// A pattern that needs more than a comparison. Nearly all can be walked through by hand, which takes a tenth of the time that
/// the expression does; the expression stands by for the others.
#[derive(Debug, Clone)]
pub(super) struct Expression {
    /// The end that every matching path has.
    tail: String,
    tokens: Option<Tokens>,
    /// In the `regex` crate's syntax.
    source: String,
    regex: OnceLock<Option<Regex>>,
}

impl Expression {
    fn matches(&self, path: &Path<'_>) -> bool {
        if !path.text.ends_with(self.tail.as_str()) {
            return false;
        }
        if let Some(tokens) = &self.tokens
            && path.one_line
            && let Some(verdict) = tokens.matches(path.text)
        {
            return verdict;
        }
        let regex = self.regex.get_or_init(|| Regex::new(&self.source).ok());
        regex.as_ref().is_some_and(|regex| regex.is_match(path.text))
    }
}

impl Matcher {
    pub(super) fn new(pattern: &str) -> Result<Self, BadPattern> {
        wildcard::check(pattern)?;
        let translated = translate(pattern);
        match translated.kind {
            Kind::Exact => Ok(Self::Exact(pattern.to_owned())),
            Kind::Prefix => Ok(Self::Prefix(pattern[..pattern.len() - 2].to_owned())),
            Kind::Suffix => {
                let end = pattern[2..].to_owned();
                let whole = end.strip_prefix('/').map(str::to_owned);
                Ok(Self::Suffix { end, whole })
            }
            Kind::Expression => {
                let source = go_syntax(&translated.expression)?;
                let tokens = Tokens::new(pattern);
                let regex = OnceLock::new();
                if tokens.is_none() {
                    let compiled = Regex::new(&source).map_err(|_| BadPattern)?;
                    regex.get_or_init(|| Some(compiled));
                }
                let tail = literal_tail(pattern);
                Ok(Self::Expression(Box::new(Expression { tail, tokens, source, regex })))
            }
        }
    }

    /// What every path that `pattern`, from which this was made, matches has to have.
    pub(super) fn gate(&self, pattern: &str) -> Gate {
        // From a class or an escape on, letters may stand for others.
        let needs = letters(pattern.bytes().take_while(|byte| !matches!(byte, b'[' | b'\\')));
        let first = |text: &str| text.bytes().next();
        let last = |text: &str| text.bytes().last();
        match self {
            Self::Exact(text) => Gate { first: first(text), last: last(text), needs },
            Self::Prefix(text) => Gate { first: first(text), last: None, needs },
            Self::Suffix { end, .. } => Gate { first: None, last: last(end), needs },
            Self::Expression(expression) => Gate {
                first: expression.tokens.as_ref().and_then(Tokens::first),
                last: last(&expression.tail),
                needs,
            },
        }
    }

    pub(super) fn matches(&self, path: &Path<'_>) -> bool {
        match self {
            Self::Exact(text) => path.text == text,
            Self::Prefix(text) => path.text.starts_with(text.as_str()),
            Self::Suffix { end, whole } => {
                path.text.ends_with(end.as_str()) || whole.as_deref() == Some(path.text)
            }
            Self::Expression(expression) => expression.matches(path),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Exact,
    Prefix,
    Suffix,
    Expression,
}

struct Translated {
    kind: Kind,
    /// In Go's syntax.
    expression: String,
}

/// The Go expression of a pattern, and whether it is needed (moby/patternmatcher, `Pattern.compile`).
fn translate(pattern: &str) -> Translated {
    let mut kind = Kind::Exact;
    let mut expression = String::from("^");
    let mut characters = pattern.chars().peekable();
    let mut first = true;
    while let Some(character) = characters.next() {
        match character {
            '*' if characters.peek() == Some(&'*') => {
                characters.next();
                // `**/` is `**`.
                characters.next_if_eq(&'/');
                if characters.peek().is_none() {
                    if kind == Kind::Exact {
                        kind = Kind::Prefix;
                    } else {
                        expression.push_str(".*");
                        kind = Kind::Expression;
                    }
                } else {
                    expression.push_str("(.*/)?");
                    kind = Kind::Expression;
                }
                if first {
                    kind = Kind::Suffix;
                }
            }
            '*' => {
                expression.push_str("[^/]*");
                kind = Kind::Expression;
            }
            '?' => {
                expression.push_str("[^/]");
                kind = Kind::Expression;
            }
            '.' | '+' | '(' | ')' | '|' | '{' | '}' | '$' => {
                expression.push('\\');
                expression.push(character);
            }
            '\\' => {
                expression.push('\\');
                if let Some(escaped) = characters.next() {
                    expression.push(escaped);
                    kind = Kind::Expression;
                }
            }
            '[' | ']' => {
                expression.push(character);
                kind = Kind::Expression;
            }
            other => expression.push(other),
        }
        first = false;
    }
    expression.push('$');
    Translated { kind, expression }
}

/// The literal text that every matching path ends with.
fn literal_tail(pattern: &str) -> String {
    let special = |c: char| matches!(c, '*' | '?' | '[' | ']' | '\\' | '^');
    let tail = pattern.rfind(special).map_or(pattern, |at| &pattern[at + 1..]);
    // After `**/` the slash is eaten, after an escape the next character belongs to it.
    let before = &pattern[..pattern.len() - tail.len()];
    let tail = if before.ends_with('\\') {
        ""
    } else if before.ends_with("**") {
        tail.strip_prefix('/').unwrap_or(tail)
    } else {
        tail
    };
    tail.to_owned()
}

/// A Go regular expression in the syntax of the `regex` crate: classes and escapes differ.
fn go_syntax(expression: &str) -> Result<String, BadPattern> {
    let mut out = String::with_capacity(expression.len() + 8);
    let mut rest = expression;
    while let Some(character) = rest.chars().next() {
        match character {
            '[' => {
                let (class, after) = go_class(&rest[1..])?;
                out.push_str(&class);
                rest = after;
            }
            '\\' => rest = go_escape(&rest[1..], &mut out)?,
            ']' => {
                out.push_str("\\]");
                rest = &rest[1..];
            }
            other => {
                out.push(other);
                rest = &rest[other.len_utf8()..];
            }
        }
    }
    Ok(out)
}

/// An escape outside of a class, its backslash behind.
fn go_escape<'t>(text: &'t str, out: &mut String) -> Result<&'t str, BadPattern> {
    let first = text.chars().next().ok_or(BadPattern)?;
    let after = &text[first.len_utf8()..];
    match first {
        'A' | 'z' => {
            out.push('\\');
            out.push(first);
            return Ok(after);
        }
        'b' | 'B' => {
            out.push_str(if first == 'b' { "(?-u:\\b)" } else { "(?-u:\\B)" });
            return Ok(after);
        }
        'Q' => {
            let (quoted, after) = after.split_once("\\E").unwrap_or((after, ""));
            out.push_str(&regex::escape(quoted));
            return Ok(after);
        }
        _ => {}
    }
    if let Some(set) = perl_set(first) {
        out.push('[');
        out.push_str(set);
        out.push(']');
        return Ok(after);
    }
    let (literal, after) = go_character(text)?;
    push_literal(literal, out);
    Ok(after)
}

/// `\d` and its kin, which in Go are of ASCII alone.
fn perl_set(letter: char) -> Option<&'static str> {
    match letter {
        'd' => Some("0-9"),
        'D' => Some("^0-9"),
        's' => Some("\\t\\n\\x0C\\r\\x20"),
        'S' => Some("^\\t\\n\\x0C\\r\\x20"),
        'w' => Some("0-9A-Za-z_"),
        'W' => Some("^0-9A-Za-z_"),
        _ => None,
    }
}

/// An escaped character, its backslash behind (Go, regexp/syntax `parser.escape`).
fn go_character(text: &str) -> Result<(char, &str), BadPattern> {
    let first = text.chars().next().ok_or(BadPattern)?;
    let after = &text[first.len_utf8()..];
    let digits = |count: usize| after.bytes().take(count).take_while(u8::is_ascii_digit).count();
    match first {
        'a' => Ok(('\x07', after)),
        'f' => Ok(('\x0C', after)),
        'n' => Ok(('\n', after)),
        'r' => Ok(('\r', after)),
        't' => Ok(('\t', after)),
        'v' => Ok(('\x0B', after)),
        'x' => {
            let (hex, after) = match after.strip_prefix('{') {
                Some(inner) => inner.split_once('}').ok_or(BadPattern)?,
                None if after.is_char_boundary(2) && after.len() >= 2 => after.split_at(2),
                None => return Err(BadPattern),
            };
            let all_hex = !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit());
            let code = u32::from_str_radix(hex, 16).ok().filter(|_| all_hex).ok_or(BadPattern)?;
            Ok((char::from_u32(code).ok_or(BadPattern)?, after))
        }
        // One digit alone would be a reference to a group.
        '1'..='7' if digits(1) == 0 || after.starts_with(['8', '9']) => Err(BadPattern),
        '0'..='7' => {
            let more = after.bytes().take(2).take_while(|b| (b'0'..=b'7').contains(b)).count();
            let octal = &text[..=more];
            let code = u32::from_str_radix(octal, 8).map_err(|_| BadPattern)?;
            Ok((char::from_u32(code).ok_or(BadPattern)?, &after[more..]))
        }
        other if other.is_ascii() && !other.is_ascii_alphanumeric() => Ok((other, after)),
        _ => Err(BadPattern),
    }
}

/// A class whose `[` is behind: the class in the crate's syntax, and what follows it (Go, regexp/syntax `parser.parseClass`).
fn go_class(text: &str) -> Result<(String, &str), BadPattern> {
    let mut out = String::from("[");
    let mut rest = text;
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    let mut first = true;
    while first || !rest.starts_with(']') {
        first = false;
        if let Some((name, after)) = rest.strip_prefix("[:").and_then(|r| r.split_once(":]")) {
            if !POSIX_CLASSES.contains(&name.strip_prefix('^').unwrap_or(name)) {
                return Err(BadPattern);
            }
            out.push_str("[:");
            out.push_str(name);
            out.push_str(":]");
            rest = after;
            continue;
        }
        if let Some(letter) = rest.strip_prefix('\\').and_then(|r| r.chars().next())
            && let Some(set) = perl_set(letter)
        {
            out.push('[');
            out.push_str(set);
            out.push(']');
            rest = &rest[2..];
            continue;
        }
        let (low, after) = go_class_character(rest)?;
        rest = after;
        push_literal(low, &mut out);
        if let Some(after) = rest.strip_prefix('-')
            && !after.is_empty()
            && !after.starts_with(']')
        {
            let (high, after) = go_class_character(after)?;
            if high < low {
                return Err(BadPattern);
            }
            out.push('-');
            push_literal(high, &mut out);
            rest = after;
        }
    }
    out.push(']');
    Ok((out, &rest[1..]))
}

const POSIX_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

fn go_class_character(text: &str) -> Result<(char, &str), BadPattern> {
    if let Some(escaped) = text.strip_prefix('\\') {
        return go_character(escaped);
    }
    let first = text.chars().next().ok_or(BadPattern)?;
    Ok((first, &text[first.len_utf8()..]))
}

fn push_literal(literal: char, out: &mut String) {
    if literal.is_ascii_alphanumeric() || !literal.is_ascii() {
        out.push(literal);
    } else {
        out.push_str(&format!("\\x{:02X}", u32::from(literal)));
    }
}

#[cfg(test)]
pub(super) fn described(pattern: &str) -> (&'static str, String) {
    let translated = translate(pattern);
    let kind = match translated.kind {
        Kind::Exact => "exact",
        Kind::Prefix => "prefix",
        Kind::Suffix => "suffix",
        Kind::Expression => "regexp",
    };
    (kind, translated.expression)
}
