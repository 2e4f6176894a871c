//! `kiln rm` and `kiln container prune`.

use std::process::ExitCode;

use super::print;
use super::stop::stop_one;
use crate::args::{PruneContainersArgs, RmArgs};
use crate::commands::prune::{Reclaimed, confirmed};
use crate::container::config::Config;
use crate::container::directory::{Container, Containers};
use crate::container::error::ContainerError;
use crate::container::supervisor::thaw_what_was_left;
use crate::container::volume::Volumes;
use crate::container::{disk, roots, signal};
use crate::error::CommandError;
use crate::request::fitting::Fitting;
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
    thaw_what_was_left(&container.path);
    // A document that cannot be read must not make a container immortal.
    let config: Result<Config, _> = container.config();
    if let (true, Ok(config)) = (volumes, &config) {
        let store = Volumes::beside(containers);
        for mount in config.mounts.iter().filter(|mount| mount.anonymous) {
            store.remove(&mount.name)?;
        }
    }
    container.remove(containers)?;
    services.store.index().remove_root(&roots::name(&container.id))?;
    Ok(())
}

/// Removes all containers that do not run, or those of them that fit.
///
/// # Errors
/// A filter that cannot be understood.
pub(crate) fn prune(args: &PruneContainersArgs, services: &Services) -> Result<(), CommandError> {
    let filters = Fitting::all(&args.filter)?;
    if !args.force && !confirmed("This removes all containers that do not run.")? {
        return Ok(());
    }
    Reclaimed::tell(&[remove_idle(&filters, services)?])
}

/// Removes the containers that do not run and fit.
///
/// # Errors
/// If one cannot be removed.
pub(crate) fn remove_idle(filters: &[Fitting], services: &Services) -> Result<Reclaimed, CommandError> {
    let containers = Containers::of(services.store.root());
    let (mut gone, mut bytes) = (Vec::new(), 0);
    for container in containers.all()? {
        // One that is being removed just now needs nothing more.
        let (Ok(config), Ok(state)) = (container.config(), container.state()) else { continue };
        let made = humantime::parse_rfc3339(&config.created).ok();
        let fits = filters.iter().all(|filter| filter.fits(made, &config.labels));
        if state.status.is_active() || !fits {
            continue;
        }
        let size = disk::bytes(&container.path.join("layer/tree"));
        match remove_one(&container, false, false, services, &containers) {
            // It was started meanwhile.
            Err(CommandError::Container(ContainerError::IsRunning(_))) => continue,
            removed => removed?,
        }
        bytes += size;
        gone.push(container.id);
    }
    Ok(Reclaimed { head: "Deleted Containers", gone, bytes })
}
