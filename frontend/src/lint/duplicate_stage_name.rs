//! `DuplicateStageName`: two stages have one name.

use super::Rule;
use std::collections::HashSet;

use crate::ast::{Command, Dockerfile};
use crate::syntax::go;
use kiln_core::Diagnostic;

/// The rule.
pub(crate) const RULE: Rule = Rule {
    name: "DuplicateStageName",
    description: "Stage names should be unique",
    url: "https://docs.docker.com/go/dockerfile/rule/duplicate-stage-name/",
    experimental: false,
};

/// A finding for each stage whose name an earlier one has.
pub(crate) fn check(file: &Dockerfile) -> Vec<Diagnostic> {
    let mut seen = HashSet::new();
    let mut findings = Vec::new();
    for instruction in &file.instructions {
        let Command::From(from) = &instruction.command else { continue };
        let Some(name) = &from.name else { continue };
        if !seen.insert(name.name.as_str()) {
            let message =
                format!("Duplicate stage name {}, stage names should be unique", go::quote(&name.name));
            findings.push(RULE.finding(message, name.written.span));
        }
    }
    findings
}
