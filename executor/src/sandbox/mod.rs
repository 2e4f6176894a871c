//! The sandbox: a process in a root file system of its own, described by an OCI runtime `Spec`.
//!
//! The way of a [`Bundle`]: `translate` checks it and makes a `plan`; the launcher clones the first process of the sandbox;
//! `setup` furnishes the namespaces from within and becomes the program; [`Running`] follows it from kiln.

mod bundle;
pub(crate) mod capability;
pub(crate) mod cgroup;
pub(crate) mod limits;
pub(crate) mod memory;
pub(crate) mod plan;
mod running;
pub(crate) mod seccomp;
pub(crate) mod setup;
mod spec;
pub(crate) mod stub;
pub(crate) mod translate;
#[cfg(test)]
mod translate_corpus;
mod unsupported;

use std::io;

pub use bundle::{Bundle, Content, Graft, GraftSource, Profile, Tree, Writable};
pub use limits::{BlockRate, RateKind, ResourceLimits};
pub use running::{Exit, Handle, Io, Running, Status, Stream};
pub use seccomp::ProfileError;
pub use spec::{Surroundings, default_spec, mount_points};

/// Starts processes in sandboxes: kiln's own launcher, or an OCI runtime that is installed.
pub trait Sandbox: Send + Sync {
    /// Starts the process of `bundle` and returns at once; a program that cannot be executed is reported by [`Running::wait`].
    ///
    /// # Errors
    /// When the bundle cannot be understood or the sandbox cannot be made.
    fn start(&self, bundle: &Bundle, io: Io) -> Result<Running, SandboxError>;
}

/// Why a sandbox did not start or was lost.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The specification asks for something that it may not, or leaves out what is needed.
    #[error("sandbox specification: {0}")]
    Spec(String),
    /// A step of making the sandbox failed.
    #[error("sandbox: {operation}")]
    Setup {
        /// What was attempted, on what.
        operation: String,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
    /// The program could not be executed: `ENOENT` is 127 for a shell, `EACCES` and `ENOEXEC` 126.
    #[error("execute `{program}`")]
    Exec {
        /// The first argument, as asked for.
        program: String,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
    /// The user's system call profile.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The launcher process is gone.
    #[error("the launcher process has ended")]
    LauncherGone,
}

impl SandboxError {
    /// The exit code that `docker run` gives for this: 127 not found, 126 not executable, 125 otherwise.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Exec { cause, .. } if cause.kind() == io::ErrorKind::NotFound => 127,
            Self::Exec { .. } => 126,
            Self::Spec(_) | Self::Profile(_) | Self::Setup { .. } | Self::LauncherGone => 125,
        }
    }
}
