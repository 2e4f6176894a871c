//! `CopyIgnoredFile`: COPY or ADD of a path that an ignore file excludes.

use super::Rule;
use crate::syntax::go;
use kiln_core::{Diagnostic, Span};

/// The rule.
pub(crate) const RULE: Rule = Rule {
    name: "CopyIgnoredFile",
    description: "Attempting to Copy file that is excluded by .dockerignore",
    url: "https://docs.docker.com/go/dockerfile/rule/copy-ignored-file/",
    experimental: false,
};

/// The finding for `path`, which an ignore file without exceptions excludes. `verb` is `Copy` or `Add`.
pub(crate) fn finding(verb: &str, path: &str, span: Span) -> Diagnostic {
    let message = format!("Attempting to {verb} file {} that is excluded by .dockerignore", go::quote(path));
    RULE.finding(message, span)
}
