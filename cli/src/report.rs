//! Errors for people: what was attempted, where in the Dockerfile, why it failed, what to do.

use std::error::Error;
use std::fmt::Write as _;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use kiln_core::{Diagnostic, Diagnostics, Severity, SourceFile, Span};
use kiln_registry::Fault;

/// A chain of causes in one line: `export to out.tar: write: No space left on device`.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // A transparent wrapper repeats its cause.
        if !text.ends_with(&cause_text) {
            let _ = write!(text, ": {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// What to do about an error that has a well-known remedy. Wrappers are transparent and some causes are kept as text, so
/// the whole message is where all of them meet; the registry's own faults know better.
pub(crate) fn hint(error: &(dyn Error + 'static), message: &str) -> Option<String> {
    let mut next = Some(error);
    while let Some(cause) = next {
        // Transparent errors leave the registry's own out of the chain, but not what is below it.
        let fault = cause.downcast_ref::<Box<Fault>>().map(|fault| &**fault);
        if let Some(hint) = fault.or(cause.downcast_ref::<Fault>()).and_then(Fault::hint) {
            return Some(hint);
        }
        next = cause.source();
    }
    advice(message).map(str::to_owned)
}

/// What to do about a message that tells of a well-known need.
pub(crate) fn advice(message: &str) -> Option<&'static str> {
    const FULL: &str =
        "free some space, for example with `kiln prune`, or put the store elsewhere with --root";
    const READ_ONLY: &str = "put the store on a writable file system with --root";
    const FILES: &str = "raise the limit of open files (`ulimit -n`)";
    const BROKEN: &str =
        "the disk fails: look at the kernel's log, check the file system, then run `kiln fsck --repair`";
    const FOREIGN: &str = "the program is for another processor, or a script without `#!`: build for this machine's platform, or \
                           register an emulator (package qemu-user-static with binfmt-support)";
    const GROWS: &str = "nothing was kept: it may be made to fill disks, or is broken; ask whoever made it";
    const CONTRADICTS: &str = "nothing was kept: ask whoever pushed the image to push it again";
    let known = [
        ("the archive grows beyond", GROWS),
        ("but the image's configuration says", CONTRADICTS),
        ("(os error 28)", FULL),
        ("(os error 122)", FULL),
        ("database or disk is full", FULL),
        ("(os error 30)", READ_ONLY),
        ("attempt to write a readonly database", READ_ONLY),
        ("(os error 24)", FILES),
        ("(os error 23)", FILES),
        ("(os error 5)", BROKEN),
        ("disk I/O error", BROKEN),
        ("(os error 8)", FOREIGN),
        ("exec format error", FOREIGN),
        ("unpack layer ", CONTRADICTS),
        // SQLite says no more when it may not have one more file.
        (
            "unable to open database file",
            "see that the store may be written, and raise the limit of open files (`ulimit -n`)",
        ),
    ];
    known.into_iter().find(|(text, _)| message.contains(text)).map(|(_, hint)| hint)
}

/// The findings of a Dockerfile, each under its source line.
pub(crate) fn diagnostics(all: &Diagnostics, color: bool) -> String {
    let mut text = String::new();
    for item in &all.items {
        text.push_str(&diagnostic(&all.file, item, color));
        text.push('\n');
    }
    text
}

/// One finding under its source line.
pub(crate) fn diagnostic(file: &SourceFile, item: &Diagnostic, color: bool) -> String {
    let level = match item.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let message = match item.rule {
        Some(rule) => format!("{rule}: {}", item.message),
        None => item.message.clone(),
    };
    let (first_line, excerpt, span) = excerpt(file, item.span);
    let snippet = Snippet::source(excerpt)
        .path(file.name.as_str())
        .line_start(first_line)
        .annotation(AnnotationKind::Primary.span(span));
    let mut groups: Vec<Group<'_>> = vec![level.primary_title(message.as_str()).element(snippet)];
    if let Some(help) = &item.help {
        groups.push(Group::with_title(Level::HELP.secondary_title(help.as_str())));
    }
    renderer(color).render(&groups)
}

/// The instruction of a step that failed, with its line numbers.
pub(crate) fn failed_step(file: &SourceFile, span: Span, message: &str, color: bool) -> String {
    let (first_line, excerpt, span) = excerpt(file, span);
    let snippet = Snippet::source(excerpt)
        .path(file.name.as_str())
        .line_start(first_line)
        .annotation(AnnotationKind::Primary.span(span));
    renderer(color).render(&[Level::ERROR.primary_title(message).element(snippet)])
}

fn renderer(color: bool) -> Renderer {
    if color { Renderer::styled() } else { Renderer::plain() }
}

/// The whole lines around a span, so that a file of any length costs no more than its excerpt: the number of the
/// first line, the text, and the span within it.
fn excerpt(file: &SourceFile, span: Span) -> (usize, &str, std::ops::Range<usize>) {
    let text = &*file.text;
    let start = floor(text, span.start.min(text.len()));
    let end = floor(text, span.end.clamp(start, text.len()));
    // Trailing blanks and line ends are not what is meant.
    let end = start + text[start..end].trim_end().len();
    let from = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let to = text[end..].find('\n').map_or(text.len(), |at| end + at);
    (file.position(from).0, &text[from..to], start - from..end - from)
}

fn floor(text: &str, mut offset: usize) -> usize {
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_finding_stands_under_its_line_with_advice() {
        let file = SourceFile::new("Dockerfile", "FROM a\nCPOY x y\nRUN z\n");
        let item =
            Diagnostic::error("unknown instruction: CPOY", Span::new(7, 11)).with_help("did you mean COPY?");
        expect![[r"
            error: unknown instruction: CPOY
             --> Dockerfile:2:1
              |
            2 | CPOY x y
              | ^^^^
              |
            help: did you mean COPY?"]]
        .assert_eq(&diagnostic(&file, &item, false));
    }

    #[test]
    fn spans_beyond_the_text_do_no_harm() {
        let file = SourceFile::new("Dockerfile", "é");
        let item = Diagnostic::error("x", Span::new(1, 99));
        assert!(diagnostic(&file, &item, false).contains("Dockerfile:1"));
        let empty = SourceFile::new("Dockerfile", "");
        assert!(
            diagnostic(&empty, &Diagnostic::error("no FROM", Span::new(0, 0)), false).contains("no FROM")
        );
    }

    #[test]
    fn causes_stand_in_one_line() {
        #[derive(Debug, thiserror::Error)]
        #[error("write blob")]
        struct Outer(#[source] std::io::Error);
        let error = Outer(std::io::Error::from_raw_os_error(28));
        assert_eq!(chain(&error), "write blob: No space left on device (os error 28)");
        assert!(hint(&error, &chain(&error)).is_some_and(|text| text.contains("prune")));
        assert_eq!(hint(&std::fmt::Error, "it is (os error 2)"), None);
    }
}
