//! The network of a container: what its flags ask for, kept with the container, and what is made of it at each start.

use std::collections::BTreeSet;
use std::net::IpAddr;

use kiln_cache::ImageRecord;
use kiln_core::NetworkMode;
use kiln_executor::network::{NetworkRequest, Networks, PortMapping, PrivateNetwork};
use kiln_executor::spec::ProcessRequest;
use serde::{Deserialize, Serialize};

use crate::args::NetworkArgs;
use crate::container::error::ContainerError;
use crate::error::CommandError;
use crate::request::UsageError;
use crate::request::network::{self, NetworkChoice};
use crate::wiring::Services;

/// What a container asks for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ContainerNetwork {
    /// Whose network it is.
    pub(crate) choice: NetworkChoice,
    /// Ports of the host that lead to it.
    pub(crate) publish: Vec<PortMapping>,
    /// `--dns`.
    pub(crate) dns: Vec<IpAddr>,
    /// `--dns-search`.
    pub(crate) search: Vec<String>,
}

impl ContainerNetwork {
    /// Understands the flags; the image says what `--publish-all` publishes.
    ///
    /// # Errors
    /// A flag that cannot be understood, or does not go with another.
    pub(crate) fn new(args: &NetworkArgs, image: &ImageRecord) -> Result<Self, UsageError> {
        let mut publish = Vec::new();
        for text in &args.publish {
            publish.extend(network::publish(text)?);
        }
        if args.publish_all {
            let named: BTreeSet<_> =
                publish.iter().map(|port| (port.container_port, port.protocol)).collect();
            for text in image.config.config.exposed_ports.keys() {
                let exposed = network::exposed(text)?.into_iter();
                publish.extend(exposed.filter(|port| !named.contains(&(port.container_port, port.protocol))));
            }
        }
        let choice = network::choice(&args.network, !publish.is_empty())?;
        if let (NetworkChoice::Container(_), false) = (&choice, publish.is_empty()) {
            let problem = "ports are published by the container whose network it is: --publish does not go with --network container:NAME";
            return Err(UsageError::Conflict(problem.to_owned()));
        }
        let dns = args.dns.iter().map(|text| network::server(text)).collect::<Result<_, _>>()?;
        Ok(Self { choice, publish, dns, search: args.dns_search.clone() })
    }

    /// Makes the network and has `process` join it. The network lasts as long as what is returned.
    ///
    /// # Errors
    /// If the network cannot be made: a port is in use, something is not installed.
    pub(crate) fn start(
        &self,
        networks: &Networks,
        process: &mut ProcessRequest,
    ) -> Result<Option<PrivateNetwork>, ContainerError> {
        let refuse = |message| ContainerError::Refused { code: 125, message };
        let request = NetworkRequest {
            publish: self.publish.clone(),
            dns: self.dns.clone(),
            search: self.search.clone(),
        };
        let host = std::fs::read("/etc/resolv.conf").unwrap_or_default();
        process.resolv_conf = Some(request.resolv_conf(&host));
        match &self.choice {
            NetworkChoice::Host => process.network = NetworkMode::Host,
            NetworkChoice::None => process.network = NetworkMode::None,
            NetworkChoice::Private => {
                process.network = NetworkMode::Private;
                let network = networks.start(&request)?;
                process.resolv_conf = Some(network.resolv_conf().to_vec());
                process.joined = Some(network.joined());
                return Ok(Some(network));
            }
            NetworkChoice::Named(name) => {
                return Err(refuse(format!("there is no network `{name}`")));
            }
            NetworkChoice::Container(name) => {
                return Err(refuse(format!("there is no container `{name}`")));
            }
        }
        Ok(None)
    }
}

/// Makes private networks, if anything can be shut in here.
///
/// # Errors
/// Why nothing can.
pub(crate) fn networks(services: &Services) -> Result<Networks, CommandError> {
    let launcher = services.launcher()?.clone();
    let isolation =
        services.isolation.as_ref().map_err(|error| CommandError::NoIsolation(error.to_string()))?;
    let path = services.environment.get("PATH").unwrap_or_default();
    let resolv_conf = std::fs::read("/etc/resolv.conf").unwrap_or_default();
    Ok(Networks::new(launcher, isolation.rung, path, resolv_conf))
}
