//! The network of a container: what its flags ask for, kept with the container, and what is made of it at each start.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use kiln_cache::ImageRecord;
use kiln_core::NetworkMode;
use kiln_executor::isolation::{Isolation, Rung};
use kiln_executor::network::{
    Membership, NetworkKind, NetworkRequest, Networks, PortMapping, PrivateNetwork,
};
use kiln_executor::spec::ProcessRequest;
use serde::{Deserialize, Serialize};

use super::directory::Containers;
use super::error::ContainerError;
use super::sharing;
use super::state::Connected;
use crate::args::RunArgs;
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

/// The ports that the image or `--expose` names, one by one: `80/tcp`.
///
/// # Errors
/// If one is no port.
pub(crate) fn exposed(run: &RunArgs, image: &ImageRecord) -> Result<BTreeSet<String>, CommandError> {
    let mut all: BTreeSet<String> = image.config.config.exposed_ports.keys().cloned().collect();
    for text in &run.network.expose {
        let ports = network::exposed(text).ok().filter(|_| !text.contains(':'));
        let ports = ports.ok_or_else(|| UsageError::value("expose", text, "expected PORT[-PORT][/udp]"))?;
        all.extend(ports.iter().map(|port| format!("{}/{}", port.container_port, port.protocol)));
    }
    Ok(all)
}

impl ContainerNetwork {
    /// Understands the flags; the image says what `--publish-all` publishes.
    ///
    /// # Errors
    /// A flag that cannot be understood, or does not go with another.
    pub(crate) fn new(run: &RunArgs, image: &ImageRecord, services: &Services) -> Result<Self, CommandError> {
        let args = &run.network;
        let mut publish = Vec::new();
        for text in &args.publish {
            publish.extend(network::publish(text)?);
        }
        if args.publish_all {
            let named: BTreeSet<_> =
                publish.iter().map(|port| (port.container_port, port.protocol)).collect();
            for text in exposed(run, image)? {
                let exposed = network::exposed(&text)?.into_iter();
                publish.extend(exposed.filter(|port| !named.contains(&(port.container_port, port.protocol))));
            }
        }
        let mut choice = network::choice(&args.network, !publish.is_empty())?;
        if let NetworkChoice::Container(name) = &mut choice {
            sharing::check(run)?;
            // Whatever it is called later.
            *name = Containers::of(services.store.root()).find(name)?.id;
        }
        if !publish.is_empty() && matches!(choice, NetworkChoice::Host | NetworkChoice::None) {
            eprintln!("warning: published ports are discarded when using {} network mode", args.network);
        }
        let dns = args.dns.iter().map(|text| network::server(text)).collect::<Result<_, _>>()?;
        let (search, aliases) = (args.dns_search.clone(), args.network_alias.clone());
        Ok(Self { choice, publish, dns, search, aliases, root: services.root.clone() })
    }

    /// What `inspect` says of it: another container by its id, everything else as typed.
    pub(crate) fn mode(&self, typed: &str) -> String {
        match &self.choice {
            NetworkChoice::Container(id) => format!("container:{id}"),
            _ => typed.to_owned(),
        }
    }

    /// Makes the network and has `process` join it. The network lasts as long as what is returned. `names`: what the
    /// container is called in a user network besides its aliases.
    ///
    /// # Errors
    /// If the network cannot be made: a port is in use, something is not installed.
    pub(crate) fn start(
        &self,
        (networks, containers): (&Networks, &Containers),
        names: impl IntoIterator<Item = String>,
        process: &mut ProcessRequest,
    ) -> Result<(Option<PrivateNetwork>, Connected), ContainerError> {
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
            NetworkChoice::Container(id) => return Ok((None, sharing::join(containers, id, process)?)),
        }
        if process.network != NetworkMode::Private {
            let resolv_conf = process.resolv_conf.clone();
            return Ok((None, Connected { resolv_conf, ..Connected::default() }));
        }
        let network = networks.start(&request)?;
        process.resolv_conf = Some(network.resolv_conf().to_vec());
        process.joined = Some(network.joined());
        let connected = Connected {
            addresses: network.addresses().to_vec(),
            host: network.host(),
            published: network.published().to_vec(),
            resolv_conf: process.resolv_conf.clone(),
        };
        Ok((Some(network), connected))
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
