//! `StageNameCasing`: a stage is named with capitals.

use super::Rule;
use crate::ast::{Command, Instruction};
use kiln_core::Diagnostic;

/// The rule.
pub(crate) const RULE: Rule = Rule {
    name: "StageNameCasing",
    description: "Stage names should be lowercase",
    url: "https://docs.docker.com/go/dockerfile/rule/stage-name-casing/",
    experimental: false,
};

/// A finding if `instruction` names a stage with capitals.
pub(crate) fn check(instruction: &Instruction) -> Option<Diagnostic> {
    let Command::From(from) = &instruction.command else { return None };
    let name = from.name.as_ref()?;
    (name.written.value != name.name).then(|| {
        RULE.finding(format!("Stage name '{}' should be lowercase", name.written.value), name.written.span)
            .with_help(format!("write {}", name.name))
    })
}
