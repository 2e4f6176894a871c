//! How a container fares: written by its supervisor alone, read by everyone. `state.json`, replaced by rename.

use std::net::IpAddr;

use kiln_executor::network::PublishedPort;
use serde::{Deserialize, Serialize};

/// Docker's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Created,
    Running,
    Paused,
    Restarting,
    Exited,
    Dead,
}

impl Status {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }

    /// Whether a supervisor has to be there for it to be true.
    pub(crate) fn is_active(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Restarting)
    }
}

/// The exit code of a container whose supervisor ended without a word: Docker's after a daemon that was killed.
pub(crate) const LOST: i32 = 255;

/// How it fares.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) status: Status,
    /// As the host counts; 0 if it does not run.
    pub(crate) pid: u32,
    pub(crate) exit_code: i32,
    /// Why it could not be started.
    pub(crate) error: String,
    pub(crate) out_of_memory: bool,
    /// RFC 3339; empty if never.
    pub(crate) started: String,
    /// RFC 3339; empty if never.
    pub(crate) finished: String,
    pub(crate) restarts: u32,
    /// Stopped by a person: `unless-stopped` and `always` leave it alone.
    pub(crate) stopped: bool,
    /// The machine's boot in which this was written.
    pub(crate) boot: String,
    pub(crate) health: Option<HealthState>,
    /// While it runs.
    #[serde(default)]
    pub(crate) network: Connected,
}

/// What its network became.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Connected {
    pub(crate) addresses: Vec<IpAddr>,
    /// The host's, as seen from there.
    pub(crate) host: Option<IpAddr>,
    pub(crate) published: Vec<PublishedPort>,
    /// The content of `/etc/resolv.conf`.
    pub(crate) resolv_conf: Option<Vec<u8>>,
}

/// What the health check found.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct HealthState {
    /// `starting`, `healthy`, `unhealthy`.
    pub(crate) status: String,
    /// Failures in a row.
    pub(crate) failing: u32,
    /// The last five.
    pub(crate) log: Vec<HealthResult>,
}

/// One check.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct HealthResult {
    pub(crate) start: String,
    pub(crate) end: String,
    pub(crate) exit_code: i32,
    pub(crate) output: String,
}

impl State {
    /// Of a container that was never started.
    pub(crate) fn new() -> Self {
        Self {
            status: Status::Created,
            pid: 0,
            exit_code: 0,
            error: String::new(),
            out_of_memory: false,
            started: String::new(),
            finished: String::new(),
            restarts: 0,
            stopped: false,
            boot: String::new(),
            health: None,
            network: Connected::default(),
        }
    }

    /// What is true of a container whose supervisor is gone although this says that it runs.
    pub(crate) fn without_supervisor(mut self, boot: &str, noticed: String) -> Self {
        let why = if self.boot == boot { "its supervisor was killed" } else { "the machine was restarted" };
        self.status = Status::Exited;
        self.exit_code = LOST;
        why.clone_into(&mut self.error);
        self.pid = 0;
        if self.finished < self.started {
            self.finished = noticed;
        }
        self.health = None;
        self.network = Connected::default();
        self
    }
}
