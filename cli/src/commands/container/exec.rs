//! `kiln exec`.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use rustix::pipe::{PipeFlags, pipe_with};

use super::run::exit_code;
use super::start::detach_keys;
use crate::args::ExecArgs;
use crate::container::attach::{self, End, Pipes, Session};
use crate::container::client::Client;
use crate::container::directory::Containers;
use crate::container::error::ContainerError;
use crate::container::log::Stream;
use crate::container::protocol::{Ask, ExecAsk};
use crate::environment::Environment;
use crate::error::CommandError;
use crate::request::pairs;
use crate::terminal;

/// Starts a process in a running container and gives its exit code.
///
/// # Errors
/// If the container does not run or the process does not start.
pub(crate) fn exec(
    args: &ExecArgs,
    containers: &Containers,
    environment: &Environment,
) -> Result<ExitCode, CommandError> {
    if args.tty && args.interactive && !args.detach && !attach::stdin_is_terminal() {
        return Err(CommandError::Usage("the input device is not a terminal".to_owned()));
    }
    let mut env = Vec::new();
    for file in &args.env_files {
        env.extend(
            pairs::file(file, environment)?.into_iter().map(|(name, value)| format!("{name}={value}")),
        );
    }
    let typed = pairs::variables(&args.env, environment);
    env.extend(typed.into_iter().map(|(name, value)| format!("{name}={value}")));
    let container = containers.find(&args.container)?;
    let client = Client::connect(&container)?;
    let terminal = (args.tty && !args.detach).then(terminal::size);
    let ask = Ask::Exec(Box::new(ExecAsk {
        command: args.command.clone(),
        env,
        user: args.user.clone(),
        workdir: args.workdir.clone(),
        privileged: args.privileged,
        terminal,
        detach: args.detach,
    }));
    let system = |cause: io::Error| CommandError::System { what: "make a pipe", cause };
    if args.detach || terminal.is_some() {
        let fds = if args.detach { nulls().map_err(system)? } else { Vec::new() };
        let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        client.ask(&ask, &borrowed)?;
        let (_, mut fds) = client.hear()?;
        let Some(master) = fds.pop() else { return Ok(ExitCode::SUCCESS) };
        let keys = if args.interactive { Some(master.try_clone().map_err(system)?) } else { None };
        let outputs = vec![(master, Stream::Out)];
        return attend(args, &client, outputs, keys, true);
    }
    let pipes = Pipes::new().map_err(system)?;
    let (theirs, ours) = if args.interactive {
        let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC).map_err(|errno| system(errno.into()))?;
        (theirs, Some(ours))
    } else {
        (null().map_err(system)?, None)
    };
    let fds: Vec<_> = std::iter::once(theirs.as_fd()).chain(pipes.theirs.iter().map(AsFd::as_fd)).collect();
    client.ask(&ask, &fds)?;
    drop(fds);
    drop((theirs, pipes.theirs));
    client.hear()?;
    attend(args, &client, pipes.ours, ours, false)
}

fn attend(
    args: &ExecArgs,
    client: &Client,
    outputs: Vec<(OwnedFd, Stream)>,
    keys: Option<OwnedFd>,
    is_terminal: bool,
) -> Result<ExitCode, CommandError> {
    let detach_keys = detach_keys(&args.detach_keys)?;
    let session = Session { outputs, keys, is_terminal, sig_proxy: false, detach_keys };
    match session.attend(client) {
        Ok(End::Exited(code)) => Ok(exit_code(code)),
        Ok(End::Detached) => Ok(ExitCode::SUCCESS),
        Err(error @ ContainerError::Refused { .. }) => Err(error.into()),
        Err(error) => Err(error.into()),
    }
}

fn null() -> io::Result<OwnedFd> {
    Ok(std::fs::File::options().read(true).write(true).open("/dev/null")?.into())
}

fn nulls() -> io::Result<Vec<OwnedFd>> {
    (0..3).map(|_| null()).collect()
}
