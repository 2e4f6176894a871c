//! The rules that depend on what a stage has learnt so far.

use kiln_core::{Diagnostic, Span};

use super::{
    expose_invalid_format, expose_proto_casing, json_args_recommended, legacy_key_value_format,
    multiple_instructions_disallowed, secrets_used_in_arg_or_env, workdir_relative_path,
};
use crate::ast::{Command, Instruction, Word};

/// What the rules remember of a stage while its instructions go by.
#[derive(Debug, Clone, Default)]
pub(crate) struct StageChecks {
    /// Whether SHELL is set, here or below.
    has_shell: bool,
    /// Whether a WORKDIR of this Dockerfile is set, here or below.
    has_workdir: bool,
    /// The latest CMD, ENTRYPOINT and HEALTHCHECK of this stage.
    last: [Option<Span>; 3],
}

impl StageChecks {
    /// Begins a stage that stands on an image; `has_shell` is what its configuration says.
    pub(crate) fn on_image(has_shell: bool) -> Self {
        Self { has_shell, ..Self::default() }
    }

    /// Begins a stage that stands on the stage `below`.
    pub(crate) fn on_stage(below: &Self) -> Self {
        Self { last: [None; 3], ..below.clone() }
    }

    /// The findings of the next instruction of the stage, as far as its text tells. Paths and ports come expanded, each by
    /// [`StageChecks::workdir`], [`StageChecks::port`].
    pub(crate) fn instruction(&mut self, instruction: &Instruction) -> Vec<Diagnostic> {
        let mut findings = Vec::new();
        findings.extend(legacy_key_value_format::check(instruction));
        findings.extend(json_args_recommended::check(instruction, self.has_shell));
        let single = match &instruction.command {
            Command::Cmd(_) => Some(0),
            Command::Entrypoint(_) => Some(1),
            Command::Healthcheck(_) => Some(2),
            _ => None,
        };
        if let Some(kind) = single
            && let Some(earlier) = self.last[kind].replace(instruction.keyword.span)
        {
            findings.push(multiple_instructions_disallowed::finding(&instruction.keyword.value, earlier));
        }
        match &instruction.command {
            Command::Shell(_) => self.has_shell = true,
            Command::Arg(names) => {
                let secret = |name: &Word| secrets_used_in_arg_or_env::check("ARG", &name.value, name.span);
                findings.extend(names.iter().filter_map(|arg| secret(&arg.name)));
            }
            Command::Env(pairs) => {
                let secret = |name: &Word| secrets_used_in_arg_or_env::check("ENV", &name.value, name.span);
                findings.extend(pairs.iter().filter_map(|pair| secret(&pair.name)));
            }
            _ => {}
        }
        findings
    }

    /// The finding of a WORKDIR whose expanded path is `path`.
    pub(crate) fn workdir(&mut self, path: &str, span: Span) -> Option<Diagnostic> {
        let first = !std::mem::replace(&mut self.has_workdir, true);
        if first { workdir_relative_path::check(path, span) } else { None }
    }

    /// The findings of one expanded port of EXPOSE.
    pub(crate) fn port(port: &str, span: Span) -> impl Iterator<Item = Diagnostic> {
        expose_proto_casing::check(port, span).into_iter().chain(expose_invalid_format::check(port, span))
    }
}
