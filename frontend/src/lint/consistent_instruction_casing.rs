//! `ConsistentInstructionCasing`: an instruction is not written in the case of most.

use super::Rule;
use crate::ast::{Dockerfile, Instruction};
use kiln_core::Diagnostic;

/// The rule.
pub(crate) const RULE: Rule = Rule {
    name: "ConsistentInstructionCasing",
    description: "All commands within the Dockerfile should use the same casing (either upper or lower)",
    url: "https://docs.docker.com/go/dockerfile/rule/consistent-instruction-casing/",
    experimental: false,
};

/// A finding for each instruction of a stage that is not in the case that most of them are in. Upper case wins a draw.
pub(crate) fn check(file: &Dockerfile) -> Vec<Diagnostic> {
    let instructions = &file.instructions[file.head().len()..];
    let is_lower = |i: &Instruction| i.keyword.value == i.keyword.value.to_lowercase();
    let is_upper = |i: &Instruction| i.keyword.value == i.keyword.value.to_uppercase();
    let lower = instructions.iter().filter(|i| is_lower(i)).count();
    let upper = instructions.iter().filter(|i| is_upper(i)).count();
    let majority_is_lower = lower > upper;
    let odd = instructions.iter().filter(|i| if majority_is_lower { !is_lower(i) } else { !is_upper(i) });
    odd.map(|instruction| {
        let word = &instruction.keyword;
        let (case, better) = if majority_is_lower {
            ("lowercase", word.value.to_lowercase())
        } else {
            ("uppercase", word.value.to_uppercase())
        };
        let message =
            format!("Command '{}' should match the case of the command majority ({case})", word.value);
        RULE.finding(message, word.span).with_help(format!("write {better}"))
    })
    .collect()
}
