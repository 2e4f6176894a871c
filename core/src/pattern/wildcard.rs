//! Go's `filepath.Match`, to the letter: `*`, `?`, `[a-z]`, `[^a-z]`, `\` escapes; `!` is no negation, `/` is never matched by
//! a wildcard.

/// A pattern that Go calls `syntax error in pattern`: an unclosed `[`, an empty class, a trailing backslash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern")]
pub struct BadPattern;

/// Whether the whole of `name` matches `pattern`.
///
/// # Errors
/// If the pattern is malformed, wherever the match was decided.
pub fn matches(pattern: &str, name: &str) -> Result<bool, BadPattern> {
    let mut pattern = pattern;
    let mut name = name;
    while !pattern.is_empty() {
        let (star, chunk, rest) = next_chunk(pattern);
        pattern = rest;
        if star && chunk.is_empty() {
            // A trailing star takes the rest, as long as it is of one component.
            return Ok(!name.contains('/'));
        }
        let matched = chunk_at_start(chunk, name)?;
        if let Some(rest) = matched
            && (rest.is_empty() || !pattern.is_empty())
        {
            name = rest;
            continue;
        }
        let mut next = None;
        if star {
            for (at, character) in name.char_indices() {
                if character == '/' {
                    break;
                }
                let after = &name[at + character.len_utf8()..];
                if let Some(rest) = chunk_at_start(chunk, after)? {
                    if pattern.is_empty() && !rest.is_empty() {
                        continue;
                    }
                    next = Some(rest);
                    break;
                }
            }
        }
        match next {
            Some(rest) => name = rest,
            None => {
                check(pattern)?;
                return Ok(false);
            }
        }
    }
    Ok(name.is_empty())
}

/// Whether `pattern` is well formed.
///
/// # Errors
/// If it is not.
pub fn check(pattern: &str) -> Result<(), BadPattern> {
    let mut pattern = pattern;
    while !pattern.is_empty() {
        let (_, chunk, rest) = next_chunk(pattern);
        chunk_at_start(chunk, "")?;
        pattern = rest;
    }
    Ok(())
}

/// Whether a text is a pattern at all, rather than a plain path (BuildKit asks the same of COPY sources).
pub fn has_wildcards(text: &str) -> bool {
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                characters.next();
            }
            '*' | '?' | '[' => return true,
            _ => {}
        }
    }
    false
}

/// A leading star, what follows it up to the next star outside of a class, and the rest.
fn next_chunk(pattern: &str) -> (bool, &str, &str) {
    let body = pattern.trim_start_matches('*');
    let star = body.len() < pattern.len();
    let bytes = body.as_bytes();
    let mut in_class = false;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'[' => in_class = true,
            b']' => in_class = false,
            b'*' if !in_class => break,
            _ => {}
        }
        at += 1;
    }
    let at = at.min(bytes.len());
    (star, &body[..at], &body[at..])
}

/// What is left of `name` after `chunk`, which has no star; `None` if it does not match. Reads all of the chunk in any case, so
/// that its errors are found.
fn chunk_at_start<'n>(chunk: &str, name: &'n str) -> Result<Option<&'n str>, BadPattern> {
    let mut chunk = chunk;
    let mut name = Some(name);
    while let Some(symbol) = chunk.chars().next() {
        // A failed match goes on without a name, for the errors' sake.
        let first = name.and_then(|n| n.chars().next());
        if name.is_some() && first.is_none() {
            name = None;
        }
        match symbol {
            '[' => {
                let (accepted, rest) = class(&chunk[1..], first)?;
                chunk = rest;
                name = advance(name, first, accepted);
            }
            '?' => {
                chunk = &chunk[1..];
                name = advance(name, first, first.is_some_and(|c| c != '/'));
            }
            '\\' => {
                let escaped = chunk[1..].chars().next().ok_or(BadPattern)?;
                chunk = &chunk[1 + escaped.len_utf8()..];
                name = advance(name, first, first == Some(escaped));
            }
            literal => {
                chunk = &chunk[literal.len_utf8()..];
                name = advance(name, first, first == Some(literal));
            }
        }
    }
    Ok(name)
}

fn advance(name: Option<&str>, first: Option<char>, accepted: bool) -> Option<&str> {
    match (name, first) {
        (Some(name), Some(first)) if accepted => Some(&name[first.len_utf8()..]),
        _ => None,
    }
}

/// Reads a class whose `[` is behind; whether `candidate` is in it, and what follows the `]`.
fn class(text: &str, candidate: Option<char>) -> Result<(bool, &str), BadPattern> {
    let (negated, mut text) = match text.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut found = false;
    let mut ranges = 0;
    loop {
        if let Some(rest) = text.strip_prefix(']')
            && ranges > 0
        {
            return Ok((found != negated, rest));
        }
        let (low, rest) = class_member(text)?;
        text = rest;
        let mut high = low;
        if let Some(rest) = text.strip_prefix('-') {
            (high, text) = class_member(rest)?;
        }
        found |= candidate.is_some_and(|c| low <= c && c <= high);
        ranges += 1;
    }
}

fn class_member(text: &str) -> Result<(char, &str), BadPattern> {
    let mut characters = text.chars();
    let mut first = characters.next().ok_or(BadPattern)?;
    if first == '-' || first == ']' {
        return Err(BadPattern);
    }
    if first == '\\' {
        first = characters.next().ok_or(BadPattern)?;
    }
    let rest = characters.as_str();
    if rest.is_empty() { Err(BadPattern) } else { Ok((first, rest)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_in_go() {
        for (pattern, name, expected) in [
            ("abc", "abc", Ok(true)),
            ("*", "abc", Ok(true)),
            ("*c", "abc", Ok(true)),
            ("a*/b", "abc/b", Ok(true)),
            ("a*/b", "a/c/b", Ok(false)),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/f", Ok(true)),
            ("a*b?c*x", "abxbbxdbxebxczzx", Ok(true)),
            ("a*b?c*x", "abxbbxdbxebxczzy", Ok(false)),
            ("ab[c]", "abc", Ok(true)),
            ("ab[^c]", "abc", Ok(false)),
            ("ab[^e-g]", "abc", Ok(true)),
            ("a\\*b", "a*b", Ok(true)),
            ("a\\*b", "ab", Ok(false)),
            ("a?b", "a☺b", Ok(true)),
            ("a[^a]b", "a☺b", Ok(true)),
            ("a???b", "a☺b", Ok(false)),
            ("[a-ζ]*", "α", Ok(true)),
            ("*[a-ζ]", "A", Ok(false)),
            ("a?b", "a/b", Ok(false)),
            ("a*b", "a/b", Ok(false)),
            ("[\\]a]", "]", Ok(true)),
            ("[x\\-]", "-", Ok(true)),
            ("[x\\-]", "a", Ok(false)),
            ("[]a]", "]", Err(BadPattern)),
            ("[-]", "-", Err(BadPattern)),
            ("[x-]", "x", Err(BadPattern)),
            ("[-x]", "x", Err(BadPattern)),
            ("\\", "a", Err(BadPattern)),
            ("[a-b-c]", "a", Err(BadPattern)),
            ("[", "a", Err(BadPattern)),
            ("[^bc", "a", Err(BadPattern)),
            ("a[", "a", Err(BadPattern)),
            ("a[", "ab", Err(BadPattern)),
            ("a[", "x", Err(BadPattern)),
            ("a/b[", "x", Err(BadPattern)),
            ("*x", "xxx", Ok(true)),
            ("[!x]", "!", Ok(true)),
            ("", "", Ok(true)),
            ("", "a", Ok(false)),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn many_stars_do_not_take_forever() {
        let pattern = "a*".repeat(500) + "b";
        assert_eq!(matches(&pattern, &"a".repeat(5000)), Ok(false));
    }
}
