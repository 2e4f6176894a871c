//! Why a command failed.

use std::path::PathBuf;
use std::process::ExitCode;

use kiln_core::{Diagnostics, SourceFile, Span};

use crate::report;

/// Why a command failed. The causes are the crates' own errors; this only says which kind of report they get.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// The command line.
    #[error("{0}")]
    Usage(String),
    /// A build's options.
    #[error(transparent)]
    Request(#[from] crate::request::UsageError),
    /// A name of an image.
    #[error(transparent)]
    Reference(#[from] kiln_core::ReferenceError),
    /// A platform.
    #[error(transparent)]
    Platform(#[from] kiln_core::PlatformError),
    /// The Dockerfile.
    #[error(transparent)]
    Dockerfile(#[from] Diagnostics),
    /// A step of a build.
    #[error("{name}")]
    Step {
        /// As progress shows it.
        name: String,
        /// The instruction in the Dockerfile.
        place: Option<(SourceFile, Span)>,
        /// Why.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file that the user named.
    #[error("{verb} {what} `{path}`")]
    File {
        /// `read`, `write`.
        verb: &'static str,
        /// What it is to kiln.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// Standard input.
    #[error("read standard input")]
    Input(#[source] std::io::Error),
    /// Standard output.
    #[error("write to standard output")]
    Output(#[source] std::io::Error),
    /// `--format`.
    #[error(transparent)]
    Template(#[from] crate::template::TemplateError),
    /// The local store's images.
    #[error(transparent)]
    Local(#[from] crate::local::LocalError),
    /// The store.
    #[error(transparent)]
    Store(#[from] kiln_cache::StoreError),
    /// The store's index.
    #[error(transparent)]
    Index(#[from] kiln_cache::IndexError),
    /// A layer.
    #[error(transparent)]
    Layer(#[from] kiln_cache::LayerError),
    /// A cache of results.
    #[error(transparent)]
    Cache(#[from] crate::remote_cache::CacheError),
    /// A blob.
    #[error(transparent)]
    Blob(#[from] kiln_cache::BlobError),
    /// Something is to run and nothing can be shut in.
    #[error("{0}")]
    NoIsolation(String),
    /// A sandbox.
    #[error(transparent)]
    Sandbox(#[from] kiln_executor::sandbox::SandboxError),
    /// A user network.
    #[error(transparent)]
    UserNetwork(#[from] crate::networks::UserNetworkError),
    /// A network.
    #[error(transparent)]
    Network(#[from] kiln_executor::network::NetworkError),
    /// The executor.
    #[error(transparent)]
    Executor(#[from] kiln_executor::ExecutorError),
    /// A container.
    #[error(transparent)]
    Container(#[from] crate::container::error::ContainerError),
    /// A registry.
    #[error(transparent)]
    Registry(#[from] kiln_registry::RegistryError),
    /// The file of logins.
    #[error(transparent)]
    Credential(#[from] kiln_registry::CredentialError),
    /// An image that cannot be assembled.
    #[error(transparent)]
    Assemble(#[from] kiln_exporter::AssembleError),
    /// An output.
    #[error(transparent)]
    Export(#[from] kiln_exporter::ExportError),
    /// Docker or podman.
    #[error(transparent)]
    Engine(#[from] crate::engine::EngineError),
    /// A push.
    #[error(transparent)]
    Push(#[from] kiln_exporter::PushError),
    /// An image from outside whose documents cannot be read.
    #[error(transparent)]
    Document(#[from] kiln_exporter::DocumentError),
    /// A thread panicked: a bug of kiln.
    #[error("kiln failed unexpectedly; please report this")]
    Panic,
    /// JSON that kiln writes.
    #[error("write JSON")]
    Json(#[from] serde_json::Error),
    /// The operating system, before a command began.
    #[error("{what}")]
    System {
        /// What was attempted.
        what: &'static str,
        /// Why it failed.
        #[source]
        cause: std::io::Error,
    },
    /// The user pressed Ctrl-C, or the process was told to end.
    #[error("interrupted")]
    Interrupted,
}

impl CommandError {
    /// The text for standard error.
    pub(crate) fn report(&self, color: bool) -> String {
        let mut text = match self {
            Self::Dockerfile(findings) => report::diagnostics(findings, color),
            Self::Step { place: Some((file, span)), name, cause } => {
                let message = format!("failed to build {name}: {}", report::chain(cause.as_ref()));
                format!("{}\n", report::failed_step(file, *span, &message, color))
            }
            Self::Step { place: None, name, cause } => {
                format!("error: failed to build {name}: {}\n", report::chain(cause.as_ref()))
            }
            other => format!("error: {}\n", report::chain(other)),
        };
        if let Some(hint) = report::hint(self, &text) {
            text.push_str(&format!("help: {hint}\n"));
        }
        kiln_core::redacted(text)
    }

    /// The exit code of the process.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Interrupted => ExitCode::from(130),
            Self::Container(error) => ExitCode::from(error.exit_code()),
            _ => ExitCode::FAILURE,
        }
    }
}
