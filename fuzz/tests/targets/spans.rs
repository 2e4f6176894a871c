//! Places of a tree.

use kiln_core::{Diagnostic, Span};
use kiln_frontend::ast::{Command, Dockerfile, FileSource, Instruction};

/// Requires that every place of the tree is in its text, between characters.
pub(crate) fn check_tree(file: &Dockerfile) {
    let directives = [&file.directives.syntax, &file.directives.check];
    let mut spans: Vec<Span> = directives.into_iter().flatten().map(|word| word.span).collect();
    file.instructions.iter().for_each(|instruction| collect(instruction, &mut spans));
    spans.into_iter().for_each(|span| check(span, &file.file.text));
}

/// Requires the same of findings.
pub(crate) fn check_findings(findings: &[Diagnostic], text: &str) {
    findings.iter().for_each(|finding| check(finding.span, text));
}

fn check(span: Span, text: &str) {
    assert!(span.start <= span.end && text.get(span.range()).is_some(), "{span:?} is no place of the text");
}

fn collect(instruction: &Instruction, spans: &mut Vec<Span>) {
    spans.extend([instruction.span, instruction.keyword.span, instruction.original.span]);
    spans.extend(instruction.blanks.iter().copied());
    spans.extend(instruction.comments.iter().chain(&instruction.arguments.words).map(|word| word.span));
    for flag in &instruction.flags {
        spans.extend([flag.span, flag.name.span]);
        spans.extend(flag.value.as_ref().map(|word| word.span));
    }
    for heredoc in &instruction.heredocs {
        spans.extend([heredoc.name.span, heredoc.content.span]);
    }
    match &instruction.command {
        Command::Run(run) => {
            for field in run.mounts.iter().flat_map(|mount| &mount.fields) {
                spans.push(field.text.span);
                spans.extend(field.value.as_ref().map(|value| value.span));
            }
            spans.extend(run.devices.iter().map(|device| device.name.span));
        }
        Command::Arg(names) => {
            spans.extend(names.iter().map(|arg| arg.name.span));
            spans.extend(names.iter().filter_map(|arg| arg.default.as_ref()).map(|word| word.span));
        }
        Command::Copy(copy) => spans.extend(copy.files.sources.iter().map(|source| match source {
            FileSource::Path(word) | FileSource::Heredoc { word, .. } => word.span,
        })),
        _ => {}
    }
    if let Some(trigger) = &instruction.arguments.trigger {
        collect(trigger, spans);
    }
}
