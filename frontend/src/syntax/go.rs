//! How Go's library reads and quotes values: the texts that a Dockerfile's options have, and the ones in messages.

use std::time::Duration;

/// A text in double quotes as Go's `%q` writes it.
pub(crate) fn quote(text: &str) -> String {
    use std::fmt::Write as _;
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            c if is_printable(c) => quoted.push(c),
            c => {
                let code = u32::from(c);
                let written = match code {
                    0..0x80 => write!(quoted, "\\x{code:02x}"),
                    0x80..0x1_0000 => write!(quoted, "\\u{code:04x}"),
                    _ => write!(quoted, "\\U{code:08x}"),
                };
                written.expect("writing to a string does not fail");
            }
        }
    }
    quoted.push('"');
    quoted
}

/// Letters, marks, numbers, punctuation, symbols and the ASCII blank.
fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    // What the standard library's debug form leaves as it is, is what Go calls printable; a mark counts as such only after
    // another character.
    format!("a{c}").escape_debug().nth(1) == Some(c)
}

/// `1`, `t`, `true` and the like, in the cases Go takes.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Digits of `radix` alone, up to 32 bits.
pub(crate) fn parse_uint32(text: &str, radix: u32) -> Option<u32> {
    if text.is_empty() || !text.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    u32::from_str_radix(text, radix).ok()
}

/// A size with a unit of 1024: `64m`, `1.5 GiB`, `10`.
pub(crate) fn ram_in_bytes(text: &str) -> Option<u64> {
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.')? + 1;
    let (number, suffix) = text.split_at(end);
    let number = number.strip_suffix(' ').unwrap_or(number);
    let suffix = suffix.strip_prefix(' ').unwrap_or(suffix);
    let number: f64 = number.parse().ok().filter(|n: &f64| n.is_finite() && *n >= 0.0)?;
    let suffix = suffix.to_ascii_lowercase();
    let shift = match suffix.as_str() {
        "" | "b" => 0,
        other => {
            let unit = other.strip_suffix("ib").or_else(|| other.strip_suffix('b')).unwrap_or(other);
            ["k", "m", "g", "t", "p"].iter().position(|u| *u == unit)? as u32 * 10 + 10
        }
    };
    // Truncated, as a conversion to an integer does in Go.
    Some((number * 2f64.powi(shift.try_into().ok()?)) as u64)
}

/// A duration such as `1h15m30.5s`.
///
/// # Errors
/// Go's message.
pub(crate) fn parse_duration(text: &str) -> Result<SignedDuration, String> {
    let invalid = || format!("time: invalid duration {}", quote(text));
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(SignedDuration { negative: false, duration: Duration::ZERO });
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(invalid());
        }
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let scale: u128 = match unit {
            "" => return Err(format!("time: missing unit in duration {}", quote(text))),
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(format!("time: unknown unit {} in duration {}", quote(unit), quote(text))),
        };
        // Digits beyond the eighteenth are less than a nanosecond of any unit.
        let fraction = &fraction[..fraction.len().min(18)];
        let parse = |digits: &str| if digits.is_empty() { Some(0) } else { digits.parse::<u128>().ok() };
        let whole = parse(whole).and_then(|n| n.checked_mul(scale)).ok_or_else(invalid)?;
        let part = parse(fraction).ok_or_else(invalid)? * scale / 10u128.pow(fraction.len() as u32);
        nanos = nanos.checked_add(whole + part).filter(|n| *n <= i64::MAX as u128).ok_or_else(invalid)?;
        rest = tail;
    }
    let duration = Duration::from_nanos(u64::try_from(nanos).map_err(|_| invalid())?);
    Ok(SignedDuration { negative: negative && !duration.is_zero(), duration })
}

/// A duration that may be negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SignedDuration {
    /// Whether it is less than zero.
    pub(crate) negative: bool,
    /// How long.
    pub(crate) duration: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_as_go_does() {
        assert_eq!(
            quote("a\"b\\\n\u{1}\u{7f}é\u{200b}\u{301}"),
            "\"a\\\"b\\\\\\n\\x01\\x7fé\\u200b\u{301}\""
        );
        assert_eq!(quote("\u{a0}\u{feff}☃"), "\"\\u00a0\\ufeff☃\"");
    }

    #[test]
    fn durations_have_units() {
        let millis = |text: &str| parse_duration(text).map(|d| d.duration.as_millis());
        assert_eq!(millis("1m30s"), Ok(90_000));
        assert_eq!(millis("1.5s"), Ok(1_500));
        assert_eq!(millis("0"), Ok(0));
        assert_eq!(millis("5"), Err("time: missing unit in duration \"5\"".into()));
        assert_eq!(millis("5d"), Err("time: unknown unit \"d\" in duration \"5d\"".into()));
        for bad in
            ["", "-", "s", ".s", "1..5s", "9999999999999h", "99999999999999999999999999999999999999999h"]
        {
            assert_eq!(millis(bad), Err(format!("time: invalid duration \"{bad}\"")), "{bad}");
        }
        assert!(parse_duration("-1s").unwrap().negative);
    }

    #[test]
    fn sizes_have_units_of_1024() {
        for (text, bytes) in [("10", 10), ("1k", 1024), ("64MB", 64 << 20), ("1.5 GiB", 3 << 29), ("2b", 2)] {
            assert_eq!(ram_in_bytes(text), Some(bytes), "{text}");
        }
        for bad in ["", "x", "-1", "1x", "1  k", "k1"] {
            assert_eq!(ram_in_bytes(bad), None, "{bad}");
        }
    }
}
