//! Progress: what a build tells while it runs. The one who listens adds the clock.

use crate::{ContentHash, Diagnostic, SourceFile, redacted};

/// The identity of a step within a build's progress: its definition, or a hash of an internal step's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId(pub ContentHash);

impl StepId {
    /// The identity of a step that is not of the graph (`[internal] load .dockerignore`, `exporting to image`).
    pub fn internal(name: &str) -> Self {
        Self(ContentHash::of(name.as_bytes()))
    }
}

/// Where a line of a step's output was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was performed.
    Done,
    /// Its result was known.
    Cached,
    /// It failed, and why in one line.
    Failed(String),
    /// It was given up because another step failed or the user interrupted.
    Canceled,
}

/// One thing that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A step will be needed.
    Queued {
        /// Which.
        step: StepId,
        /// As BuildKit words it: `[build 2/5] RUN make`.
        name: String,
        /// The steps it waits for.
        inputs: Vec<StepId>,
    },
    /// A step began.
    Started {
        /// Which.
        step: StepId,
    },
    /// A step ended.
    Completed {
        /// Which.
        step: StepId,
        /// How.
        outcome: Outcome,
    },
    /// A part of a step moved on: a layer's download, the transfer of a context.
    Status {
        /// Of which step.
        step: StepId,
        /// The part, unique within the step: `sha256:…`, `transferring context`.
        id: String,
        /// Bytes (or items) so far.
        current: u64,
        /// Bytes (or items) in all, 0 if unknown.
        total: u64,
        /// Whether the part is finished.
        done: bool,
    },
    /// Output of a RUN step.
    Log {
        /// Of which step.
        step: StepId,
        /// Which stream.
        stream: Stream,
        /// The bytes as they came.
        data: Vec<u8>,
    },
    /// A finding of a check, or a problem that did not stop the build.
    Warning {
        /// The finding.
        diagnostic: Diagnostic,
        /// The text it points into, if it points into one.
        file: Option<SourceFile>,
    },
}

impl Event {
    /// The event as others may read it: names and errors speak of URLs, and what those hold is not for a log. A step's own output
    /// is its own affair.
    #[must_use]
    pub fn without_credentials(self) -> Self {
        match self {
            Self::Queued { step, name, inputs } => Self::Queued { step, name: redacted(name), inputs },
            Self::Completed { step, outcome: Outcome::Failed(error) } => {
                Self::Completed { step, outcome: Outcome::Failed(redacted(error)) }
            }
            Self::Status { step, id, current, total, done } => {
                Self::Status { step, id: redacted(id), current, total, done }
            }
            other => other,
        }
    }
}

/// Who listens to progress. Cheap to call from any thread; never blocks on a terminal.
pub trait Progress: Send + Sync {
    /// Takes note of `event`.
    fn emit(&self, event: Event);
}

/// Listens to nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn emit(&self, _event: Event) {}
}
