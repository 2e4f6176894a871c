//! Processes that enter a running container: `exec`, and health checks.

use std::os::fd::OwnedFd;

use kiln_executor::process::{User, account_file, parse_accounts, parse_groups, resolve_user};
use kiln_executor::sandbox::{Bundle, Io, Running, SandboxError, Stream, Tree};
use kiln_executor::spec::{ProcessRequest, all_capabilities, specification};

use crate::container::config::Config;
use crate::container::protocol::ExecAsk;

/// A process that was started in the container.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) running: Running,
    /// Who waits for it.
    pub(super) client: Option<u64>,
    /// Whether its client has not heard yet that it runs.
    pub(super) starting: bool,
    /// Nobody waits for it.
    pub(super) detach: bool,
}

/// Why a process could not be started: Docker's exit code and a line.
pub(super) type Refusal = (u8, String);

/// The process that is asked for, in the terms of the container that it enters.
pub(super) fn bundle(config: &Config, pid: u32, ask: &ExecAsk) -> Result<Bundle, Refusal> {
    let mut request = ProcessRequest { args: ask.command.clone(), init: false, ..config.process.clone() };
    for entry in &ask.env {
        let name = entry.split('=').next().unwrap_or_default();
        request.env.retain(|other| other.split('=').next() != Some(name));
        request.env.push(entry.clone());
    }
    if let Some(user) = &ask.user {
        request.user = user_in(pid, user).map_err(|message| (126, message))?;
    }
    if let Some(workdir) = &ask.workdir {
        if !workdir.starts_with('/') {
            return Err((126, format!("the working directory `{workdir}` is not an absolute path")));
        }
        request.cwd.clone_from(workdir);
    }
    request.terminal = ask.terminal.is_some();
    if request.terminal && !request.env.iter().any(|entry| entry.starts_with("TERM=")) {
        request.env.push("TERM=xterm".to_owned());
    }
    if ask.privileged {
        request.capabilities = Some(all_capabilities());
        request.insecure = true;
    }
    let (spec, _, profile) = specification(&request).map_err(|error| (126, error.to_string()))?;
    let root = Tree::Overlay { lowers: Vec::new(), upper: None };
    Ok(Bundle { spec, root, grafts: Vec::new(), profile })
}

/// Looks a user up in the container as it is now.
fn user_in(pid: u32, wanted: &str) -> Result<User, String> {
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let root = rustix::fs::open(format!("/proc/{pid}/root"), flags, rustix::fs::Mode::empty())
        .map_err(|error| format!("open the container's root: {error}"))?;
    let read = |path| account_file(&root, path).map(Option::unwrap_or_default);
    let accounts = read("etc/passwd").map_err(|error| error.to_string())?;
    let groups = read("etc/group").map_err(|error| error.to_string())?;
    resolve_user(wanted, &parse_accounts(&accounts), &parse_groups(&groups))
        .map_err(|error| error.to_string())
}

/// The streams of a visitor, out of what its client sent.
pub(super) fn streams(ask: &ExecAsk, fds: Vec<OwnedFd>) -> Io {
    if let Some((rows, columns)) = ask.terminal {
        return Io::Terminal { rows, columns };
    }
    let mut fds = fds.into_iter();
    let mut next = || fds.next().map_or(Stream::Null, Stream::Given);
    Io::Streams { stdin: next(), stdout: next(), stderr: next() }
}

/// What Docker's command line says and gives for a container whose process did not start.
pub(super) fn refusal(error: &SandboxError) -> Refusal {
    (u8::try_from(error.exit_code()).unwrap_or(125), crate::report::chain(error))
}

/// The same for a process that did not start in a container that runs: whatever keeps it from that is 126, but for a program that
/// is not there.
pub(super) fn visit_refusal(error: &SandboxError) -> Refusal {
    (if error.exit_code() == 127 { 127 } else { 126 }, crate::report::chain(error))
}
