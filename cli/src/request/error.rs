//! What cannot be understood of a command line.

use std::path::PathBuf;

/// A mistake in what was typed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UsageError {
    /// A value of an option.
    #[error("invalid --{option} `{value}`: {problem}")]
    Value {
        /// The option, without dashes.
        option: String,
        /// What was typed.
        value: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A name of an image.
    #[error(transparent)]
    Reference(#[from] kiln_core::ReferenceError),
    /// A platform.
    #[error(transparent)]
    Platform(#[from] kiln_core::PlatformError),
    /// An output.
    #[error(transparent)]
    Output(#[from] crate::output::OutputError),
    /// A file that an option names.
    #[error("read {what} `{path}`")]
    Read {
        /// What it is to kiln.
        what: &'static str,
        /// Where it should be.
        path: PathBuf,
        /// Why it cannot be read.
        #[source]
        cause: std::io::Error,
    },
    /// Options that do not go together, and what else.
    #[error("{0}")]
    Conflict(String),
}

impl UsageError {
    pub(crate) fn value(option: &str, value: &str, problem: &str) -> Self {
        Self::Value { option: option.to_owned(), value: value.to_owned(), problem: problem.to_owned() }
    }
}
