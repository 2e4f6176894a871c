//! `WorkdirRelativePath`: a relative WORKDIR where none was set before.

use super::Rule;
use crate::syntax::go;
use kiln_core::{Diagnostic, Span};

/// The rule.
pub(crate) const RULE: Rule = Rule {
    name: "WorkdirRelativePath",
    description: "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes",
    url: "https://docs.docker.com/go/dockerfile/rule/workdir-relative-path/",
    experimental: false,
};

/// A finding if `path`, expanded, is relative. To be asked for the first WORKDIR of a stage and the stages it stands on.
pub(crate) fn check(path: &str, span: Span) -> Option<Diagnostic> {
    (!path.starts_with('/')).then(|| {
        let message = format!(
            "Relative workdir {} can have unexpected results if the base image changes",
            go::quote(path)
        );
        RULE.finding(message, span).with_help("set an absolute WORKDIR first")
    })
}
