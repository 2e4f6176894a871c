//! `kiln stop` and `kiln kill`.

use std::process::ExitCode;

use super::each;
use crate::args::{KillArgs, StopArgs};
use crate::container::client::Client;
use crate::container::directory::{Container, Containers};
use crate::container::error::ContainerError;
use crate::container::protocol::Ask;
use crate::container::signal;
use crate::error::CommandError;
use crate::request::UsageError;

/// Stops containers; one that does not run is no error.
///
/// # Errors
/// A signal that does not exist.
pub(crate) fn stop(args: &StopArgs, containers: &Containers) -> Result<ExitCode, CommandError> {
    let signal = signal_of(args.signal.as_deref())?;
    each(&args.containers, containers, |container, name| {
        stop_one(container, signal, args.time)?;
        Ok(name.to_owned())
    })
}

/// The number of a signal's name.
pub(crate) fn signal_of(name: Option<&str>) -> Result<Option<i32>, CommandError> {
    let parse = |name: &str| {
        signal::number(name).ok_or_else(|| UsageError::value("signal", name, "no signal is called so").into())
    };
    name.map(parse).transpose()
}

/// Stops a container, if it runs.
pub(crate) fn stop_one(
    container: &Container,
    signal: Option<i32>,
    seconds: Option<i64>,
) -> Result<(), ContainerError> {
    let stopped =
        Client::connect(container).and_then(|client| client.until_exit(&Ask::Stop { signal, seconds }));
    match stopped {
        Ok(_) | Err(ContainerError::NotRunning(_)) => Ok(()),
        // It ended while it was asked.
        Err(ContainerError::Supervisor { .. }) if !is_active(container) => Ok(()),
        Err(error) => Err(error),
    }
}

fn is_active(container: &Container) -> bool {
    container.state().is_ok_and(|state| state.status.is_active())
}

/// Sends a signal to containers.
///
/// # Errors
/// A signal that does not exist.
pub(crate) fn kill(args: &KillArgs, containers: &Containers) -> Result<ExitCode, CommandError> {
    let number = signal_of(Some(&args.signal))?.unwrap_or(signal::KILL);
    each(&args.containers, containers, |container, name| {
        let client = Client::connect(container)?;
        if number == signal::KILL {
            // Docker too waits for this one.
            client.call(&Ask::Signal(number))?;
            match client.until_exit(&Ask::Wait) {
                Ok(_) | Err(ContainerError::Supervisor { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        } else {
            client.call(&Ask::Signal(number))?;
        }
        Ok(name.to_owned())
    })
}
