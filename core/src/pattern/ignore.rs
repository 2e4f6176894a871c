//! Ignore files: which paths of a context are left out, by moby's rules (moby/patternmatcher).
//!
//! The last rule that matches a path, or a directory that it is in, decides; `!` takes a path back in. A rule that could not
//! change the verdict so far is not looked at, for a directory as for what is in it: so a walk hands what a directory matched
//! down to its children, and [`Ignore::decide`] walks down to a path in the same way.

use super::compile::{Gate, Matcher, Path};
use crate::path;

/// One line of an ignore file, compiled.
#[derive(Debug, Clone)]
pub struct Rule {
    /// As written, without surrounding blanks.
    pub text: String,
    /// The line it stands on, from 1; the number of the pattern for a list of patterns.
    pub line: usize,
    /// Whether it begins with `!` and takes paths back in.
    pub exception: bool,
    pattern: String,
    matcher: Matcher,
}

/// An ignore file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IgnoreError {
    /// Malformed as Go's `filepath.Match` sees it, or as the regular expression that moby makes of it.
    #[error("line {line}: syntax error in pattern `{text}`")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// The pattern.
        text: String,
    },
    /// A `!` with nothing behind it.
    #[error("line {line}: illegal exclusion pattern: \"!\"")]
    EmptyException {
        /// The line, from 1.
        line: usize,
    },
    /// A line that Go's scanner refuses.
    #[error("line {line}: longer than 65535 bytes")]
    LineTooLong {
        /// The line, from 1.
        line: usize,
    },
}

impl IgnoreError {
    /// The line it is about, from 1.
    pub fn line(&self) -> usize {
        match self {
            Self::Syntax { line, .. } | Self::EmptyException { line } | Self::LineTooLong { line } => *line,
        }
    }
}

/// The rules of an ignore file, compiled once.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    rules: Vec<Rule>,
    /// Of each rule whether it is an exception, and its gate: most rules are turned away here, so these lie close together.
    gates: Vec<(bool, Gate)>,
    exceptions: bool,
    /// Beginnings of the paths that exceptions can match, if each has such a beginning.
    exception_roots: Option<Vec<String>>,
}

/// What was decided of a path, and by which rule.
#[derive(Debug, Clone, Copy)]
pub struct Decision<'a> {
    /// Whether it is left out.
    pub excluded: bool,
    /// The rule that had the last word; `None` if none matched.
    pub by: Option<&'a Rule>,
}

/// Which rules a directory matched, for its children. The default is what the root of a context matched: nothing.
#[derive(Debug, Clone, Default)]
pub struct Matched(Vec<bool>);

impl Ignore {
    /// Reads an ignore file.
    ///
    /// # Errors
    /// If a line is no pattern.
    pub fn parse(text: &str) -> Result<Self, IgnoreError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut rules = Vec::new();
        for (index, written) in text.split('\n').enumerate() {
            let line = index + 1;
            if written.len() >= 64 * 1024 {
                return Err(IgnoreError::LineTooLong { line });
            }
            if let Some(pattern) = normalized(written) {
                rules.extend(rule(&pattern, written.trim(), line)?);
            }
        }
        Ok(Self::of(rules))
    }

    /// Compiles patterns as they stand (`COPY --exclude`), without an ignore file's comments and leading slashes.
    ///
    /// # Errors
    /// If one is no pattern.
    pub fn from_patterns<S: AsRef<str>>(patterns: &[S]) -> Result<Self, IgnoreError> {
        let mut rules = Vec::new();
        for (index, pattern) in patterns.iter().enumerate() {
            rules.extend(rule(pattern.as_ref(), pattern.as_ref().trim(), index + 1)?);
        }
        Ok(Self::of(rules))
    }

    fn of(rules: Vec<Rule>) -> Self {
        let exceptions = rules.iter().any(|rule| rule.exception);
        let roots = rules.iter().filter(|rule| rule.exception).map(|rule| {
            let pattern = rule.pattern.strip_suffix("/**").unwrap_or(&rule.pattern);
            let pattern = pattern.strip_suffix("/*").unwrap_or(pattern);
            (!pattern.contains(['*', '[', ']', '?', '^', '\\'])).then(|| format!("{pattern}/"))
        });
        let exception_roots = roots.collect();
        let gates = rules.iter().map(|rule| (rule.exception, rule.matcher.gate(&rule.pattern))).collect();
        Self { rules, gates, exceptions, exception_roots }
    }

    /// The rules, in order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether nothing is left out.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Decides on a path relative to the context's root, which need not exist.
    pub fn decide(&self, path: &str) -> Decision<'_> {
        let mut matched = Matched::default();
        for (slash, _) in path.match_indices('/') {
            if slash > 0 {
                matched = self.enter(&matched, &path[..slash]).1;
            }
        }
        self.decide_in(&matched, path)
    }

    /// Decides on a path in a directory that matched `parent`.
    pub fn decide_in(&self, parent: &Matched, path: &str) -> Decision<'_> {
        self.evaluate(parent, path, |_| {})
    }

    /// Decides on the directory `path` in one that matched `parent`; the second result is for its children.
    pub fn enter(&self, parent: &Matched, path: &str) -> (Decision<'_>, Matched) {
        let mut matched = vec![false; self.rules.len()];
        let decision = self.evaluate(parent, path, |index| matched[index] = true);
        (decision, Matched(matched))
    }

    fn evaluate(&self, parent: &Matched, path: &str, mut found: impl FnMut(usize)) -> Decision<'_> {
        let path = Path::new(path);
        let mut decision = Decision { excluded: false, by: None };
        for (index, (exception, gate)) in self.gates.iter().enumerate() {
            let inherited = parent.0.get(index).copied().unwrap_or(false);
            let may = *exception == decision.excluded && gate.lets_in(&path);
            if inherited || (may && self.rules[index].matcher.matches(&path)) {
                found(index);
                decision = Decision { excluded: !exception, by: Some(&self.rules[index]) };
            }
        }
        decision
    }

    /// Whether nothing in the excluded directory `path` can be taken back in, so that a walk need not enter it.
    pub fn can_skip(&self, path: &str) -> bool {
        if !self.exceptions {
            return true;
        }
        let below = format!("{path}/");
        self.exception_roots.as_ref().is_some_and(|roots| !roots.iter().any(|root| root.starts_with(&below)))
    }
}

/// A line of an ignore file as a pattern (moby/patternmatcher, `ignorefile.ReadAll`); `None` for comments and blank lines.
fn normalized(line: &str) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let line = line.trim();
    let (mark, pattern) = match line.strip_prefix('!') {
        Some(rest) => ("!", rest.trim()),
        None => ("", line),
    };
    if line.is_empty() {
        return None;
    }
    if pattern.is_empty() {
        return Some(mark.to_owned());
    }
    let cleaned = path::clean(pattern);
    let relative = cleaned.strip_prefix('/').filter(|rest| !rest.is_empty()).unwrap_or(&cleaned);
    Some(format!("{mark}{relative}"))
}

/// A pattern, compiled (moby/patternmatcher, `New`); `None` for an empty one.
fn rule(pattern: &str, text: &str, line: usize) -> Result<Option<Rule>, IgnoreError> {
    let pattern = pattern.trim();
    if pattern.is_empty() {
        return Ok(None);
    }
    let cleaned = path::clean(pattern);
    let (exception, pattern) = match cleaned.strip_prefix('!') {
        Some("") => return Err(IgnoreError::EmptyException { line }),
        Some(rest) => (true, rest),
        None => (false, cleaned.as_str()),
    };
    let matcher = Matcher::new(pattern).map_err(|_| IgnoreError::Syntax { line, text: text.to_owned() })?;
    Ok(Some(Rule { text: text.to_owned(), line, exception, pattern: pattern.to_owned(), matcher }))
}

#[cfg(test)]
mod tests;
