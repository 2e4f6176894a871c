//! Splitting arguments into words.

use super::lines::Slice;

/// The white space that parts plain words; other kinds are letters.
pub(super) fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

/// Words parted by blanks, quotes meaning nothing.
pub(super) fn plain(text: Slice<'_>) -> Vec<Slice<'_>> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, c) in text.text().char_indices() {
        match (start, is_blank(c)) {
            (None, false) => start = Some(at),
            (Some(from), true) => {
                words.push(text.part(from..at));
                start = None;
            }
            _ => {}
        }
    }
    words.extend(start.map(|from| text.from(from)));
    words
}

/// The first plain word and what follows the blanks behind it, if there are any.
pub(super) fn first(text: Slice<'_>) -> (Slice<'_>, Option<Slice<'_>>) {
    match text.text().find(is_blank) {
        None => (text, None),
        Some(end) => {
            let rest = &text.text()[end..];
            let next = end + (rest.len() - rest.trim_start_matches(is_blank).len());
            (text.part(0..end), Some(text.from(next)))
        }
    }
}

/// Words parted by white space outside quotes; quotes and escapes stay in them.
///
/// An escape character at the very end is dropped from its word.
pub(super) fn quoted(text: Slice<'_>, escape: char) -> Vec<Slice<'_>> {
    let mut words = Vec::new();
    let mut start: Option<usize> = None;
    let mut quote: Option<char> = None;
    let mut chars = text.text().char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let Some(from) = start else {
            if !c.is_whitespace() {
                start = Some(at);
                quote = (c == '\'' || c == '"').then_some(c);
                if c == escape && chars.next().is_none() {
                    start = None;
                }
            }
            continue;
        };
        match quote {
            None if c.is_whitespace() => {
                words.push(text.part(from..at));
                start = None;
            }
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ if c == escape && quote != Some('\'') && chars.next().is_none() => {
                words.push(text.part(from..at));
                start = None;
            }
            _ => {}
        }
    }
    words.extend(start.map(|from| text.from(from)));
    words
}
