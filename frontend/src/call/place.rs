//! Places and sources in the shape that BuildKit's JSON has them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_core::SourceFile;
use serde::Serialize;

/// Lines of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Ranges of lines; one.
    pub ranges: Vec<Lines>,
}

/// From one line to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lines {
    /// The first.
    pub start: Position,
    /// The last.
    pub end: Position,
}

/// A line, from 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Position {
    /// Its number.
    pub line: usize,
}

impl Place {
    pub(super) fn new((first, last): (usize, usize)) -> Self {
        let range = Lines { start: Position { line: first }, end: Position { line: last } };
        Self { ranges: vec![range] }
    }

    /// The first line.
    pub fn line(&self) -> usize {
        self.ranges.first().map_or(0, |range| range.start.line)
    }
}

/// The text of a Dockerfile, in base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Sources(pub Vec<String>);

impl Sources {
    pub(super) fn of(file: &SourceFile) -> Self {
        Self(vec![encode(file)])
    }
}

pub(super) fn encode(file: &SourceFile) -> String {
    STANDARD.encode(file.text.as_bytes())
}
