//! Text to tree: lines, then words, then meaning. Every problem is noted and reading goes on.

mod csv;
mod device;
pub(crate) mod directives;
mod flags;
pub(crate) mod go;
mod healthcheck;
mod heredoc;
mod instruction;
mod json;
mod lines;
pub(crate) mod mount;
mod node;
pub(crate) mod suggest;
mod words;

use kiln_core::{Diagnostic, SourceFile, Span, Spanned};

use crate::ast::{Command, Dockerfile, Heredoc, Instruction};
use lines::{Line, Lines, TooLong};

/// The instructions there are.
pub(crate) const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// A tree and what is wrong with its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// As far as it could be understood.
    pub dockerfile: Dockerfile,
    /// All problems, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
}

impl Parsed {
    /// Whether the tree can be built from: no problem is an error.
    pub fn is_sound(&self) -> bool {
        self.diagnostics.iter().all(|problem| problem.severity != kiln_core::Severity::Error)
    }
}

/// Parses a Dockerfile.
pub fn parse(file: &SourceFile) -> Parsed {
    let mut parsed = read(file);
    let Parsed { dockerfile, diagnostics } = &mut parsed;
    if let Some(problem) = dockerfile.directives.syntax.as_ref().and_then(directives::unknown_frontend) {
        // What stands below is in another language: its problems would only hide this one.
        diagnostics.clear();
        diagnostics.push(problem);
        return parsed;
    }
    if dockerfile.instructions.is_empty() && diagnostics.is_empty() {
        let end = file.text.len();
        diagnostics.push(
            Diagnostic::error("file with no instructions", Span::new(end, end))
                .with_help("a Dockerfile begins with FROM"),
        );
    }
    for instruction in dockerfile.head() {
        if !matches!(instruction.command, Command::Arg(_) | Command::Invalid) {
            diagnostics.push(
                Diagnostic::error("no build stage in current context", instruction.span)
                    .with_help("only ARG may stand before the first FROM"),
            );
        }
    }
    diagnostics.sort_by_key(|problem| problem.span.start);
    parsed
}

/// Parses the text of an ONBUILD trigger: instructions that need no FROM before them.
pub fn parse_trigger(file: &SourceFile) -> Parsed {
    read(file)
}

fn read(file: &SourceFile) -> Parsed {
    let (directives, lines, mut diagnostics) = directives::read(&file.text);
    let escape = directives.escape;
    let mut reader = Lines::new(&file.text, escape, lines);
    let mut instructions = Vec::new();
    loop {
        match next(&mut reader, escape, &mut diagnostics) {
            Ok(Some(instruction)) => instructions.push(instruction),
            Ok(None) => break,
            Err(TooLong { span }) => {
                let message = format!("dockerfile line greater than max allowed size of {}", lines::MAX_LINE);
                diagnostics
                    .push(Diagnostic::error(message, span).with_help("break it up with continuations"));
                break;
            }
        }
    }
    Parsed { dockerfile: Dockerfile { file: file.clone(), directives, instructions }, diagnostics }
}

/// The next instruction with its heredocs.
fn next(
    reader: &mut Lines<'_>,
    escape: char,
    problems: &mut Vec<Diagnostic>,
) -> Result<Option<Instruction>, TooLong> {
    let Some(mut line) = reader.logical()? else { return Ok(None) };
    let before = problems.len();
    let comments = std::mem::take(&mut line.comments);
    let mut node = node::read(line.slice(), escape, problems);
    node.comments = comments;
    node.blanks = std::mem::take(&mut line.blanks);
    let heredocs = heredocs(&node, &line, reader, problems);
    node.lines.1 = reader.number();
    node.span.end = node.span.end.max(reader.end());
    node.heredocs = heredocs?;
    if problems.len() == before {
        node.command = instruction::command(&node, problems);
        if let Some(trigger) = &mut node.arguments.trigger {
            // Its own mistakes are told when it is triggered.
            trigger.heredocs.clone_from(&node.heredocs);
            trigger.command = instruction::command(trigger, &mut Vec::new());
        }
    }
    Ok(Some(node))
}

/// Reads the heredocs that `line` begins.
fn heredocs(
    node: &Instruction,
    line: &Line,
    reader: &mut Lines<'_>,
    problems: &mut Vec<Diagnostic>,
) -> Result<Vec<Heredoc>, TooLong> {
    let mut bodies = Vec::new();
    if !line.text.contains("<<") || !takes_heredocs(node) {
        return Ok(bodies);
    }
    let names = match heredoc::in_line(&line.text) {
        Ok(names) => names,
        Err(message) => {
            problems.push(Diagnostic::error(message, line.slice().span()));
            return Ok(bodies);
        }
    };
    for (name, range) in names {
        let span = line.span(range);
        let Some(content) = reader.heredoc(&name.name, name.chomp)? else {
            problems.push(
                Diagnostic::error("unterminated heredoc", span)
                    .with_help(format!("end it with a line that says {} alone", name.name)),
            );
            break;
        };
        let name_word = Spanned::new(name.name, span);
        bodies.push(Heredoc {
            name: name_word,
            content,
            expand: name.expand,
            chomp: name.chomp,
            fd: name.fd,
        });
    }
    Ok(bodies)
}

/// Whether the instruction, or the one that it triggers, may have heredocs.
fn takes_heredocs(node: &Instruction) -> bool {
    let node = match &node.arguments.trigger {
        Some(trigger) if node.keyword.value.eq_ignore_ascii_case("onbuild") => trigger,
        _ => node,
    };
    let keyword = node.keyword.value.as_str();
    ["add", "copy", "run"].iter().any(|k| keyword.eq_ignore_ascii_case(k)) && !node.arguments.json
}
