//! `NoEmptyContinuation`: an empty line within an instruction.

use super::Rule;
use crate::ast::Instruction;
use kiln_core::Diagnostic;

/// The rule.
pub(crate) const RULE: Rule = Rule {
    name: "NoEmptyContinuation",
    description: "Empty continuation lines will become errors in a future release",
    url: "https://docs.docker.com/go/dockerfile/rule/no-empty-continuation/",
    experimental: false,
};

/// A finding if `instruction` has empty lines between its continued ones: one, at the first.
pub(crate) fn check(instruction: &Instruction) -> Option<Diagnostic> {
    let blank = instruction.blanks.first()?;
    Some(
        RULE.finding("Empty continuation line".into(), *blank)
            .with_help("remove the line or make it a comment"),
    )
}
