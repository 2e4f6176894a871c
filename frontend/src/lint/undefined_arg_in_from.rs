//! `UndefinedArgInFrom`: FROM uses a variable that no ARG before it declares.

use super::Rule;
use crate::spelling;
use kiln_core::{Diagnostic, Span};

/// The rule.
pub(crate) const RULE: Rule = Rule {
    name: "UndefinedArgInFrom",
    description: "FROM command must use declared ARGs",
    url: "https://docs.docker.com/go/dockerfile/rule/undefined-arg-in-from/",
    experimental: false,
};

/// The finding for `name`, used at `span`, when only `known` are declared.
pub(crate) fn finding<'a>(name: &str, known: impl IntoIterator<Item = &'a str>, span: Span) -> Diagnostic {
    let nearest = spelling::nearest(name, known).map(|near| format!(" (did you mean {near}?)"));
    RULE.finding(format!("FROM argument '{name}' is not declared{}", nearest.unwrap_or_default()), span)
}
