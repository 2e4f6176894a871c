//! `UndefinedVar`: a variable is used that nothing defines.

use super::Rule;
use crate::spelling;
use kiln_core::{Diagnostic, Span};

/// The rule.
pub(crate) const RULE: Rule = Rule {
    name: "UndefinedVar",
    description: "Variables should be defined before their use",
    url: "https://docs.docker.com/go/dockerfile/rule/undefined-var/",
    experimental: false,
};

/// The finding for `name`, used at `span`, when only `known` are defined.
pub(crate) fn finding<'a>(name: &str, known: impl IntoIterator<Item = &'a str>, span: Span) -> Diagnostic {
    let nearest = spelling::nearest(name, known).map(|near| format!(" (did you mean ${near}?)"));
    RULE.finding(format!("Usage of undefined variable '${name}'{}", nearest.unwrap_or_default()), span)
}
