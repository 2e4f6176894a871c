//! The network of another container: `--network container:NAME`.

use kiln_core::NetworkMode;
use kiln_executor::spec::{JoinedNetwork, ProcessRequest};
use rustix::net::sockopt::socket_peercred;

use super::client::Client;
use super::config::Config;
use super::directory::{Container, Containers};
use super::error::ContainerError;
use super::state::Connected;
use crate::args::{ContainerCommand, RunArgs};
use crate::request::UsageError;
use crate::request::network::NetworkChoice;

/// Refuses what only a container with a network of its own can have, in Docker's words.
pub(super) fn check(args: &RunArgs) -> Result<(), UsageError> {
    let network = &args.network;
    let conflict = match () {
        () if args.hostname.is_some() => "hostname and the network mode",
        () if !network.dns.is_empty() => "dns and the network mode",
        () if !args.add_hosts.is_empty() => "custom host-to-IP mapping and the network mode",
        () if !network.publish.is_empty() || network.publish_all => {
            "port publishing and the container type network mode"
        }
        () if !network.expose.is_empty() => "port exposing and the container type network mode",
        () => return Ok(()),
    };
    Err(UsageError::Conflict(format!("conflicting options: {conflict}")))
}

/// Has `process` join the network of the container `id`, with its names and name servers.
pub(super) fn join(
    containers: &Containers,
    id: &str,
    process: &mut ProcessRequest,
) -> Result<Connected, ContainerError> {
    let refuse = |why: String| ContainerError::Refused { code: 125, message: why };
    let host = containers.find(id)?;
    let (config, state) = (host.config()?, host.state()?);
    if !state.status.is_active() || state.pid == 0 {
        return Err(refuse(format!("cannot join network of a non running container: {}", host.name())));
    }
    let of_host = matches!(config.networking.choice, NetworkChoice::Host);
    process.network = if of_host { NetworkMode::Host } else { NetworkMode::Private };
    process.joined = (!of_host).then(|| JoinedNetwork {
        path: format!("/proc/{}/ns/net", state.pid).into(),
        addresses: state.network.addresses.clone(),
        host: state.network.host,
    });
    process.hostname.clone_from(&config.process.hostname);
    process.add_hosts.clone_from(&config.process.add_hosts);
    process.resolv_conf.clone_from(&state.network.resolv_conf);
    // Its ports are its own.
    Ok(Connected { published: Vec::new(), ..state.network })
}

/// The process that looks after the container whose network a command's container is to join: an ordinary user has to be
/// in its user namespace for that.
pub(crate) fn beside(command: &ContainerCommand, containers: &Containers) -> Option<u32> {
    let supervisor = |name: &str| {
        let client = Client::connect(&containers.find(name).ok()?).ok()?;
        let process = socket_peercred(&client.socket).ok()?.pid;
        u32::try_from(process.as_raw_nonzero().get()).ok()
    };
    let joined = |container: Result<Container, ContainerError>| -> Option<u32> {
        let config: Config = container.ok()?.config().ok()?;
        match config.networking.choice {
            NetworkChoice::Container(id) => supervisor(&id),
            _ => None,
        }
    };
    match command {
        ContainerCommand::Run(args) => supervisor(args.network.network.strip_prefix("container:")?),
        ContainerCommand::Start(args) => {
            args.containers.iter().find_map(|name| joined(containers.find(name)))
        }
        ContainerCommand::Restart(args) => {
            args.containers.iter().find_map(|name| joined(containers.find(name)))
        }
        _ => None,
    }
}
