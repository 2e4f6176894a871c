//! One line of comma-separated values, as `--mount` and `--device` are written.

use std::ops::Range;

/// A field: its text without quotes, and the bytes of the line it stood in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    /// Without quotes.
    pub(crate) text: String,
    /// Where in the line, quotes included.
    pub(crate) range: Range<usize>,
}

/// Splits `line` at its commas. A field in double quotes may have commas, and quotes written twice (RFC 4180).
///
/// # Errors
/// A text for people if the quotes make no sense.
pub(crate) fn fields(line: &str) -> Result<Vec<Field>, &'static str> {
    if line.is_empty() {
        return Ok(Vec::new());
    }
    let mut fields = Vec::new();
    let mut start = 0;
    loop {
        let (text, end) = match line[start..].strip_prefix('"') {
            Some(_) => quoted(line, start)?,
            None => {
                let end = line[start..].find(',').map_or(line.len(), |at| start + at);
                if line[start..end].contains('"') {
                    return Err("bare \" in non-quoted field");
                }
                (line[start..end].to_owned(), end)
            }
        };
        fields.push(Field { text, range: start..end });
        if end == line.len() {
            return Ok(fields);
        }
        start = end + 1;
    }
}

/// The text of the quoted field that begins at `start`, and where it ends: at a comma or the end of the line.
fn quoted(line: &str, start: usize) -> Result<(String, usize), &'static str> {
    let mut text = String::new();
    let mut at = start + 1;
    loop {
        let Some(quote) = line[at..].find('"') else {
            return Err("extraneous or missing \" in quoted-field");
        };
        text.push_str(&line[at..at + quote]);
        at += quote + 1;
        match line.as_bytes().get(at) {
            None | Some(b',') => return Ok((text, at)),
            Some(b'"') => {
                text.push('"');
                at += 1;
            }
            Some(_) => return Err("extraneous or missing \" in quoted-field"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(line: &str) -> Result<Vec<String>, &'static str> {
        fields(line).map(|fields| fields.into_iter().map(|f| f.text).collect())
    }

    #[test]
    fn quotes_keep_commas_together() {
        assert_eq!(texts("a=1,b").unwrap(), ["a=1", "b"]);
        assert_eq!(texts(r#""a,b",c,"x""y""#).unwrap(), ["a,b", "c", "x\"y"]);
        assert_eq!(texts("a,,b,").unwrap(), ["a", "", "b", ""]);
        assert_eq!(texts("").unwrap(), Vec::<String>::new());
        assert_eq!(fields("a,é=\u{e9},b").unwrap()[2].range, 8..9);
    }

    #[test]
    fn quotes_out_of_place_are_refused() {
        for bad in [r#"a"b"#, r#""ab"#, r#""a"b"#, r#"x,""#] {
            assert!(fields(bad).is_err(), "{bad}");
        }
    }
}
