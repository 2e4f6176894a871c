//! The expansion itself: a walk over the text with one character of sight.

use std::collections::HashSet;

use super::words::Words;
use super::{ExpandProblem, Expanded, MAX_BYTES, MAX_DEPTH, Quotes, Rules, Variables, glob};

type Part = Result<String, ExpandProblem>;

/// An expansion under way.
pub(super) struct Expansion<'a> {
    rules: Rules,
    rest: &'a str,
    variables: &'a dyn Variables,
    used: Vec<String>,
    unset: Vec<String>,
    seen: HashSet<String>,
    depth: usize,
    spent: usize,
    /// How many texts within substitutions were read so far.
    inner: usize,
    /// Whether words are wanted.
    split: bool,
}

impl<'a> Expansion<'a> {
    pub(super) fn new(rules: Rules, text: &'a str, variables: &'a dyn Variables, split: bool) -> Self {
        Self {
            rules,
            rest: text,
            variables,
            used: Vec::new(),
            unset: Vec::new(),
            seen: HashSet::new(),
            depth: 0,
            spent: 0,
            inner: 0,
            split,
        }
    }

    pub(super) fn run(mut self) -> Result<(Expanded, Vec<String>), ExpandProblem> {
        let (text, words) = self.until(None, false)?;
        Ok((Expanded { text, used: self.used, unset: self.unset }, words))
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.rest = &self.rest[next.len_utf8()..];
        Some(next)
    }

    /// Counts what a variable adds to the output.
    fn spend(&mut self, bytes: usize) -> Result<(), ExpandProblem> {
        self.spent = self.spent.saturating_add(bytes);
        if self.spent > MAX_BYTES { Err(ExpandProblem::TooLong) } else { Ok(()) }
    }

    /// Expands up to `stop`, which is taken, or to the end. With `raw_escapes` escapes stay, for a pattern to read.
    fn until(
        &mut self,
        stop: Option<char>,
        raw_escapes: bool,
    ) -> Result<(String, Vec<String>), ExpandProblem> {
        if stop.is_some() {
            self.inner += 1;
        }
        let mut text = String::new();
        // Only the words of the whole text are ever asked for.
        let mut words = Words::new(self.split && stop.is_none());
        let quotes = self.rules.quotes != Quotes::Plain;
        while let Some(character) = self.peek() {
            if Some(character) == stop {
                self.next();
                return Ok((text, words.finish()));
            }
            let inner = self.inner;
            match character {
                '$' => {
                    let value = self.dollar()?;
                    // The reference keeps the word it is at in one place for all levels, so that a text within a substitution
                    // wipes out the word before it. EXPOSE shows it: `80${A:-81}` is 81.
                    words.forget_current_if(inner != self.inner);
                    words.plain(&value);
                    text.push_str(&value);
                }
                '\'' | '"' if quotes => {
                    let value = if character == '"' {
                        self.double_quoted(raw_escapes)?
                    } else {
                        self.single_quoted()?
                    };
                    words.forget_current_if(inner != self.inner);
                    words.quoted(&value);
                    text.push_str(&value);
                }
                escape if escape == self.rules.escape => {
                    self.next();
                    if raw_escapes {
                        words.quoted_character(escape);
                        text.push(escape);
                    }
                    // At the end of the text an escape means nothing.
                    let Some(escaped) = self.next() else { break };
                    words.quoted_character(escaped);
                    text.push(escaped);
                }
                plain => {
                    self.next();
                    words.plain_character(plain);
                    text.push(plain);
                }
            }
        }
        match stop {
            Some('/') => Err(ExpandProblem::MissingSlash),
            Some(_) => Err(ExpandProblem::MissingBrace),
            None => Ok((text, words.finish())),
        }
    }

    fn single_quoted(&mut self) -> Part {
        self.next();
        let Some((inside, after)) = self.rest.split_once('\'') else {
            self.rest = "";
            return Err(ExpandProblem::SingleQuote);
        };
        self.rest = after;
        Ok(if self.rules.quotes == Quotes::Keep { format!("'{inside}'") } else { inside.to_owned() })
    }

    fn double_quoted(&mut self, raw_escapes: bool) -> Part {
        let keep = self.rules.quotes == Quotes::Keep;
        self.next();
        let mut text = String::new();
        if keep {
            text.push('"');
        }
        loop {
            match self.peek() {
                None => return Err(ExpandProblem::DoubleQuote),
                Some('"') => {
                    self.next();
                    if keep {
                        text.push('"');
                    }
                    return Ok(text);
                }
                Some('$') => text.push_str(&self.dollar()?),
                Some(escape) if escape == self.rules.escape => {
                    self.next();
                    if raw_escapes {
                        text.push(escape);
                    }
                    // Only these are escaped here; before anything else the escape is itself.
                    match self.peek() {
                        None => {}
                        Some(escaped) if matches!(escaped, '"' | '$') || escaped == escape => {
                            self.next();
                            text.push(escaped);
                        }
                        Some(_) => text.push(escape),
                    }
                }
                Some(plain) => {
                    self.next();
                    text.push(plain);
                }
            }
        }
    }

    /// `$name` or `${…}`.
    fn dollar(&mut self) -> Part {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(ExpandProblem::TooDeep);
        }
        self.next();
        let value = if self.peek() == Some('{') {
            self.next();
            self.braces()
        } else {
            self.bare()
        };
        self.depth -= 1;
        let value = value?;
        self.spend(value.len())?;
        Ok(value)
    }

    fn bare(&mut self) -> Part {
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        Ok(match self.lookup(&name) {
            Some(value) => value.to_owned(),
            None if self.rules.keep_unset => format!("${name}"),
            None => String::new(),
        })
    }

    fn braces(&mut self) -> Part {
        match self.peek() {
            None => return Err(ExpandProblem::MissingBrace),
            Some('{' | '}' | ':') => return Err(ExpandProblem::BadSubstitution),
            Some(_) => {}
        }
        let name = self.name();
        match self.next() {
            Some('}') => Ok(match self.lookup(&name) {
                Some(value) => value.to_owned(),
                None if self.rules.keep_unset => format!("${{{name}}}"),
                None => String::new(),
            }),
            Some('/') => self.replacement(&name),
            Some(':') => {
                let modifier = self.next();
                self.modified(&name, modifier, true)
            }
            modifier @ Some('+' | '-' | '?' | '#' | '%') => self.modified(&name, modifier, false),
            other => Err(ExpandProblem::UnsupportedModifier(shown(other))),
        }
    }

    /// `${name-word}` and its kin, up to the brace. With a colon an empty variable is as good as none.
    fn modified(&mut self, name: &str, modifier: Option<char>, colon: bool) -> Part {
        let pattern = matches!(modifier, Some('#' | '%'));
        let (word, _) = self.until(Some('}'), pattern).map_err(|problem| self.at_end(problem))?;
        let value = self.lookup(name);
        if self.rules.keep_unset && value.is_none() {
            let colon = if colon { ":" } else { "" };
            return Ok(format!("${{{name}{colon}{}{word}}}", shown(modifier)));
        }
        let present = value.filter(|value| !(colon && value.is_empty()));
        match modifier {
            Some('-') => Ok(present.map_or(word, str::to_owned)),
            Some('+') => Ok(if present.is_some() { word } else { String::new() }),
            Some('?') => present.map(str::to_owned).ok_or_else(|| {
                let state = if value.is_none() { "unset" } else { "empty" };
                let usual = || format!("is not allowed to be {state}");
                let message = if word.is_empty() { usual() } else { word };
                ExpandProblem::Required { name: name.to_owned(), message }
            }),
            Some(mark @ ('#' | '%')) if !colon => {
                let value = value.unwrap_or_default();
                let (pattern, greedy) = match word.strip_prefix(mark) {
                    Some(pattern) => (pattern, true),
                    None => (word.as_str(), false),
                };
                if mark == '#' {
                    glob::trim_prefix(pattern, value, greedy)
                } else {
                    glob::trim_suffix(pattern, value, greedy)
                }
            }
            other => Err(ExpandProblem::UnsupportedModifier(format!(":{}", shown(other)))),
        }
    }

    /// `${name/pattern/replacement}`, the first slash behind.
    fn replacement(&mut self, name: &str) -> Part {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let (pattern, _) = self.until(Some('/'), true).map_err(|problem| match self.peek() {
            None => ExpandProblem::MissingSlash,
            Some(_) => problem,
        })?;
        let (replacement, _) = self.until(Some('}'), true).map_err(|problem| self.at_end(problem))?;
        let value = self.lookup(name);
        if self.rules.keep_unset && value.is_none() {
            return Ok(format!("${{{name}/{pattern}/{replacement}}}"));
        }
        glob::replace(&pattern, value.unwrap_or_default(), &replacement, all)
    }

    /// Whatever went wrong, at the end of the text the brace is what is missing.
    fn at_end(&self, problem: ExpandProblem) -> ExpandProblem {
        match problem {
            ExpandProblem::TooDeep | ExpandProblem::TooLong => problem,
            _ if self.rest.is_empty() => ExpandProblem::MissingBrace,
            _ => problem,
        }
    }

    /// A name, the digits of a positional parameter, or one special parameter; empty if there is none.
    fn name(&mut self) -> String {
        let first = self.peek();
        if first.is_some_and(is_digit) {
            return self.take_while(is_digit);
        }
        if let Some(special @ ('@' | '*' | '#' | '?' | '-' | '$' | '!')) = first {
            self.next();
            return special.to_string();
        }
        self.take_while(|c| c.is_alphabetic() || is_digit(c) || c == '_')
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> String {
        let end = self.rest.find(|c| !accept(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken.to_owned()
    }

    fn lookup(&mut self, name: &str) -> Option<&'a str> {
        let value = self.variables.get(name);
        let list = if value.is_some() { &mut self.used } else { &mut self.unset };
        if self.seen.insert(name.to_owned()) {
            list.push(name.to_owned());
        }
        value
    }
}

fn is_digit(character: char) -> bool {
    character.is_ascii_digit() || (!character.is_ascii() && character.is_numeric())
}

/// A modifier in a message; the end of the text is shown as the reference shows it.
fn shown(modifier: Option<char>) -> String {
    modifier.unwrap_or(char::REPLACEMENT_CHARACTER).to_string()
}
