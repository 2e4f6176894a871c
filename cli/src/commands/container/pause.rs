//! `kiln pause` and `kiln unpause`.

use std::process::ExitCode;

use super::each;
use crate::args::NamesArgs;
use crate::container::client::Client;
use crate::container::directory::Containers;
use crate::container::protocol::Ask;
use crate::error::CommandError;

/// Stops the processes of containers from running, or lets them go on.
///
/// # Errors
/// If standard output cannot be written.
pub(crate) fn pause(
    args: &NamesArgs,
    pause: bool,
    containers: &Containers,
) -> Result<ExitCode, CommandError> {
    each(&args.containers, containers, |container, name| {
        Client::connect(container)?.call(&Ask::Pause(pause))?;
        Ok(name.to_owned())
    })
}
