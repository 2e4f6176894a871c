//! What can go wrong with a runtime, and how its log becomes an error.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use serde::Deserialize;

use super::stage::Stage;
use crate::sandbox::SandboxError;

/// Why an OCI runtime cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// It is not in PATH.
    #[error("the runtime `{name}` is not installed: {hint}")]
    Missing {
        /// As asked for.
        name: String,
        /// What to install.
        hint: String,
    },
    /// It is there and cannot be executed.
    #[error("execute the runtime {program}")]
    Execute {
        /// Its path.
        program: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// Nothing can be mounted, or owners are recorded.
    #[error("--runtime does not work with isolation {0}: it needs root, or subordinate ids (/etc/subuid)")]
    Rung(String),
    /// This process cannot wait for containers.
    #[error("become the parent of containers")]
    Adopt(#[source] io::Error),
}

impl RuntimeError {
    pub(super) fn missing(name: &str) -> Self {
        let hint = match name {
            "crun" | "runc" => format!("install the package {name}"),
            "runsc" => "install gVisor (package runsc of its own repository, https://gvisor.dev)".to_owned(),
            _ => "give crun, runc, runsc or the path of a runtime".to_owned(),
        };
        Self::Missing { name: name.to_owned(), hint }
    }
}

/// Names what failed.
pub(super) fn setup(operation: impl Into<String>) -> impl FnOnce(io::Error) -> SandboxError {
    let operation = operation.into();
    move |cause| SandboxError::Setup { operation, cause }
}

#[derive(Deserialize)]
struct Line {
    msg: String,
    level: String,
}

/// Why the runtime failed, from its log.
pub(super) fn why(runtime: &str, stage: &Stage, program: &str, status: ExitStatus) -> SandboxError {
    let log = std::fs::read_to_string(stage.path().join("log")).unwrap_or_default();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    let said: Vec<String> =
        lines.filter(|line| line.level == "error" || line.level == "fatal").map(|line| line.msg).collect();
    let text = if said.is_empty() { status.to_string() } else { said.join("; ") };
    let execution = ["exec: ", "executable file", "open executable"].iter().any(|words| text.contains(words));
    let kind = match text.to_ascii_lowercase() {
        _ if !execution => return failed(runtime, text),
        text if text.contains("not found") || text.contains("no such file") => io::ErrorKind::NotFound,
        text if text.contains("permission denied") => io::ErrorKind::PermissionDenied,
        _ => return failed(runtime, text),
    };
    SandboxError::Exec { program: program.to_owned(), cause: io::Error::new(kind, text) }
}

fn failed(runtime: &str, said: String) -> SandboxError {
    SandboxError::Setup { operation: format!("start it with {runtime}"), cause: io::Error::other(said) }
}
