//! `LegacyKeyValueFormat`: ENV or LABEL without `=`.

use super::Rule;
use crate::ast::{Command, Instruction};
use kiln_core::Diagnostic;

/// The rule.
pub(crate) const RULE: Rule = Rule {
    name: "LegacyKeyValueFormat",
    description: "Legacy key/value format with whitespace separator should not be used",
    url: "https://docs.docker.com/go/dockerfile/rule/legacy-key-value-format/",
    experimental: false,
};

/// A finding if `instruction` is ENV or LABEL in the form `name value`.
pub(crate) fn check(instruction: &Instruction) -> Option<Diagnostic> {
    let (Command::Env(pairs) | Command::Label(pairs)) = &instruction.command else { return None };
    let pair = pairs.iter().find(|pair| pair.legacy)?;
    let keyword = &instruction.keyword.value;
    let message =
        format!("\"{keyword} key=value\" should be used instead of legacy \"{keyword} key value\" format");
    Some(
        RULE.finding(message, pair.name.span.to(pair.value.span))
            .with_help(format!("write {keyword} {}=…", pair.name.value)),
    )
}
