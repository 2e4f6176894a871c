//! Where a piece of a source text stands.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// A text with a name: a Dockerfile, an ignore file, an ONBUILD trigger of a base image.
#[derive(Clone)]
pub struct SourceFile {
    /// What people call it: `Dockerfile`, `docker/app.Dockerfile`, `<stdin>`.
    pub name: String,
    /// Its text, as read.
    pub text: Arc<str>,
    /// Where its lines begin, once somebody has asked: a text may have as many findings as lines.
    lines: Arc<OnceLock<Vec<usize>>>,
}

impl PartialEq for SourceFile {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.text == other.text
    }
}

impl Eq for SourceFile {}

impl fmt::Debug for SourceFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceFile").field("name", &self.name).field("text", &self.text).finish()
    }
}

impl SourceFile {
    /// A named text.
    pub fn new(name: impl Into<String>, text: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), text: text.into(), lines: Arc::default() }
    }

    /// How many lines it has, one at least: what follows the last line end is one, though it be empty.
    pub fn lines(&self) -> usize {
        self.starts().len()
    }

    /// The text of a line (from 1), without its end; nothing for one that it does not have.
    pub fn line(&self, number: usize) -> Option<&str> {
        let starts = self.starts();
        let start = *starts.get(number.checked_sub(1)?)?;
        let end = starts.get(number).map_or(self.text.len(), |next| next - 1);
        Some(&self.text[start..end])
    }

    fn starts(&self) -> &[usize] {
        let ends = || self.text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        self.lines.get_or_init(|| std::iter::once(0).chain(ends().map(|(at, _)| at + 1)).collect())
    }

    /// The line (from 1) and the column (from 1, in characters) of a byte offset.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let starts = self.starts();
        let line = starts.partition_point(|&start| start <= offset);
        (line, self.text[starts[line - 1]..offset].chars().count() + 1)
    }
}

/// A range of bytes in a [`SourceFile`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// The bytes from `start` up to `end`.
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end: end.max(start) }
    }

    /// The smallest span that has both.
    #[must_use]
    pub fn to(self, other: Span) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// As a range for slicing.
    pub fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// A value and its place.
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_not_bytes() {
        let file = SourceFile::new("Dockerfile", "FROM a\nRUN é x\n");
        assert_eq!(file.position(0), (1, 1));
        assert_eq!(file.position(7), (2, 1));
        assert_eq!(file.position("FROM a\nRUN é ".len()), (2, 7));
        assert_eq!(file.position(999), (3, 1));
    }

    #[test]
    fn lines_are_parted_by_their_ends() {
        let file = SourceFile::new("Dockerfile", "\na\r\n\nb");
        assert_eq!(
            (1..=file.lines()).map(|n| file.line(n).unwrap()).collect::<Vec<_>>(),
            ["", "a\r", "", "b"]
        );
        assert_eq!((file.line(0), file.line(5)), (None, None));
        assert_eq!(SourceFile::new("x", "").line(1), Some(""));
    }
}
