//! What a transfer tells the one who waits for it.

use std::time::Duration;

/// Listens to transfers. Called from async code: must not block.
pub trait Watch: Send + Sync {
    /// `done` of `total` bytes of a blob went over the line or were already there.
    fn bytes(&self, done: u64, total: u64) {
        let _ = (done, total);
    }

    /// A request failed and will be tried again.
    fn retrying(&self, retrying: &Retrying) {
        let _ = retrying;
    }
}

/// Listens to nothing.
impl Watch for () {}

/// A request that failed and will be tried again after a pause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retrying {
    /// What is attempted: `pull sha256:… of docker.io/library/busybox`.
    pub attempt: String,
    /// Why it failed, in one line.
    pub reason: String,
    /// The pause.
    pub wait: Duration,
    /// The number of failures since the last progress, from 1.
    pub failures: u32,
}

impl std::fmt::Display for Retrying {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { attempt, reason, wait, failures } = self;
        write!(f, "{attempt}: {reason}; try {} in {:.1} s", failures + 1, wait.as_secs_f32())
    }
}
