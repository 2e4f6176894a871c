//! `InvalidDefaultArgInFrom`: a base image needs a build argument to be a name.

use super::Rule;
use kiln_core::{Diagnostic, Span};

/// The rule.
pub(crate) const RULE: Rule = Rule {
    name: "InvalidDefaultArgInFrom",
    description: "Default value for global ARG results in an empty or invalid base image name",
    url: "https://docs.docker.com/go/dockerfile/rule/invalid-default-arg-in-from/",
    experimental: false,
};

/// The finding for the base image `written` at `span`, which is no name with the defaults of its variables.
pub(crate) fn finding(written: &str, span: Span) -> Diagnostic {
    let message = format!("Default value for ARG {written} results in empty or invalid base image name");
    RULE.finding(message, span)
}
