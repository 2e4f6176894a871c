//! `kiln rm`.

use std::process::ExitCode;

use super::print;
use super::stop::stop_one;
use crate::args::RmArgs;
use crate::container::config::Config;
use crate::container::create::root_name;
use crate::container::directory::{Container, Containers};
use crate::container::error::ContainerError;
use crate::container::signal;
use crate::container::volume::Volumes;
use crate::error::CommandError;
use crate::wiring::Services;

/// Removes containers.
///
/// # Errors
/// If standard output cannot be written.
pub(crate) fn remove(
    args: &RmArgs,
    services: &Services,
    containers: &Containers,
) -> Result<ExitCode, CommandError> {
    let mut code = ExitCode::SUCCESS;
    for name in &args.containers {
        let removed = containers
            .find(name)
            .map_err(CommandError::from)
            .and_then(|container| remove_one(&container, args.force, args.volumes, services, containers));
        match removed {
            Ok(()) => print(&format!("{name}\n"))?,
            Err(CommandError::Container(ContainerError::Missing(_))) if args.force => {}
            Err(error) => {
                eprint!("{}", error.report(false));
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

/// Removes a container with its layers' root.
///
/// # Errors
/// If it runs and `force` does not say that it is to be killed.
pub(crate) fn remove_one(
    container: &Container,
    force: bool,
    volumes: bool,
    services: &Services,
    containers: &Containers,
) -> Result<(), CommandError> {
    if container.state()?.status.is_active() {
        if !force {
            return Err(ContainerError::IsRunning(container.name()).into());
        }
        stop_one(container, Some(signal::KILL), Some(0))?;
    }
    // A document that cannot be read must not make a container immortal.
    let config: Result<Config, _> = container.config();
    if let (true, Ok(config)) = (volumes, &config) {
        let store = Volumes::beside(containers);
        for mount in config.mounts.iter().filter(|mount| mount.anonymous) {
            store.remove(&mount.name)?;
        }
    }
    container.remove(containers)?;
    services.store.index().remove_root(&root_name(&container.id))?;
    Ok(())
}
