//! The parser against texts that nobody would write: it answers, and points into the text. What large ones cost, `growth.rs` asks.

use kiln_core::{SourceFile, Span};
use kiln_frontend::ast::{Command, Dockerfile, FileSource, Instruction, parse_mount};
use kiln_frontend::{Parsed, dump, parse};
use proptest::prelude::*;

fn parse_text(text: &str) -> Parsed {
    parse(&SourceFile::new("Dockerfile", text))
}

/// Every place of the tree.
fn spans(file: &Dockerfile) -> Vec<Span> {
    let directives = [&file.directives.syntax, &file.directives.check];
    let mut spans: Vec<Span> = directives.into_iter().flatten().map(|word| word.span).collect();
    file.instructions.iter().for_each(|instruction| collect(instruction, &mut spans));
    spans
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
            let fields = run.mounts.iter().flat_map(|mount| &mount.fields);
            spans
                .extend(fields.flat_map(|f| [Some(f.text.span), f.value.as_ref().map(|v| v.span)]).flatten());
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

fn check_places(text: &str) {
    let Parsed { dockerfile, diagnostics } = parse_text(text);
    let places = spans(&dockerfile).into_iter().chain(diagnostics.iter().map(|d| d.span));
    for span in places {
        assert!(span.start <= span.end && text.get(span.range()).is_some(), "{span:?} in {text:?}");
    }
    dump(&dockerfile);
}

/// Texts of pieces that mean something to the parser.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "FROM",
        "RUN",
        "COPY",
        "ADD",
        "ENV",
        "ARG",
        "LABEL",
        "ONBUILD",
        "HEALTHCHECK",
        "CMD",
        "SHELL",
        "VOLUME",
        " ",
        " ",
        "\n",
        "\n",
        "\r\n",
        "\\\n",
        "`\n",
        "\\",
        "`",
        "\t",
        "#",
        "# escape=`\n",
        "# check=skip=all\n",
        "<<",
        "<<-",
        "<<EOF",
        "EOF",
        "\nEOF\n",
        "3<<'E O'",
        "\"",
        "'",
        "$",
        "${",
        "}",
        ":-",
        "[",
        "]",
        "\"a\"",
        ",",
        "{}",
        "--",
        "--from=x",
        "--mount=type=cache,target=/x",
        "--chmod='7\"",
        "=",
        "a",
        "é",
        "\u{1f600}",
        "\u{feff}",
        "\u{2028}",
        "\u{a0}",
        "\u{0}",
        "as",
        "AS b",
        "\\u12",
        "NONE",
        "--interval=1s",
        "--device=a,required",
        "\u{301}",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn places_are_in_the_text_whatever_it_is(text in pieces()) {
        check_places(&text);
    }

    #[test]
    fn noise_is_survived(text in any::<String>()) {
        check_places(&text);
        check_places(&format!("FROM x\nRUN --mount={text}"));
    }

    #[test]
    fn mounts_survive_noise(text in "[a-z=,\"$ \\x00-\\x7f]{0,40}") {
        let _ = parse_mount(&text);
    }
}

#[test]
fn deep_nesting_ends() {
    for (open, close) in [("${a:-", "}"), ("[", "]"), ("\"${a:-", "}\""), ("ONBUILD ", "")] {
        let text = format!("FROM x\nRUN <<EOF {}\\\n{} \nEOF\n", open.repeat(9_000), close.repeat(9_000));
        check_places(&text);
        check_places(&format!("FROM x\n{}RUN x{}\n", open.repeat(8_000), close.repeat(8_000)));
    }
    check_places(&format!("FROM x\nCMD {}{}\n", "[".repeat(30_000), "]".repeat(30_000)));
    check_places(&format!("FROM x\nCMD {}", "[\\\n".repeat(300_000)));
}
