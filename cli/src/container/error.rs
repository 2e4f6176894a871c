//! What goes wrong with containers.

use std::io;
use std::path::PathBuf;

/// Why something could not be done with a container.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContainerError {
    /// Neither a name nor the beginning of an id.
    #[error("no such container: {0}")]
    Missing(String),
    /// The beginning of several ids.
    #[error("`{0}` begins the ids of several containers: give more of it")]
    Ambiguous(String),
    /// A name that another container has.
    #[error("the container name `{name}` is in use by container {by}: remove or rename that one first")]
    NameInUse {
        /// The name.
        name: String,
        /// Whose it is.
        by: String,
    },
    /// A name that is none.
    #[error(
        "invalid container name `{0}`: only a-z, A-Z, 0-9, `_`, `.`, `-`, beginning with a letter or digit"
    )]
    Name(String),
    /// Something that only a running container can do.
    #[error("container {0} is not running")]
    NotRunning(String),
    /// Something that only a stopped container can suffer.
    #[error("container {0} is running: stop it first, or use --force")]
    IsRunning(String),
    /// A file of the container's directory.
    #[error("{verb} `{path}`")]
    File {
        /// What was attempted.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
    /// A document that does not say what it should.
    #[error("read `{path}`: {cause}")]
    Document {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: serde_json::Error,
    },
    /// The supervisor could not be spoken to.
    #[error("speak to the supervisor of container {name}")]
    Supervisor {
        /// The container.
        name: String,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// Its network could not be made.
    #[error(transparent)]
    Network(#[from] kiln_executor::network::NetworkError),
    /// Its user network could not be joined.
    #[error(transparent)]
    UserNetwork(#[from] crate::networks::UserNetworkError),
    /// The supervisor refused.
    #[error("{message}")]
    Refused {
        /// Docker's exit code for it.
        code: u8,
        /// Why.
        message: String,
    },
}

impl ContainerError {
    pub(crate) fn file(verb: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |cause| Self::File { verb, path, cause }
    }

    /// The exit code that Docker's command line gives for it.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Refused { code, .. } => *code,
            _ => 1,
        }
    }
}
