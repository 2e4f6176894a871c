//! An ignore pattern as a list of steps, walked along a path.

/// How many places are tried before the walk gives up: patterns with many stars would otherwise take exponential time.
const PATIENCE: u32 = 10_000;

/// A pattern without escapes, expression syntax or strange classes.
#[derive(Debug, Clone)]
pub(super) struct Tokens(Vec<Token>);

#[derive(Debug, Clone)]
enum Token {
    Literal(String),
    /// `?`: a character other than the slash.
    Any,
    /// `[a-c]`, `[^a-c]`.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    /// `*`: characters other than the slash.
    Star,
    /// `**/`, or `**` before something else: nothing, or all up to some slash.
    Deep,
    /// `**` at the end: the rest.
    Rest,
}

impl Tokens {
    /// The steps of `pattern`; `None` if it is beyond them.
    pub(super) fn new(pattern: &str) -> Option<Self> {
        let mut tokens = Vec::new();
        let mut rest = pattern;
        while let Some(first) = rest.chars().next() {
            let token = if let Some(after) = rest.strip_prefix("**") {
                rest = after.strip_prefix('/').unwrap_or(after);
                if rest.is_empty() { Token::Rest } else { Token::Deep }
            } else {
                match first {
                    '*' => {
                        rest = &rest[1..];
                        Token::Star
                    }
                    '?' => {
                        rest = &rest[1..];
                        Token::Any
                    }
                    '[' => {
                        let (class, after) = class(&rest[1..])?;
                        rest = after;
                        class
                    }
                    '\\' | ']' | '^' => return None,
                    _ => {
                        let end = rest.find(['*', '?', '[', ']', '\\', '^']).unwrap_or(rest.len());
                        let (literal, after) = rest.split_at(end);
                        rest = after;
                        Token::Literal(literal.to_owned())
                    }
                }
            };
            tokens.push(token);
        }
        Some(Self(tokens))
    }

    /// The byte that every matching path begins with, if there is one.
    pub(super) fn first(&self) -> Option<u8> {
        match self.0.first() {
            Some(Token::Literal(text)) => text.bytes().next(),
            _ => None,
        }
    }

    /// Whether the whole of `path` matches; `None` if that would take too long to find out.
    pub(super) fn matches(&self, path: &str) -> Option<bool> {
        let mut patience = PATIENCE;
        walk(&self.0, path, &mut patience)
    }
}

fn class(text: &str) -> Option<(Token, &str)> {
    let (negated, text) = match text.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (members, after) = text.split_once(']')?;
    if members.is_empty() || members.contains(['[', '\\', '*', '?', ':']) {
        return None;
    }
    let mut ranges = Vec::new();
    let mut characters = members.chars().peekable();
    while let Some(low) = characters.next() {
        let high = if characters.next_if_eq(&'-').is_some() { characters.next()? } else { low };
        if high < low {
            return None;
        }
        ranges.push((low, high));
    }
    Some((Token::Class { negated, ranges }, after))
}

fn walk(tokens: &[Token], path: &str, patience: &mut u32) -> Option<bool> {
    let mut path = path;
    for (index, token) in tokens.iter().enumerate() {
        *patience = patience.checked_sub(1)?;
        let after = &tokens[index + 1..];
        match token {
            Token::Literal(text) => match path.strip_prefix(text.as_str()) {
                Some(rest) => path = rest,
                None => return Some(false),
            },
            Token::Any | Token::Class { .. } => {
                let Some(first) = path.chars().next() else { return Some(false) };
                let accepted = match token {
                    Token::Class { negated, ranges } => {
                        ranges.iter().any(|(low, high)| (*low..=*high).contains(&first)) != *negated
                    }
                    _ => first != '/',
                };
                if !accepted {
                    return Some(false);
                }
                path = &path[first.len_utf8()..];
            }
            Token::Star => {
                let end = path.find('/').unwrap_or(path.len());
                if after.is_empty() {
                    return Some(end == path.len());
                }
                for (at, _) in path[..end].char_indices() {
                    if walk(after, &path[at..], patience)? {
                        return Some(true);
                    }
                }
                path = &path[end..];
            }
            Token::Deep => {
                // What follows is nearly always a name: its first byte tells which places are worth a walk.
                let next = match after.first() {
                    Some(Token::Literal(text)) => text.bytes().next(),
                    _ => None,
                };
                let bytes = path.as_bytes();
                let worth = |at: usize| next.is_none() || bytes.get(at).copied() == next;
                if worth(0) && walk(after, path, patience)? {
                    return Some(true);
                }
                for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
                    if worth(at + 1) && walk(after, &path[at + 1..], patience)? {
                        return Some(true);
                    }
                }
                return Some(false);
            }
            Token::Rest => return Some(true),
        }
    }
    Some(path.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::Ignore;

    #[test]
    fn a_walk_that_takes_too_long_is_given_up() {
        let tokens = Tokens::new(&("*a".repeat(20) + "b")).unwrap();
        assert_eq!(tokens.matches(&"a".repeat(200)), None);
        let ignore = Ignore::from_patterns(&["*a".repeat(20) + "b"]).unwrap();
        assert!(!ignore.decide(&"a".repeat(200)).excluded);
        assert!(ignore.decide(&("a".repeat(200) + "b")).excluded);
    }

    #[test]
    fn a_walk_and_the_expression_agree() {
        let pieces = ["a", "b/", "*", "?", "**", "**/", "[a-c]", "[^b]", "/", "x."];
        let paths = ["a", "b/a", "ab", "a/b/c", "x.a", "b", "ba/x.b", "a/x.", "c/c/c", "é/a", "aé", ""];
        let mut seed = 7_u64;
        for _ in 0..3000 {
            let mut pattern = String::new();
            for _ in 0..4 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                pattern.push_str(pieces[(seed >> 33) as usize % pieces.len()]);
            }
            let (_, expression) = crate::pattern::compile::described(&pattern);
            let (Some(tokens), Ok(regex)) = (Tokens::new(&pattern), regex::Regex::new(&expression)) else {
                continue;
            };
            for path in paths {
                assert_eq!(tokens.matches(path), Some(regex.is_match(path)), "{pattern} {path}");
            }
        }
    }
}
