//! Variable expansion: shell words as the Dockerfile language has them (reference.md#environment-replacement).
//!
//! One pass over the text; what a variable holds is never looked at again. Output is bounded, because a few lines that double
//! a variable would otherwise fill any memory.

mod glob;
mod line;
mod substitute;
mod words;

use std::collections::BTreeMap;

use crate::syntax::go;
pub use line::expansion_json;
use substitute::Expansion;

/// Deepest nesting of `${…}`.
pub const MAX_DEPTH: usize = 200;
/// The most bytes that one text may expand to.
pub const MAX_BYTES: usize = 16 << 20;

/// Where the values of variables come from.
pub trait Variables {
    /// The value of `name`, if it is set.
    fn get(&self, name: &str) -> Option<&str>;
}

impl Variables for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<&str> {
        BTreeMap::get(self, name).map(String::as_str)
    }
}

/// No variables at all.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoVariables;

impl Variables for NoVariables {
    fn get(&self, _name: &str) -> Option<&str> {
        None
    }
}

/// How quotes, escapes and unset variables are treated.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    escape: char,
    quotes: Quotes,
    keep_unset: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quotes {
    /// They quote, and are removed.
    Remove,
    /// They quote, and stay.
    Keep,
    /// They are characters like any other.
    Plain,
}

impl Rules {
    /// The rules for words of instructions.
    pub fn words(escape: char) -> Self {
        Self { escape, quotes: Quotes::Remove, keep_unset: false }
    }

    /// The rules for the content of a heredoc: quotes are plain, the escape is a backslash whatever the directive says.
    pub fn heredoc() -> Self {
        Self { escape: '\\', quotes: Quotes::Plain, keep_unset: false }
    }

    /// The rules for showing a command: quotes stay, and so do variables without a value.
    pub fn display(escape: char) -> Self {
        Self { escape, quotes: Quotes::Keep, keep_unset: true }
    }

    /// Expands `text`.
    ///
    /// # Errors
    /// On malformed substitutions, unclosed quotes, and `${name?}` of an unset variable.
    pub fn expand(self, text: &str, variables: &dyn Variables) -> Result<Expanded, ExpandError> {
        if !text.contains(['$', '\'', '"', self.escape]) {
            return Ok(Expanded { text: text.to_owned(), ..Expanded::default() });
        }
        let result = Expansion::new(self, text, variables, false).run();
        result.map(|(expanded, _)| expanded).map_err(|problem| ExpandError { text: text.to_owned(), problem })
    }

    /// The same, and the text split into words: at blanks, those of variables among them, unless they are quoted.
    ///
    /// # Errors
    /// As [`expand`](Self::expand).
    pub fn split(
        self,
        text: &str,
        variables: &dyn Variables,
    ) -> Result<(Expanded, Vec<String>), ExpandError> {
        Expansion::new(self, text, variables, true)
            .run()
            .map_err(|problem| ExpandError { text: text.to_owned(), problem })
    }
}

/// A text with its variables replaced.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expanded {
    /// As one word.
    pub text: String,
    /// The variables that had a value, in the order they first occur.
    pub used: Vec<String>,
    /// The variables that had none, in the order they first occur.
    pub unset: Vec<String>,
}

/// A text that cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to process {}: {problem}", go::quote(text))]
pub struct ExpandError {
    /// The whole text.
    pub text: String,
    /// What is wrong.
    #[source]
    pub problem: ExpandProblem,
}

/// What is wrong with a text that cannot be expanded. The wording is BuildKit's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandProblem {
    /// `'…`
    #[error("unexpected end of statement while looking for matching single-quote")]
    SingleQuote,
    /// `"…`
    #[error("unexpected end of statement while looking for matching double-quote")]
    DoubleQuote,
    /// `${`, `${name:-`
    #[error("syntax error: missing '}}'")]
    MissingBrace,
    /// `${name/pattern`
    #[error("syntax error: missing '/' in ${{}}")]
    MissingSlash,
    /// `${}`, `${{`, `${:`
    #[error("syntax error: bad substitution")]
    BadSubstitution,
    /// `${name^^}`
    #[error("unsupported modifier ({0}) in substitution")]
    UnsupportedModifier(String),
    /// `${name?message}` of an unset or `${name:?message}` of an empty variable.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// The message given, or the usual one.
        message: String,
    },
    /// A pattern with an escape that means nothing.
    #[error("invalid pattern ({pattern}) in substitution: {cause}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        cause: String,
    },
    /// More than [`MAX_DEPTH`] substitutions within each other.
    #[error("substitutions are nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// More than [`MAX_BYTES`] of output.
    #[error("the text expands to more than {MAX_BYTES} bytes")]
    TooLong,
}

#[cfg(test)]
mod tests;
