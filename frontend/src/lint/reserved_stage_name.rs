//! `ReservedStageName`: a stage has a name that means something else.

use super::Rule;
use crate::ast::{Command, Instruction};
use crate::syntax::go;
use kiln_core::Diagnostic;

/// The rule.
pub(crate) const RULE: Rule = Rule {
    name: "ReservedStageName",
    description: "Reserved words should not be used as stage names",
    url: "https://docs.docker.com/go/dockerfile/rule/reserved-stage-name/",
    experimental: false,
};

/// A finding if `instruction` names a stage `scratch` or `context`.
pub(crate) fn check(instruction: &Instruction) -> Option<Diagnostic> {
    let Command::From(from) = &instruction.command else { return None };
    let name = from.name.as_ref()?;
    ["context", "scratch"].contains(&name.name.as_str()).then(|| {
        let message =
            format!("Stage name should not use the same name as reserved stage {}", go::quote(&name.name));
        RULE.finding(message, name.written.span)
    })
}
