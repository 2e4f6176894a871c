//! The network of a container: what its flags ask for, kept with the container, and what is made of it at each start.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use kiln_cache::ImageRecord;
use kiln_core::NetworkMode;
use kiln_executor::isolation::{Isolation, Rung};
use kiln_executor::network::{
    Membership, NetworkKind, NetworkRequest, Networks, PortMapping, PrivateNetwork,
};
use kiln_executor::spec::ProcessRequest;
use serde::{Deserialize, Serialize};

use crate::args::NetworkArgs;
use crate::container::error::ContainerError;
use crate::environment::Environment;
use crate::error::CommandError;
use crate::networks::UserNetworks;
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
    /// `--network-alias`: what it is called in a user network besides its own name.
    #[serde(default)]
    pub(crate) aliases: Vec<String>,
    /// The user's directory, which user networks are in.
    #[serde(default)]
    pub(crate) root: PathBuf,
}

impl ContainerNetwork {
    /// Understands the flags; the image says what `--publish-all` publishes.
    ///
    /// # Errors
    /// A flag that cannot be understood, or does not go with another.
    pub(crate) fn new(args: &NetworkArgs, image: &ImageRecord, root: &Path) -> Result<Self, UsageError> {
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
        let (search, aliases) = (args.dns_search.clone(), args.network_alias.clone());
        Ok(Self { choice, publish, dns, search, aliases, root: root.to_owned() })
    }

    /// Makes the network and has `process` join it. The network lasts as long as what is returned. `names`: what the
    /// container is called in a user network besides its aliases.
    ///
    /// # Errors
    /// If the network cannot be made: a port is in use, something is not installed.
    pub(crate) fn start(
        &self,
        networks: &Networks,
        names: impl IntoIterator<Item = String>,
        process: &mut ProcessRequest,
    ) -> Result<Option<PrivateNetwork>, ContainerError> {
        let mut request = NetworkRequest {
            publish: self.publish.clone(),
            dns: self.dns.clone(),
            search: self.search.clone(),
            kind: NetworkKind::Private,
        };
        // Until the container has joined.
        let mut _joining = None;
        let host = std::fs::read("/etc/resolv.conf").unwrap_or_default();
        process.resolv_conf = Some(request.resolv_conf(&host));
        match &self.choice {
            NetworkChoice::Host => process.network = NetworkMode::Host,
            NetworkChoice::None => process.network = NetworkMode::None,
            NetworkChoice::Private => process.network = NetworkMode::Private,
            NetworkChoice::Named(name) => {
                process.network = NetworkMode::Private;
                let (directory, joining) = UserNetworks::of(&self.root).open(name)?;
                _joining = Some(joining);
                let mut all = self.aliases.clone();
                for name in names {
                    if !all.contains(&name) {
                        all.push(name);
                    }
                }
                request.kind = NetworkKind::Member(Membership { directory, names: all });
            }
            NetworkChoice::Container(name) => {
                let message = format!("there is no container `{name}`");
                return Err(ContainerError::Refused { code: 125, message });
            }
        }
        if process.network != NetworkMode::Private {
            return Ok(None);
        }
        let network = networks.start(&request)?;
        process.resolv_conf = Some(network.resolv_conf().to_vec());
        process.joined = Some(network.joined());
        Ok(Some(network))
    }
}

/// Makes private networks, if anything can be shut in here.
///
/// # Errors
/// Why nothing can.
pub(crate) fn networks(services: &Services) -> Result<Networks, CommandError> {
    let isolation =
        services.isolation.as_ref().map_err(|error| CommandError::NoIsolation(error.to_string()))?;
    Ok(networks_in(isolation, isolation.rung, &services.environment))
}

/// Makes private networks from within this isolation, for a user of that rung.
pub(crate) fn networks_in(isolation: &Isolation, rung: Rung, environment: &Environment) -> Networks {
    let path = environment.get("PATH").unwrap_or_default();
    Networks::new(isolation, rung, path, std::fs::read("/etc/resolv.conf").unwrap_or_default())
}
