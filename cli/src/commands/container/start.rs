//! `kiln start` and `kiln restart`.

use std::os::fd::AsFd;
use std::process::ExitCode;

use super::each;
use super::run::exit_code;
use super::stop::{signal_of, stop_one};
use crate::args::{StartArgs, StopArgs};
use crate::container::attach::{self, End, Pipes, Session};
use crate::container::client::Client;
use crate::container::config::Config;
use crate::container::directory::{Container, Containers};
use crate::container::error::ContainerError;
use crate::container::protocol::Ask;
use crate::container::state::Status;
use crate::container::supervisor;
use crate::error::CommandError;
use crate::request::UsageError;
use crate::terminal;
use crate::wiring::Services;

/// How the user's terminal is attached to a container that starts.
#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) stdin: bool,
    pub(crate) sig_proxy: bool,
    pub(crate) detach_keys: String,
}

/// Starts containers.
///
/// # Errors
/// Why one could not be started.
pub(crate) fn start(
    args: &StartArgs,
    services: &Services,
    containers: &Containers,
) -> Result<ExitCode, CommandError> {
    if !args.attach && !args.interactive {
        return each(&args.containers, containers, |container, name| {
            begin_unless_running(container, services)?;
            Ok(name.to_owned())
        });
    }
    let [name] = args.containers.as_slice() else {
        return Err(CommandError::Usage(
            "you cannot start and attach multiple containers at once".to_owned(),
        ));
    };
    let container = containers.find(name)?;
    if container.state()?.status.is_active() {
        return Err(CommandError::Usage(format!("container {name} is running already: use `kiln attach`")));
    }
    let config = container.config()?;
    let attachment =
        Attachment { stdin: args.interactive, sig_proxy: true, detach_keys: args.detach_keys.clone() };
    match begin(&container, &config, services, Some(&attachment))? {
        Some(End::Exited(code)) => Ok(exit_code(code)),
        Some(End::Detached) | None => Ok(ExitCode::SUCCESS),
    }
}

/// Stops containers, if they run, and starts them.
///
/// # Errors
/// Why that could not be done.
pub(crate) fn restart(
    args: &StopArgs,
    services: &Services,
    containers: &Containers,
) -> Result<ExitCode, CommandError> {
    let signal = signal_of(args.signal.as_deref())?;
    each(&args.containers, containers, |container, name| {
        stop_one(container, signal, args.time)?;
        begin_unless_running(container, services)?;
        Ok(name.to_owned())
    })
}

fn begin_unless_running(container: &Container, services: &Services) -> Result<(), CommandError> {
    match container.state()?.status {
        Status::Paused => {
            let problem = "cannot start a paused container, try unpause instead";
            return Err(CommandError::Usage(problem.to_owned()));
        }
        status if status.is_active() => return Ok(()),
        _ => supervisor::thaw_what_was_left(&container.path),
    }
    let config = container.config()?;
    begin(container, &config, services, None)?;
    Ok(())
}

/// Starts a container in the background, and attaches the terminal to it if that is wished: then it ends with the
/// container, or when the terminal is detached.
///
/// # Errors
/// Why it did not start.
pub(crate) fn begin(
    container: &Container,
    config: &Config,
    services: &Services,
    attachment: Option<&Attachment>,
) -> Result<Option<End>, ContainerError> {
    let rung = services
        .isolation
        .as_ref()
        .map(|isolation| isolation.rung)
        .map_err(|error| ContainerError::Refused { code: 125, message: crate::report::chain(error) })?;
    let socket = supervisor::spawn(services.store.root(), rung, container)?;
    let client = Client::on(container, socket);
    // From the start: a program may ask for its window first of all.
    let start = Ask::Start { window: terminal::size() };
    let Some(attachment) = attachment else {
        client.call(&start)?;
        return Ok(None);
    };
    let pipes = Pipes::new().map_err(|cause| ContainerError::Supervisor { name: container.name(), cause })?;
    let fds: Vec<_> = pipes.theirs.iter().map(AsFd::as_fd).collect();
    client.ask(&Ask::Attach { stdin: attachment.stdin }, &fds)?;
    drop(fds);
    drop(pipes.theirs);
    let (_, mut keys) = client.call(&start)?;
    let session = Session {
        outputs: pipes.ours,
        keys: keys.pop(),
        is_terminal: config.process.terminal,
        sig_proxy: attachment.sig_proxy,
        detach_keys: detach_keys(&attachment.detach_keys)?,
    };
    let end = session.attend(&client)?;
    if end == End::Detached {
        eprintln!("read escape sequence");
    }
    Ok(Some(end))
}

/// The bytes of `--detach-keys`.
pub(crate) fn detach_keys(text: &str) -> Result<Vec<u8>, ContainerError> {
    attach::keys(text).ok_or_else(|| ContainerError::Refused {
        code: 125,
        message: UsageError::value("detach-keys", text, "expected keys such as ctrl-p,ctrl-q").to_string(),
    })
}
