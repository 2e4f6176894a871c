//! What a container is: written once when it is made, read by everyone after. `config.json`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kiln_core::{ContainerConfig, Snapshot};
use kiln_executor::sandbox::Graft;
use kiln_executor::spec::ProcessRequest;
use serde::{Deserialize, Serialize};

use super::network::ContainerNetwork;

/// Everything that starting it takes, and what `inspect` tells of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Config {
    /// 64 digits.
    pub(crate) id: String,
    /// RFC 3339.
    pub(crate) created: String,
    pub(crate) image: ImageOf,
    /// The trees of the image's layers, bottom first.
    pub(crate) lowers: Vec<PathBuf>,
    /// The root where nothing can be mounted: a directory of the process that made the container.
    #[serde(default)]
    pub(crate) plain_root: Option<PathBuf>,
    /// The OCI runtime that starts it in place of kiln's own sandbox.
    #[serde(default)]
    pub(crate) runtime: Option<PathBuf>,
    /// Who it runs as, as typed or as the image says.
    #[serde(default)]
    pub(crate) user: String,
    pub(crate) process: ProcessRequest,
    /// Mounts over the root.
    pub(crate) grafts: Vec<Graft>,
    /// The same as people asked for them.
    pub(crate) mounts: Vec<MountPoint>,
    /// Keeps standard input open (`-i`).
    pub(crate) open_stdin: bool,
    /// It closes with the first client that had it.
    pub(crate) stdin_once: bool,
    /// Removed when it ends (`--rm`).
    pub(crate) auto_remove: bool,
    pub(crate) log: LogOptions,
    pub(crate) restart: Restart,
    /// By number.
    pub(crate) stop_signal: i32,
    /// Seconds; -1 waits for ever.
    pub(crate) stop_timeout: i64,
    pub(crate) health: Option<Health>,
    pub(crate) labels: BTreeMap<String, String>,
    /// `80/tcp`.
    #[serde(default)]
    pub(crate) exposed: Vec<String>,
    /// The network as typed.
    pub(crate) network: String,
    pub(crate) networking: ContainerNetwork,
}

/// The image that a container was made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ImageOf {
    /// As typed.
    pub(crate) name: String,
    /// `sha256:…` as far as it is known, the store's own id otherwise.
    pub(crate) id: String,
    pub(crate) snapshot: Snapshot,
    pub(crate) platform: String,
    pub(crate) config: ContainerConfig,
}

/// A volume, a bind mount or a memory file system.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MountPoint {
    /// `bind`, `volume`, `tmpfs`.
    pub(crate) kind: String,
    /// Of a volume.
    #[serde(default)]
    pub(crate) name: String,
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) read_only: bool,
    /// A volume that nobody named: it goes with the container.
    #[serde(default)]
    pub(crate) anonymous: bool,
}

/// `--log-driver`, `--log-opt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogOptions {
    /// False for the driver `none`.
    pub(crate) keep: bool,
    /// Bytes of a file, 0 for no limit.
    pub(crate) max_size: u64,
    /// Files.
    pub(crate) max_file: u32,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { keep: true, max_size: 0, max_file: 1 }
    }
}

/// `--restart`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) enum Restart {
    /// Never.
    #[default]
    No,
    /// When it failed, at most so often (0: always).
    OnFailure(u32),
    /// Whenever it ended.
    Always,
    /// The same, but not at the start of the machine if it was stopped.
    UnlessStopped,
}

impl Restart {
    /// Docker's words: `no`, `on-failure[:n]`, `always`, `unless-stopped`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "" | "no" => Self::No,
            "always" => Self::Always,
            "unless-stopped" => Self::UnlessStopped,
            "on-failure" => Self::OnFailure(0),
            _ => Self::OnFailure(text.strip_prefix("on-failure:")?.parse().ok()?),
        })
    }

    /// Name and number, as `inspect` has them.
    pub(crate) fn parts(self) -> (&'static str, u32) {
        match self {
            Self::No => ("no", 0),
            Self::OnFailure(most) => ("on-failure", most),
            Self::Always => ("always", 0),
            Self::UnlessStopped => ("unless-stopped", 0),
        }
    }
}

/// A health check with nothing left to its defaults. Times in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Health {
    /// The argument vector.
    pub(crate) command: Vec<String>,
    pub(crate) interval: u64,
    pub(crate) timeout: u64,
    pub(crate) start_period: u64,
    pub(crate) start_interval: u64,
    pub(crate) retries: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restart_policies_are_dockers() {
        for (text, policy) in [
            ("no", Some(Restart::No)),
            ("always", Some(Restart::Always)),
            ("on-failure", Some(Restart::OnFailure(0))),
            ("on-failure:3", Some(Restart::OnFailure(3))),
            ("unless-stopped", Some(Restart::UnlessStopped)),
            ("on-failure:x", None),
            ("never", None),
            ("always:3", None),
        ] {
            assert_eq!(Restart::parse(text), policy, "{text}");
        }
    }
}
