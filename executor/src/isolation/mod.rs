//! How far this machine lets kiln shut a step in: probed once at start, before any thread.
//!
//! The rungs are tried from the top; the first one that works is taken, and why the ones above it did not is kept for
//! `kiln info`. Entering a rung changes this process: it lives in a mount namespace of its own from then on (so that nothing
//! it mounts outlives it or is seen by others), in a user namespace too unless it is root, and the [`Launcher`] has been forked.

use std::fmt;

use crate::launcher::Launcher;

/// A way to isolate steps, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rung {
    /// Root with CAP_SYS_ADMIN: all namespaces, overlayfs with `trusted.*` attributes.
    Root,
    /// An ordinary user with subordinate ids: the same in a user namespace, overlayfs with `userxattr`.
    SubordinateIds,
    /// An ordinary user without them: one id is mapped, so changes of owner fail.
    SingleId,
    /// Root in a plain container: `chroot`, plain directories, no namespaces.
    Chroot,
}

impl Rung {
    /// Whether steps run in a user namespace, so that overlayfs keeps its marks in `user.overlay.*` attributes.
    pub fn in_user_namespace(self) -> bool {
        matches!(self, Self::SubordinateIds | Self::SingleId)
    }

    /// The name that `--isolation` takes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::SubordinateIds => "rootless",
            Self::SingleId => "single-id",
            Self::Chroot => "chroot",
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is asked of [`enter`].
#[derive(Debug, Clone, Default)]
pub struct IsolationRequest {
    /// The only rung to try; the best that works if none.
    pub wanted: Option<Rung>,
}

/// A rung that could not be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Which.
    pub rung: Rung,
    /// What failed and what would mend it, in one line.
    pub reason: String,
}

/// Where this process stands after [`enter`].
#[derive(Debug)]
pub struct Isolation {
    /// The rung that was taken.
    pub rung: Rung,
    /// The better ones, and why they were not.
    pub skipped: Vec<Skipped>,
    /// Starts sandboxes.
    pub launcher: Launcher,
}

/// No rung can be taken.
#[derive(Debug, thiserror::Error)]
pub enum IsolationError {
    /// Each rung failed.
    #[error("no isolation works here: {}", reasons(.0))]
    NoRung(Vec<Skipped>),
    /// More than one thread runs already, so that namespaces cannot be entered safely.
    #[error("isolation has to be entered before the first thread is started")]
    Threads,
    /// The launcher could not be forked.
    #[error("start the launcher process")]
    Launcher(#[source] std::io::Error),
}

fn reasons(skipped: &[Skipped]) -> String {
    let lines: Vec<String> = skipped.iter().map(|s| format!("{}: {}", s.rung, s.reason)).collect();
    lines.join("; ")
}

/// Takes the best rung that works. To be called first thing in `main`, before any thread.
///
/// # Errors
/// When no rung (or not the wanted one) works.
pub fn enter(request: &IsolationRequest) -> Result<Isolation, IsolationError> {
    let _ = request;
    Err(IsolationError::NoRung(Vec::new()))
}
