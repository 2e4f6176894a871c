//! What starts the processes of a container: kiln's own launcher, or an OCI runtime that is installed.

use std::path::Path;

use kiln_executor::isolation::{Isolation, Rung};
use kiln_executor::launcher::Launcher;
use kiln_executor::runtime::OciRuntime;
use kiln_executor::sandbox::{Bundle, Io, Running, Sandbox as _, SandboxError};

use crate::container::config::Config;
use crate::container::error::ContainerError;

/// Starts processes.
#[derive(Debug)]
pub(crate) enum Starter<'a> {
    /// In kiln's own sandbox.
    Own(&'a Launcher),
    /// By `--runtime`.
    Runtime(OciRuntime),
}

impl<'a> Starter<'a> {
    /// What the container was made for. `root` is the store's.
    pub(crate) fn of(
        config: &Config,
        isolation: &'a Isolation,
        rung: Rung,
        root: &Path,
    ) -> Result<Self, ContainerError> {
        let Some(program) = &config.runtime else { return Ok(Self::Own(&isolation.launcher)) };
        let name = program.display().to_string();
        let found = OciRuntime::find(&name, "", root.join("runtime"), rung, isolation.user_xattrs);
        found
            .map(Self::Runtime)
            .map_err(|error| ContainerError::Refused { code: 125, message: crate::report::chain(&error) })
    }

    /// Starts the container's own process.
    pub(super) fn start(&self, bundle: &Bundle, io: Io) -> Result<Running, SandboxError> {
        match self {
            Self::Own(launcher) => launcher.start(bundle, io),
            Self::Runtime(runtime) => runtime.start(bundle, io),
        }
    }

    /// Starts one more beside it.
    pub(super) fn enter(&self, inside: &Running, bundle: &Bundle, io: Io) -> Result<Running, SandboxError> {
        match self {
            Self::Own(launcher) => launcher.enter(inside, bundle, io),
            Self::Runtime(_) => {
                Err(SandboxError::Spec("nothing enters a container of --runtime: run it without".to_owned()))
            }
        }
    }
}
