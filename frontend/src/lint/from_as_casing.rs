//! `FromAsCasing`: FROM and AS differ in case.

use super::Rule;
use crate::ast::{Command, Instruction};
use kiln_core::Diagnostic;

/// The rule.
pub(crate) const RULE: Rule = Rule {
    name: "FromAsCasing",
    description: "The 'as' keyword should match the case of the 'from' keyword",
    url: "https://docs.docker.com/go/dockerfile/rule/from-as-casing/",
    experimental: false,
};

/// A finding if `instruction` writes FROM and AS differently. A FROM of mixed case is another rule's matter.
pub(crate) fn check(instruction: &Instruction) -> Option<Diagnostic> {
    let Command::From(from) = &instruction.command else { return None };
    let written = &from.name.as_ref()?.keyword;
    let keyword = instruction.keyword.value.as_str();
    let expected = match keyword {
        "FROM" => "AS",
        "from" => "as",
        _ => return None,
    };
    (written.value != expected).then(|| {
        let message = format!("'{}' and '{keyword}' keywords' casing do not match", written.value);
        RULE.finding(message, written.span).with_help(format!("write {expected}"))
    })
}
