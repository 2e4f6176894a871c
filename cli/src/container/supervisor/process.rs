//! The supervisor as a process: started by `kiln run -d` and `kiln start`, it does not end with them.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use kiln_executor::isolation::{IsolationRequest, Rung, enter};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::{Starter, Supervisor};
use crate::container::directory::{Container, Containers};
use crate::container::error::ContainerError;
use crate::container::network::networks_in;
use crate::container::protocol::{self, Answer};
use crate::container::signal;
use crate::environment::Environment;

/// The word on the command line of a supervisor.
pub(crate) const WORD: &str = "supervise-container";

/// Starts a supervisor; the socket is where it is asked to start the container.
pub(crate) fn spawn(root: &Path, rung: Rung, container: &Container) -> Result<OwnedFd, ContainerError> {
    let failed = |cause| ContainerError::Supervisor { name: container.name(), cause };
    let (near, far) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(|errno| failed(errno.into()))?;
    let mut command = Command::new("/proc/self/exe");
    // In the namespaces of this process, where every rung looks like the first.
    command.arg(WORD).arg(root).arg(&container.id).arg(rung.as_str());
    command.stdin(far).stdout(Stdio::null()).stderr(Stdio::null());
    drop(command.spawn().map_err(failed)?);
    Ok(near)
}

/// Is the supervisor, if that is what this process was started as. Called before anything else: what `kiln` is otherwise
/// would take memory for as long as the container runs.
pub(crate) fn from_command_line() -> Option<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    if words.next()? != WORD {
        return None;
    }
    let (root, id) = (PathBuf::from(words.next()?), words.next()?.into_string().ok()?);
    let word = words.next()?;
    let rungs = [Rung::Root, Rung::SubordinateIds, Rung::SingleId, Rung::Chroot];
    let rung = rungs.into_iter().find(|rung| word == rung.as_str())?;
    let socket = std::os::fd::AsFd::as_fd(&std::io::stdin()).try_clone_to_owned().ok()?;
    if let Err(error) = supervise(&root, &id, rung, socket) {
        let message = crate::report::chain(&error);
        let answer = Answer::Failed { code: 125, message };
        // Without anybody who listens there is nobody to tell.
        let _ = protocol::send(std::io::stdin(), &answer, &[]);
        return Some(ExitCode::FAILURE);
    }
    Some(ExitCode::SUCCESS)
}

fn supervise(root: &Path, id: &str, rung: Rung, socket: OwnedFd) -> Result<(), ContainerError> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    // It fails only for the leader of a group, which is as much by itself.
    let _ = rustix::process::setsid();
    let failed = |cause| ContainerError::Supervisor { name: id.to_owned(), cause };
    rustix::process::chdir("/").map_err(|errno| failed(errno.into()))?;
    let _ = rustix::thread::set_name(c"kiln-supervisor");
    let isolation = enter(&IsolationRequest { within: Some(rung), ..IsolationRequest::default() })
        .map_err(|error| ContainerError::Refused { code: 125, message: crate::report::chain(&error) })?;
    let signals = kiln_executor::waiting::signals_as_bytes(&[signal::TERM, signal::INT, signal::HUP])
        .map_err(failed)?;
    let containers = Containers::of(root);
    let container = containers.find(id)?;
    let lock = container.lock()?;
    let config = container.config()?;
    let null = std::fs::File::options().read(true).write(true).open("/dev/null").map_err(failed)?;
    let networks = networks_in(&isolation, rung, &Environment::of_process());
    let starter = (Starter::of(&config, &isolation, rung, root)?, networks);
    let supervisor = Supervisor::new((containers, container, config), lock, starter, signals, None)?;
    // From here on it is told by its answers.
    rustix::stdio::dup2_stdin(&null).map_err(|errno| failed(errno.into()))?;
    supervisor.serve(socket);
    Ok(())
}
