//! Heredocs: which words of a line begin one, and what it is called.
//!
//! A word that begins a heredoc is found by splitting the line as the shell would, with nothing expanded. A line that cannot be
//! split so (an open quote, a malformed `${`) has no heredocs.

use std::ops::Range;

/// Substitutions within substitutions, further than anyone writes them.
const MAX_DEPTH: usize = 200;

/// What a word says about the heredoc it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    /// Without quotes and escapes.
    pub(super) name: String,
    /// Whether no part of it was quoted.
    pub(super) expand: bool,
    /// Whether it was written with `<<-`.
    pub(super) chomp: bool,
    /// The file descriptor; 0 unless told otherwise.
    pub(super) fd: u32,
}

/// The heredocs that `line` begins, each with the bytes of its word.
///
/// # Errors
/// A text for people.
pub(super) fn in_line(line: &str) -> Result<Vec<(Name, Range<usize>)>, String> {
    let Ok(words) = split(line, Mode::RAW) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for word in words {
        if let Some(name) = in_word(&word.text)? {
            found.push((name, word.range));
        }
    }
    Ok(found)
}

/// What `word` says, if it begins a heredoc.
///
/// # Errors
/// A text for people, if quotes are left open.
pub(super) fn in_word(word: &str) -> Result<Option<Name>, String> {
    let digits = word.len() - word.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let Some(rest) = word[digits..].strip_prefix("<<") else { return Ok(None) };
    let (chomp, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
    let rest = rest.trim_start_matches([' ', '\t', '\n', '\r', '\u{c}']);
    if rest.is_empty() || rest.contains('<') {
        return Ok(None);
    }
    let wrap = |cause| format!("failed to process {}: {cause}", super::go::quote(rest));
    let words = split(rest, Mode { quotes: false, escapes: false }).map_err(wrap)?;
    let [name] = words.as_slice() else { return Ok(None) };
    let raw = split(rest, Mode { quotes: true, escapes: false }).map_err(wrap)?;
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    Ok(Some(Name {
        expand: quotes(&name.text) == raw.iter().map(|word| quotes(&word.text)).sum::<usize>(),
        name: name.text.clone(),
        chomp,
        fd: word[..digits].parse().unwrap_or(0),
    }))
}

/// What stays in the words.
#[derive(Debug, Clone, Copy)]
struct Mode {
    quotes: bool,
    escapes: bool,
}

impl Mode {
    const RAW: Mode = Mode { quotes: true, escapes: true };
}

/// A word of a line.
#[derive(Debug)]
struct Part {
    text: String,
    range: Range<usize>,
}

/// Splits `line` into shell words. Variables stay as they are.
fn split(line: &str, mode: Mode) -> Result<Vec<Part>, &'static str> {
    let mut scan = Scan { text: line, at: 0, mode };
    let mut words = Words::default();
    while let Some(c) = scan.peek() {
        let start = scan.at;
        match c {
            '\'' => words.raw(&scan.single()?, start..scan.at),
            '"' => words.raw(&scan.double(0)?, start..scan.at),
            '$' => {
                // What is substituted is split at its blanks, quoted or not.
                let text = scan.dollar(0)?;
                for c in text.chars() {
                    words.letter(c, start..scan.at);
                }
            }
            '<' => words.raw(&scan.less(), start..scan.at),
            '\\' => {
                scan.next();
                let next = scan.next();
                let text: String = [mode.escapes.then_some('\\'), next].into_iter().flatten().collect();
                if !text.is_empty() {
                    words.raw(&text, start..scan.at);
                }
            }
            c => {
                scan.next();
                words.letter(c, start..scan.at);
            }
        }
    }
    Ok(words.finish())
}

#[derive(Debug, Default)]
struct Words {
    done: Vec<Part>,
    open: Option<Part>,
}

impl Words {
    fn raw(&mut self, text: &str, range: Range<usize>) {
        let open = self.open.get_or_insert_with(|| Part { text: String::new(), range: range.clone() });
        open.text.push_str(text);
        open.range.end = range.end;
    }

    fn letter(&mut self, c: char, range: Range<usize>) {
        if !c.is_whitespace() {
            self.raw(c.encode_utf8(&mut [0; 4]), range);
        } else if self.open.as_ref().is_some_and(|open| !open.text.is_empty()) {
            self.done.extend(self.open.take());
        }
    }

    fn finish(mut self) -> Vec<Part> {
        self.done.extend(self.open.take().filter(|open| !open.text.is_empty()));
        self.done
    }
}

#[derive(Debug)]
struct Scan<'a> {
    text: &'a str,
    at: usize,
    mode: Mode,
}

impl Scan<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn single(&mut self) -> Result<String, &'static str> {
        let body = &self.text[self.at + 1..];
        let end =
            body.find('\'').ok_or("unexpected end of statement while looking for matching single-quote")?;
        let quoted = &self.text[self.at..self.at + end + 2];
        self.at += quoted.len();
        Ok(if self.mode.quotes { quoted.to_owned() } else { quoted[1..=end].to_owned() })
    }

    fn double(&mut self, depth: usize) -> Result<String, &'static str> {
        let mut text = String::new();
        self.next();
        if self.mode.quotes {
            text.push('"');
        }
        loop {
            match self.peek() {
                None => return Err("unexpected end of statement while looking for matching double-quote"),
                Some('"') => {
                    self.next();
                    if self.mode.quotes {
                        text.push('"');
                    }
                    return Ok(text);
                }
                Some('$') => text.push_str(&self.dollar(depth)?),
                Some('\\') => {
                    self.next();
                    if self.mode.escapes {
                        text.push('\\');
                    }
                    match self.peek() {
                        None => {}
                        Some(c @ ('"' | '$' | '\\')) => {
                            self.next();
                            text.push(c);
                        }
                        Some(_) => text.push('\\'),
                    }
                }
                Some(c) => {
                    self.next();
                    text.push(c);
                }
            }
        }
    }

    /// `<`, or `<<` with the blanks behind it.
    fn less(&mut self) -> String {
        let rest = &self.text[self.at..];
        let text = match rest.strip_prefix("<<") {
            None => "<",
            Some(after) => &rest[..rest.len() - after.trim_start_matches([' ', '\t', '\r', '\n']).len()],
        };
        self.at += text.len();
        text.to_owned()
    }

    /// A variable, every one of which is unset and stays as it is.
    fn dollar(&mut self, depth: usize) -> Result<String, &'static str> {
        if depth > MAX_DEPTH {
            return Err("substitutions are nested too deeply");
        }
        self.next();
        if self.peek() != Some('{') {
            return Ok(format!("${}", self.name()));
        }
        self.next();
        match self.peek() {
            None => return Err("syntax error: missing '}'"),
            Some('{' | '}' | ':') => return Err("syntax error: bad substitution"),
            Some(_) => {}
        }
        let name = self.name();
        let mut operator = String::new();
        match self.next() {
            Some('}') => return Ok(format!("${{{name}}}")),
            Some(':') => {
                operator.push(':');
                match self.next() {
                    None | Some('#' | '%') => return Err("unsupported modifier in substitution"),
                    Some(c) => operator.push(c),
                }
            }
            Some(c @ ('+' | '-' | '?' | '#' | '%')) => operator.push(c),
            Some('/') => {
                let all = self.peek() == Some('/');
                if all {
                    self.next();
                }
                let pattern = self.until('/', depth + 1)?;
                let replacement = self.until('}', depth + 1)?;
                return Ok(format!("${{{name}/{pattern}/{replacement}}}"));
            }
            _ => return Err("unsupported modifier in substitution"),
        }
        let word = self.until('}', depth + 1)?;
        Ok(format!("${{{name}{operator}{word}}}"))
    }

    /// The text up to `stop`, outside quotes.
    fn until(&mut self, stop: char, depth: usize) -> Result<String, &'static str> {
        let mut text = String::new();
        loop {
            match self.peek() {
                None => return Err("syntax error: missing '}'"),
                Some(c) if c == stop => {
                    self.next();
                    return Ok(text);
                }
                Some('\'') => text.push_str(&self.single()?),
                Some('"') => text.push_str(&self.double(depth)?),
                Some('$') => text.push_str(&self.dollar(depth)?),
                Some('<') => text.push_str(&self.less()),
                Some('\\') => {
                    self.next();
                    if self.mode.escapes {
                        text.push('\\');
                    }
                    text.extend(self.next());
                }
                Some(c) => {
                    self.next();
                    text.push(c);
                }
            }
        }
    }

    /// A name: letters, digits and `_`; or digits; or one special parameter; or nothing.
    fn name(&mut self) -> String {
        let rest = &self.text[self.at..];
        let first = rest.chars().next();
        let end = match first {
            Some(c) if c.is_numeric() => rest.find(|c: char| !c.is_numeric()).unwrap_or(rest.len()),
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => 1,
            _ => rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len()),
        };
        self.at += end;
        rest[..end].to_owned()
    }
}
