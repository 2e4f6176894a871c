//! Shell patterns of `#`, `%` and `/` substitutions: `*`, `?` and backslash escapes, no classes.

use regex::Regex;

use super::ExpandProblem;

/// Removes the part of `value` at its beginning that matches: the shortest, or the longest if `greedy`.
pub(super) fn trim_prefix(pattern: &str, value: &str, greedy: bool) -> Result<String, ExpandProblem> {
    let expression = expression(pattern, greedy, true)?;
    Ok(expression.find(value).map_or(value, |found| &value[found.end()..]).to_owned())
}

/// Removes the part of `value` at its end that matches. An expression finds the leftmost match, so both are turned round.
pub(super) fn trim_suffix(pattern: &str, value: &str, greedy: bool) -> Result<String, ExpandProblem> {
    let turned = trim_prefix(&turned_pattern(pattern), &turned(value), greedy)?;
    Ok(self::turned(&turned))
}

/// Replaces the first, or all, of the longest matches. As in the reference, `$1` in the replacement of all means a group,
/// which no pattern has.
pub(super) fn replace(
    pattern: &str,
    value: &str,
    replacement: &str,
    all: bool,
) -> Result<String, ExpandProblem> {
    let expression = expression(pattern, true, false)?;
    Ok(if all {
        expression.replace_all(value, replacement).into_owned()
    } else {
        expression.replace(value, regex::NoExpand(replacement)).into_owned()
    })
}

fn expression(pattern: &str, greedy: bool, anchored: bool) -> Result<Regex, ExpandProblem> {
    let problem = |cause: String| ExpandProblem::Pattern { pattern: pattern.to_owned(), cause };
    let text = translate(pattern, greedy, anchored).map_err(problem)?;
    Regex::new(&text).map_err(|cause| problem(cause.to_string()))
}

fn translate(pattern: &str, greedy: bool, anchored: bool) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len() + 4);
    if anchored {
        out.push('^');
    }
    let mut characters = pattern.chars().peekable();
    while let Some(mut character) = characters.next() {
        match character {
            '*' => {
                out.push_str(if greedy { ".*" } else { ".*?" });
                continue;
            }
            '?' => {
                out.push('.');
                continue;
            }
            // A brace or slash is escaped for the sake of `${…}`; the escape is not the pattern's.
            '\\' if matches!(characters.peek(), Some('}' | '/')) => continue,
            '\\' => {
                character = characters.next().ok_or_else(|| "trailing escape".to_owned())?;
                if !matches!(character, '*' | '?' | '\\') {
                    return Err(format!("invalid escape '\\{character}'"));
                }
                out.push('\\');
            }
            '[' | ']' | '{' | '}' | '.' | '+' | '(' | ')' | '|' | '^' | '$' => out.push('\\'),
            _ => {}
        }
        out.push(character);
    }
    Ok(out)
}

fn turned(text: &str) -> String {
    text.chars().rev().collect()
}

/// The pattern for turned text: the characters in reverse, each escape still before what it escapes.
fn turned_pattern(pattern: &str) -> String {
    let mut units: Vec<(Option<char>, char)> = Vec::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match (character, characters.as_str().chars().next()) {
            ('\\', Some(escaped)) => {
                characters.next();
                units.push((Some('\\'), escaped));
            }
            _ => units.push((None, character)),
        }
    }
    let mut out = String::with_capacity(pattern.len());
    for (escape, character) in units.into_iter().rev() {
        out.extend(escape);
        out.push(character);
    }
    out
}

#[cfg(test)]
pub(super) fn translated(pattern: &str, greedy: bool, anchored: bool) -> Result<String, String> {
    translate(pattern, greedy, anchored)
}

#[cfg(test)]
pub(super) fn turned_for_tests(pattern: &str) -> String {
    turned_pattern(pattern)
}
