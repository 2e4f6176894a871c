//! `InvalidDefinitionDescription`: a comment above ARG or FROM that does not describe it.

use super::Rule;
use crate::ast::{Command, Instruction};
use kiln_core::Diagnostic;

/// The rule.
pub(crate) const RULE: Rule = Rule {
    name: "InvalidDefinitionDescription",
    description: "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment.",
    url: "https://docs.docker.com/go/dockerfile/rule/invalid-definition-description/",
    experimental: true,
};

/// A finding if the last comment line above an ARG or a named FROM does not begin with its name.
pub(crate) fn check(instruction: &Instruction) -> Option<Diagnostic> {
    let (keyword, names): (&str, Vec<&str>) = match &instruction.command {
        Command::From(from) => ("FROM", vec![from.name.as_ref()?.name.as_str()]),
        Command::Arg(names) => ("ARG", names.iter().map(|arg| arg.name.value.as_str()).collect()),
        _ => return None,
    };
    let comment = instruction.comments.last()?;
    let first = comment.value.split(' ').next().unwrap_or_default();
    if names.contains(&first) {
        return None;
    }
    let example = match names.as_slice() {
        [name] => name,
        _ => "<arg_key>",
    };
    let message = format!("Comment for {keyword} should follow the format: `# {example} <description>`");
    let help = "put an empty comment line between them if it is no description";
    // The instruction is what BuildKit points at; the comment's bytes stand outside of it.
    Some(RULE.finding(message, instruction.keyword.span).with_help(help))
}
