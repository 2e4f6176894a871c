//! What is wrong with, or could be better in, a Dockerfile: data first, text only where it is shown.

use crate::{SourceFile, Span};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The build goes on.
    Warning,
    /// The build cannot go on.
    Error,
}

/// A finding at a place of a [`SourceFile`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether it stops the build.
    pub severity: Severity,
    /// BuildKit's name of the check (`StageNameCasing`), for a finding of one.
    pub rule: Option<&'static str>,
    /// One sentence: what is wrong.
    pub message: String,
    /// The exact bytes it is about.
    pub span: Span,
    /// What to do: the nearest valid word, the missing flag.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A finding that stops the build.
    pub fn error(message: impl Into<String>, span: Span) -> Self {
        Self { severity: Severity::Error, rule: None, message: message.into(), span, help: None }
    }

    /// A finding of the check `rule`.
    pub fn warning(rule: &'static str, message: impl Into<String>, span: Span) -> Self {
        Self { severity: Severity::Warning, rule: Some(rule), message: message.into(), span, help: None }
    }

    /// The same with advice.
    #[must_use]
    pub fn with_help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

/// All findings of one source file, errors among them: the error type of the frontend's stages.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", summary(self))]
pub struct Diagnostics {
    /// The text that the spans point into.
    pub file: SourceFile,
    /// The findings, in the order of the text.
    pub items: Vec<Diagnostic>,
}

fn summary(diagnostics: &Diagnostics) -> String {
    let first = diagnostics.items.iter().find(|d| d.severity == Severity::Error);
    match first.or(diagnostics.items.first()) {
        Some(item) => {
            let (line, column) = diagnostics.file.position(item.span.start);
            format!("{}:{line}:{column}: {}", diagnostics.file.name, item.message)
        }
        None => format!("{}: no findings", diagnostics.file.name),
    }
}
