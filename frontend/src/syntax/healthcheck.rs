//! `HEALTHCHECK`: its options are durations, never expanded.

use std::time::Duration;

use kiln_core::Diagnostic;

use super::flags::{Flags, Kind};
use super::go;
use super::instruction::command_line_of;
use crate::ast::{Healthcheck, Instruction, Word};

const FLAGS: [(&str, Kind); 5] = [
    ("interval", Kind::Text),
    ("timeout", Kind::Text),
    ("start-period", Kind::Text),
    ("start-interval", Kind::Text),
    ("retries", Kind::Text),
];

/// Understands `node`.
pub(super) fn understand(
    node: &Instruction,
    problems: &mut Vec<Diagnostic>,
) -> Result<Healthcheck, Diagnostic> {
    let Some((kind, command)) = node.arguments.words.split_first() else {
        return Err(Diagnostic::error("HEALTHCHECK requires at least one argument", node.span));
    };
    let name = kind.value.to_uppercase();
    if name == "NONE" {
        // Flags of NONE are not looked at, as in BuildKit.
        if let Some(word) = command.first() {
            return Err(Diagnostic::error("HEALTHCHECK NONE takes no arguments", word.span));
        }
        return Ok(Healthcheck::Disabled);
    }
    let flags = Flags::check(&node.flags, &FLAGS, problems);
    if name != "CMD" {
        let message = format!("Unknown type {} in HEALTHCHECK (try CMD)", go::quote(&name));
        return Err(Diagnostic::error(message, kind.span).with_help("write HEALTHCHECK CMD command"));
    }
    if command.is_empty() {
        return Err(Diagnostic::error("Missing command after HEALTHCHECK CMD", node.span));
    }
    let mut time = |name: &str| match flags.text(name).map(|value| duration(name, &value)) {
        None => Duration::ZERO,
        Some(Ok(duration)) => duration,
        Some(Err(problem)) => {
            problems.push(problem);
            Duration::ZERO
        }
    };
    Ok(Healthcheck::Check {
        interval: time("interval"),
        timeout: time("timeout"),
        start_period: time("start-period"),
        start_interval: time("start-interval"),
        retries: flags.text("retries").map_or(Ok(0), |value| retries(&value))?,
        command: command_line_of(node, command),
    })
}

fn duration(name: &str, word: &Word) -> Result<Duration, Diagnostic> {
    if word.value.is_empty() {
        return Ok(Duration::ZERO);
    }
    let error = |message| {
        Diagnostic::error(message, word.span).with_help("write a number and a unit: 30s, 1m30s, 500ms")
    };
    let parsed = go::parse_duration(&word.value).map_err(error)?;
    if parsed.negative || (!parsed.duration.is_zero() && parsed.duration < Duration::from_millis(1)) {
        return Err(error(format!("Interval {} cannot be less than 1ms", go::quote(name))));
    }
    Ok(parsed.duration)
}

fn retries(word: &Word) -> Result<u32, Diagnostic> {
    let text = word.value.as_str();
    if text.is_empty() {
        return Ok(0);
    }
    let error = |cause: &str| {
        let message = format!("strconv.ParseInt: parsing {}: {cause}", go::quote(text));
        Diagnostic::error(message, word.span).with_help("write a number: --retries=3")
    };
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(error("invalid syntax"));
    }
    let number: i32 = text.parse().map_err(|_| error("value out of range"))?;
    u32::try_from(number)
        .map_err(|_| Diagnostic::error(format!("--retries cannot be negative ({number})"), word.span))
}
