//! Taking a container away, with what is its alone.

use super::config::Config;
use super::directory::{Container, Containers};
use super::error::ContainerError;
use super::volume::Volumes;

/// Removes a container that does not run, and the volumes that nobody named.
pub(crate) fn remove(
    containers: &Containers,
    container: &Container,
    config: &Config,
) -> Result<(), ContainerError> {
    let volumes = Volumes::beside(containers);
    for mount in config.mounts.iter().filter(|mount| mount.anonymous) {
        volumes.remove(&mount.name)?;
    }
    container.remove(containers)
}
