//! `FromPlatformFlagConstDisallowed`: `--platform` is a constant.

use super::Rule;
use crate::syntax::go;
use kiln_core::{Diagnostic, Platform, Span};

/// The rule.
pub(crate) const RULE: Rule = Rule {
    name: "FromPlatformFlagConstDisallowed",
    description: "FROM --platform flag should not use a constant value",
    url: "https://docs.docker.com/go/dockerfile/rule/from-platform-flag-const-disallowed/",
    experimental: false,
};

/// A finding if `value`, in which nothing was expanded, is a platform that the stage's name does not speak of.
pub(crate) fn check(value: &str, stage: &str, span: Span) -> Option<Diagnostic> {
    let platform: Platform = value.parse().ok()?;
    (!stage.contains(&platform.os) && !stage.contains(&platform.architecture)).then(|| {
        let message = format!("FROM --platform flag should not use constant value {}", go::quote(value));
        RULE.finding(message, span)
    })
}
