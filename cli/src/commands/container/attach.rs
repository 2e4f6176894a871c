//! `kiln attach`.

use std::os::fd::AsFd;
use std::process::ExitCode;

use super::run::exit_code;
use super::start::detach_keys;
use crate::args::AttachArgs;
use crate::container::attach::{End, Pipes, Session};
use crate::container::client::Client;
use crate::container::directory::Containers;
use crate::container::error::ContainerError;
use crate::container::protocol::Ask;
use crate::error::CommandError;

/// Attaches the terminal to a container until one of them ends, and gives the container's exit code.
///
/// # Errors
/// If it does not run.
pub(crate) fn attach(args: &AttachArgs, containers: &Containers) -> Result<ExitCode, CommandError> {
    let detach_keys = detach_keys(&args.detach_keys)?;
    let container = containers.find(&args.container)?;
    let config = container.config()?;
    let client = Client::connect(&container)?;
    let pipes = Pipes::new().map_err(|cause| ContainerError::Supervisor { name: container.name(), cause })?;
    let fds: Vec<_> = pipes.theirs.iter().map(AsFd::as_fd).collect();
    client.ask(&Ask::Attach { stdin: !args.no_stdin }, &fds)?;
    drop(fds);
    drop(pipes.theirs);
    let (_, mut keys) = client.hear()?;
    let session = Session {
        outputs: pipes.ours,
        keys: keys.pop(),
        is_terminal: config.process.terminal,
        sig_proxy: args.sig_proxy,
        detach_keys,
    };
    match session.attend(&client)? {
        End::Exited(code) => Ok(exit_code(code)),
        End::Detached => {
            eprintln!("read escape sequence");
            Ok(ExitCode::SUCCESS)
        }
    }
}
