//! Physical lines to logical ones: continuations joined, comments taken out, and a map back to the bytes of the file.

use std::ops::Range;

use kiln_core::{Span, Spanned};

use crate::ast::Word;

/// The longest line that BuildKit reads, in bytes without the newline.
pub(super) const MAX_LINE: usize = 65_535;

/// A logical line.
#[derive(Debug)]
pub(super) struct Line {
    /// The text, continuations joined.
    pub(super) text: String,
    /// Where the pieces of `text` came from: offset in it, offset in the file; ascending. Never empty.
    pieces: Vec<(usize, usize)>,
    /// The first and the last physical line, from 1.
    pub(super) lines: (usize, usize),
    /// The comments above.
    pub(super) comments: Vec<Word>,
    /// The empty lines within.
    pub(super) blanks: Vec<Span>,
}

impl Line {
    /// The bytes of the file that `range` of the text was made from.
    pub(super) fn span(&self, range: Range<usize>) -> Span {
        if range.is_empty() {
            let at = self.file_offset(range.start);
            return Span::new(at, at);
        }
        Span::new(self.file_offset(range.start), self.file_offset(range.end - 1) + 1)
    }

    fn file_offset(&self, at: usize) -> usize {
        let index = self.pieces.partition_point(|piece| piece.0 <= at);
        let (text, file) = self.pieces[index.saturating_sub(1)];
        file + (at - text)
    }

    /// All of it.
    pub(super) fn slice(&self) -> Slice<'_> {
        Slice { line: self, start: 0, end: self.text.len() }
    }
}

/// A part of a logical line that knows where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slice<'a> {
    pub(super) line: &'a Line,
    start: usize,
    end: usize,
}

impl<'a> Slice<'a> {
    /// Its text.
    pub(super) fn text(self) -> &'a str {
        &self.line.text[self.start..self.end]
    }

    /// Where it stands in the file.
    pub(super) fn span(self) -> Span {
        self.line.span(self.start..self.end)
    }

    /// A part of it, by offsets within it.
    pub(super) fn part(self, range: Range<usize>) -> Slice<'a> {
        Slice { line: self.line, start: self.start + range.start, end: self.start + range.end }
    }

    /// The part from `at` on.
    pub(super) fn from(self, at: usize) -> Slice<'a> {
        self.part(at..self.end - self.start)
    }

    /// Without white space at both ends.
    pub(super) fn trim(self) -> Slice<'a> {
        let text = self.text();
        let front = text.len() - text.trim_start().len();
        self.part(front..front + text.trim().len())
    }

    /// Its text and place.
    pub(super) fn word(self) -> Word {
        Spanned::new(self.text().to_owned(), self.span())
    }
}

/// A physical line.
#[derive(Debug, Clone, Copy)]
struct Physical<'a> {
    /// Without the newline.
    text: &'a str,
    /// Its first byte in the file.
    start: usize,
}

/// A line that is too long: there is no reading on after it.
#[derive(Debug)]
pub(super) struct TooLong {
    /// The line.
    pub(super) span: Span,
}

/// Reads the lines of a Dockerfile.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    text: &'a str,
    /// Where the next line begins.
    at: usize,
    /// How many lines were read.
    number: usize,
    /// The character that continues a line.
    escape: char,
    /// How many lines at the top are directives: they are no comments.
    directives: usize,
    /// The comments seen since the last instruction.
    comments: Vec<Word>,
}

impl<'a> Lines<'a> {
    /// Reads `text`, whose first `directives` lines are parser directives.
    pub(super) fn new(text: &'a str, escape: char, directives: usize) -> Self {
        let at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Self { text, at, number: 0, escape, directives, comments: Vec::new() }
    }

    /// How many lines were read.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// One past the last byte that was read, without the newline.
    pub(super) fn end(&self) -> usize {
        self.text[..self.at].trim_end_matches(['\r', '\n']).len()
    }

    fn physical(&mut self) -> Result<Option<Physical<'a>>, TooLong> {
        if self.at >= self.text.len() {
            return Ok(None);
        }
        let start = self.at;
        let rest = &self.text[start..];
        let (length, next) = rest.find('\n').map_or((rest.len(), rest.len()), |at| (at, at + 1));
        if length > MAX_LINE {
            return Err(TooLong { span: Span::new(start, start + length) });
        }
        self.at += next;
        self.number += 1;
        Ok(Some(Physical { text: &rest[..length], start }))
    }

    /// The next logical line that is not empty.
    pub(super) fn logical(&mut self) -> Result<Option<Line>, TooLong> {
        loop {
            let Some(first) = self.physical()? else { return Ok(None) };
            let first_number = self.number;
            if is_comment(first.text) {
                if first_number > self.directives {
                    self.comment(first);
                }
                continue;
            }
            let stripped = first.text.trim_end_matches('\r').trim_start();
            let start = first.start + (first.text.len() - first.text.trim_start().len());
            let (content, mut continued) = self.continuation(stripped);
            if !continued && content.is_empty() {
                continue;
            }
            let mut line = Line {
                text: content.to_owned(),
                pieces: vec![(0, start)],
                lines: (first_number, first_number),
                comments: std::mem::take(&mut self.comments),
                blanks: Vec::new(),
            };
            while continued {
                let Some(next) = self.physical()? else { break };
                if is_comment(next.text) {
                    continue;
                }
                let stripped = next.text.trim_end_matches('\r');
                if stripped.trim_start().is_empty() {
                    line.blanks.push(Span::new(next.start, next.start + next.text.len()));
                    continue;
                }
                let (content, more) = self.continuation(stripped);
                continued = more;
                if !content.is_empty() {
                    line.pieces.push((line.text.len(), next.start));
                    line.text.push_str(content);
                }
            }
            line.lines.1 = self.number;
            return Ok(Some(line));
        }
    }

    /// Takes note of a comment line. An empty comment parts what is above from what is below; an empty line does not.
    fn comment(&mut self, line: Physical<'a>) {
        // Only an unindented `#` is taken off, as BuildKit has it: `  # x` above an instruction does not describe it.
        let body = &line.text[line.text.chars().next().map_or(0, char::len_utf8)..];
        let trimmed = body.trim();
        if trimmed.is_empty() {
            self.comments.clear();
            return;
        }
        let start = line.start + (line.text.len() - body.trim_start().len());
        self.comments.push(Spanned::new(trimmed.to_owned(), Span::new(start, start + trimmed.len())));
    }

    /// The line without its continuation character, and whether it had one.
    fn continuation<'t>(&self, line: &'t str) -> (&'t str, bool) {
        let trimmed = line.trim_end_matches([' ', '\t']);
        match trimmed.strip_suffix(self.escape) {
            // Two of them are an escaped one.
            Some(before) if !before.ends_with(self.escape) => (before, true),
            _ => (line, false),
        }
    }

    /// The lines up to one that says `name`; `None` if there is none up to the end of the file.
    pub(super) fn heredoc(&mut self, name: &str, chomp: bool) -> Result<Option<Word>, TooLong> {
        let start = self.at;
        while let Some(line) = self.physical()? {
            let mut text = line.text.trim_end_matches('\r');
            if chomp {
                text = text.trim_start_matches('\t');
            }
            if text == name {
                let span = Span::new(start, line.start);
                return Ok(Some(Spanned::new(self.text[span.range()].to_owned(), span)));
            }
        }
        Ok(None)
    }
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<Line> {
        let mut reader = Lines::new(text, '\\', 0);
        std::iter::from_fn(|| reader.logical().unwrap()).collect()
    }

    #[test]
    fn continuations_are_joined_and_mapped_back() {
        let text = "RUN a \\\n# no\n\n  b\\ \t\n c \\\\\nX\n";
        let lines = lines(text);
        assert_eq!(lines[0].text, "RUN a   b c \\\\");
        assert_eq!(lines[0].lines, (1, 5));
        assert_eq!(lines[0].blanks.len(), 1);
        let at = lines[0].text.find('c').unwrap();
        assert_eq!(&text[lines[0].span(at..at + 1).range()], "c");
        let at = lines[0].text.find('b').unwrap();
        assert_eq!(&text[lines[0].span(at..at + 1).range()], "b");
        assert_eq!(lines[1].text, "X");
    }

    #[test]
    fn comments_belong_to_what_follows() {
        let lines = lines("# a\n\n# b\nFROM x\n# c\n#\n# d\nRUN y");
        let texts = |line: &Line| line.comments.iter().map(|c| c.value.clone()).collect::<Vec<_>>();
        assert_eq!(texts(&lines[0]), ["a", "b"]);
        assert_eq!(texts(&lines[1]), ["d"]);
    }

    #[test]
    fn a_byte_order_mark_and_carriage_returns_are_no_text() {
        let lines = lines("\u{feff}FROM a\\\r\n b\r\n");
        assert_eq!(lines[0].text, "FROM a b");
    }
}
