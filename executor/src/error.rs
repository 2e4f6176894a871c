//! What fails when an op is performed. Cheap to clone: two steps may share a result.

use std::sync::Arc;

use kiln_cache::{IndexError, LayerError, StoreError};

use crate::cdi::CdiError;
use crate::context::ContextError;
use crate::file::FileError;
use crate::network::NetworkError;
use crate::process::UserError;
use crate::sandbox::{Exit, SandboxError};
use crate::source::{GitError, SourceError};
use crate::spec::SpecError;

/// Why an op failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ExecutorError {
    /// A RUN step's process ended badly.
    #[error("process {command:?} did not complete successfully: {}", ended(exit))]
    Process {
        /// The arguments, joined by blanks.
        command: String,
        /// How it ended.
        exit: Exit,
    },
    /// A RUN step's process could not be started.
    #[error("process {command:?} did not complete successfully: {cause}")]
    Start {
        /// The arguments, joined by blanks.
        command: String,
        /// Why.
        #[source]
        cause: Arc<SandboxError>,
    },
    /// The user of a RUN step.
    #[error("process {command:?} did not complete successfully: {cause}")]
    User {
        /// The arguments, joined by blanks.
        command: String,
        /// Why.
        #[source]
        cause: Arc<UserError>,
    },
    /// A secret that a step needs was not given.
    #[error("secret {0}: not found")]
    Secret(String),
    /// An SSH agent that a step needs was not given.
    #[error("no SSH key \"{0}\" forwarded from the client")]
    Ssh(String),
    /// A mount's source is not there.
    #[error("failed to compute cache key: failed to calculate checksum of ref: \"{0}\": not found")]
    MountSource(String),
    /// A device that a step asks for.
    #[error(transparent)]
    Device(#[from] CdiError),
    /// An option of a step that cannot be carried out.
    #[error(transparent)]
    Spec(Arc<SpecError>),
    /// The network of a step.
    #[error(transparent)]
    Network(Arc<NetworkError>),
    /// COPY, ADD or WORKDIR.
    #[error(transparent)]
    File(Arc<FileError>),
    /// A context.
    #[error(transparent)]
    Context(Arc<ContextError>),
    /// An image or a download.
    #[error(transparent)]
    Source(Arc<SourceError>),
    /// A git repository.
    #[error(transparent)]
    Git(Arc<GitError>),
    /// A layer of the store.
    #[error(transparent)]
    Layer(Arc<LayerError>),
    /// The store.
    #[error(transparent)]
    Store(Arc<StoreError>),
    /// The store's index.
    #[error(transparent)]
    Index(Arc<IndexError>),
    /// An op was given an input of the wrong kind, or too few of them.
    #[error("the step's input {0} is not a file system")]
    Input(usize),
    /// The step was cancelled.
    #[error("canceled")]
    GivenUp,
}

fn ended(exit: &Exit) -> String {
    let code = exit.code();
    if exit.out_of_memory {
        format!(
            "exit code: {code}: cannot allocate memory: the kernel ended a process because the memory limit was reached"
        )
    } else {
        format!("exit code: {code}")
    }
}

macro_rules! shared {
    ($($from:ty => $variant:ident),+ $(,)?) => { $(
        impl From<$from> for ExecutorError {
            fn from(cause: $from) -> Self {
                Self::$variant(Arc::new(cause))
            }
        }
    )+ };
}

shared! {
    SpecError => Spec,
    NetworkError => Network,
    FileError => File,
    ContextError => Context,
    SourceError => Source,
    GitError => Git,
    LayerError => Layer,
    StoreError => Store,
    IndexError => Index,
}
