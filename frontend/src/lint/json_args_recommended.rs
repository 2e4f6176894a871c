//! `JSONArgsRecommended`: CMD or ENTRYPOINT goes through a shell.

use super::Rule;
use crate::ast::{Command, CommandLine, Instruction};
use kiln_core::Diagnostic;

/// The rule.
pub(crate) const RULE: Rule = Rule {
    name: "JSONArgsRecommended",
    description: "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
    url: "https://docs.docker.com/go/dockerfile/rule/json-args-recommended/",
    experimental: false,
};

/// A finding if `instruction` is CMD or ENTRYPOINT in shell form. Where SHELL is set (`has_shell`), by the stage or by what it
/// stands on, someone wants the shell.
pub(crate) fn check(instruction: &Instruction, has_shell: bool) -> Option<Diagnostic> {
    let (Command::Cmd(CommandLine::Shell(text)) | Command::Entrypoint(CommandLine::Shell(text))) =
        &instruction.command
    else {
        return None;
    };
    (!has_shell).then(|| {
        let message = format!(
            "JSON arguments recommended for {} to prevent unintended behavior related to OS signals",
            instruction.keyword.value
        );
        RULE.finding(message, text.span)
            .with_help(format!("write {} [\"command\", \"argument\"]", instruction.keyword.value))
    })
}
