//! Large and hostile Dockerfiles: what they cost grows with their size and no faster, or they are refused.
//!
//! Growth is found by comparing a text with one eight times as long, in processor time of this thread: other work on the machine
//! does not count, and how fast the machine is does not matter.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod world;

use std::fmt::Write as _;
use std::time::Duration;

use kiln_core::{Diagnostics, SourceFile};
use kiln_frontend::{Lowered, Options, call, dump, lint, lower, parse, plan, resolve};
use rustix::time::{ClockId, clock_gettime};
use world::{Images, amd64, ready};

/// Everything that is done with a Dockerfile without a machine.
fn build(text: &str) -> Result<Lowered, Diagnostics> {
    let file = SourceFile::new("Dockerfile", text);
    let parsed = parse(&file);
    dump(&parsed.dockerfile);
    let mut findings = lint::file(&parsed.dockerfile);
    if !parsed.is_sound() {
        return Err(Diagnostics { file, items: parsed.diagnostics });
    }
    let mut options = Options::for_platform(amd64());
    options.all_stages = true;
    let stages = plan(&parsed.dockerfile, &options)?;
    let bases = ready(resolve(&stages, &Images { others: true, ..Images::default() }))?;
    let lowered = lower(&stages, &bases)?;
    findings.extend(lowered.warnings.clone());
    let kept = lint::Checks::of(&parsed.dockerfile, None).unwrap().keep(&parsed.dockerfile, findings);
    call::check(&parsed.dockerfile, &kept).json();
    Ok(lowered)
}

fn cost(text: &str) -> Duration {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
    };
    let begin = now();
    let _ = build(text);
    now() - begin
}

/// Requires that the text of `8 * size` costs no more than three times what it would if it grew evenly; what is quadratic costs
/// eight times that. Tried a few times, for what a cold or crowded cache does.
#[track_caller]
fn check_growth(size: usize, text: impl Fn(usize) -> String) {
    let (small, large) = (text(size), text(8 * size));
    let mut ratios = Vec::new();
    for _ in 0..4 {
        let few = cost(&small).min(cost(&small)).max(Duration::from_micros(500));
        ratios.push(cost(&large).as_secs_f64() / few.as_secs_f64());
        if ratios.last().unwrap() < &24.0 {
            return;
        }
    }
    panic!(
        "eight times the text costs {ratios:.0?} times as much: {:.60}…",
        small.escape_debug().to_string()
    );
}

/// `head`, then a line for each number.
fn lines(head: &str, count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).fold(format!("{head}\n"), |mut text, n| {
        writeln!(text, "{}", line(n)).unwrap();
        text
    })
}

#[test]
fn independent_stages() {
    check_growth(500, |count| lines("", count, |n| format!("FROM busybox AS s{n}\nRUN a")));
}

#[test]
fn stages_that_stand_on_each_other() {
    check_growth(500, |count| {
        lines("FROM busybox AS s0", count, |n| format!("FROM s{n} AS s{}\nRUN a", n + 1))
    });
}

#[test]
fn stages_that_copy_from_each_other() {
    check_growth(500, |count| {
        lines("FROM busybox AS s0", count, |n| format!("FROM busybox AS s{}\nCOPY --from=s{n} /a /b", n + 1))
    });
}

#[test]
fn stages_of_one_name() {
    check_growth(500, |count| lines("", count, |_| "FROM busybox AS s".to_owned()));
}

#[test]
fn comments() {
    check_growth(10_000, |count| lines("FROM scratch", count, |_| "# nothing to see here".to_owned()));
}

#[test]
fn one_instruction_of_many_lines() {
    check_growth(5_000, |count| format!("FROM x\nRUN a {}", "\\\n && b c d e f".repeat(count)));
}

#[test]
fn comments_within_an_instruction() {
    check_growth(5_000, |count| format!("FROM x\nRUN a \\\n{}b", "# c\n\n".repeat(count)));
}

#[test]
fn pairs_of_one_instruction() {
    check_growth(1_000, |count| {
        format!("FROM x\nENV {}", lines("\\", count, |n| format!("a{n}=b \\")).trim_end_matches(['\\', '\n']))
    });
    check_growth(1_000, |count| {
        format!(
            "FROM x\nLABEL {}",
            lines("\\", count, |n| format!("a{n}=b \\")).trim_end_matches(['\\', '\n'])
        )
    });
}

#[test]
fn instructions_of_each_kind() {
    let kinds: [fn(usize) -> String; 12] = [
        |n| format!("ARG a{n}=b"),
        |n| format!("LABEL a{n}=b"),
        |n| format!("EXPOSE {}", n % 60_000 + 1),
        |n| format!("VOLUME /a{n}"),
        |n| format!("USER a{n}"),
        |n| format!("WORKDIR /a{n}"),
        |n| format!("COPY a{n} /b{n}/"),
        |n| format!("ADD http://a/{n} /b"),
        |n| format!("CMD a{n}"),
        |n| format!("ONBUILD RUN a{n}"),
        |n| format!("COPY <<A <<B /x\n{n}\nA\nB"),
        |n| format!("RUN --mount=type=cache,target=/a{n} --mount=type=secret,id=s{n} b"),
    ];
    for line in kinds {
        check_growth(300, |count| lines("FROM scratch", count, line));
    }
}

#[test]
fn findings_of_each_kind() {
    let kinds: [fn(usize) -> String; 6] = [
        |n| format!("RUN --mont=x{n} z"),
        |n| format!("FORM x{n}"),
        |n| format!("COPY $a{n} /"),
        |n| format!("WORKDIR /\nWORKDIR a{n}"),
        |n| format!("ENV a{n} b"),
        |n| format!("CMD a{n}"),
    ];
    for line in kinds {
        check_growth(300, |count| lines("FROM scratch", count, line));
    }
}

#[test]
fn sources_of_one_copy() {
    check_growth(1_000, |count| {
        format!(
            "FROM scratch\nCOPY {} /x/",
            lines("\\", count, |n| format!("a{n} \\")).trim_end_matches(['\\', '\n'])
        )
    });
}

#[test]
fn words_with_many_variables() {
    for word in ["$a", "${a:-b}", "${a/b/c}", "${u}", "'a'", "\"$a\"", "${a#*b}"] {
        check_growth(700, |count| format!("FROM scratch\nARG a=abc\nWORKDIR /{}", word.repeat(count)));
    }
}

#[test]
fn heredocs() {
    check_growth(1_000, |count| format!("FROM x\n{}", "COPY <<A <<B /x\nA\nB\n".repeat(count)));
    check_growth(10_000, |count| format!("FROM x\nRUN <<EOF\n{}", "RUN <<EOF\n".repeat(count)));
    check_growth(1_000, |count| {
        format!("FROM x\nCOPY <<EOF /a\n{}EOF\n", "$HOME ${a:-b} \\$c\n".repeat(count))
    });
}

#[test]
fn variables_that_double_are_refused() {
    for line in ["ENV a=$a$a", "ARG a=$a$a", "WORKDIR $a\nENV a=$a$a", "LABEL a$a=b\nENV a=$a$a"] {
        let text = lines("FROM scratch\nENV a=aaaaaaaaaaaaaaaa", 40, |_| line.to_owned());
        let error = build(&text).unwrap_err().to_string();
        assert!(error.contains("bytes"), "{line}: {error}");
    }
}

#[test]
fn what_each_step_takes_along_is_bounded() {
    let long = "\\\nabcdefgh".repeat(20_000);
    for text in [
        lines("FROM scratch", 5_000, |_| "WORKDIR aaaaaaaaaaaaaaaaaaaa".to_owned()),
        lines(&format!("FROM scratch\nWORKDIR /{long}"), 5_000, |_| "COPY a b".to_owned()),
        lines(&format!("FROM scratch\nUSER {long}"), 5_000, |_| "RUN a".to_owned()),
        lines(&format!("FROM scratch\nSHELL [\"{long}\"]"), 5_000, |_| "RUN a".to_owned()),
        lines(&format!("FROM scratch AS s0\nLABEL a={long}"), 5_000, |n| {
            format!("FROM s0 AS s{}\nRUN a", n + 1)
        }),
    ] {
        let error = build(&text).unwrap_err().to_string();
        assert!(error.contains("bytes"), "{error}");
    }
}

#[test]
fn a_line_of_a_megabyte_is_refused() {
    for line in [format!("RUN {}", "a".repeat(1 << 20)), format!("WORKDIR /{}", "${a:-".repeat(200_000))] {
        let error = build(&format!("FROM x\n{line}\n")).unwrap_err();
        assert!(
            error.items[0].message.starts_with("dockerfile line greater than max allowed size"),
            "{error}"
        );
    }
}

#[test]
fn deep_nesting_is_refused() {
    for (open, close) in [("${a:-", "}"), ("\"${a:-", "}\""), ("${a:+x${b:-", "}}"), ("${a:-\\\n", "}")] {
        let text = format!("FROM x\nWORKDIR /{}{}\n", open.repeat(5_000), close.repeat(5_000));
        let error = build(&text).unwrap_err().to_string();
        assert!(error.contains("nested more than"), "{error}");
    }
}
