//! What is asked of a network, and what was made of it.

use std::fmt;
use std::net::IpAddr;

use super::hub::{HubRequest, Membership};
use serde::{Deserialize, Serialize};

/// What a container's private network shall be like.
#[derive(Debug, Clone, Default)]
pub struct NetworkRequest {
    /// Ports of the host that lead into it.
    pub publish: Vec<PortMapping>,
    /// Name servers (`--dns`); the host's if empty.
    pub dns: Vec<IpAddr>,
    /// Domains to search (`--dns-search`); the host's if empty.
    pub search: Vec<String>,
    /// What it is connected to.
    pub kind: NetworkKind,
}

/// What a network is connected to.
#[derive(Debug, Clone, Default)]
pub enum NetworkKind {
    /// To the host, for one container.
    #[default]
    Private,
    /// To a user network.
    Member(Membership),
    /// To the host, for the members of a user network.
    Hub(HubRequest),
}

/// A port to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// On this address of the host alone; on all of them without.
    pub ip: Option<IpAddr>,
    /// The host's port; 0 for any that is free.
    pub host_port: u16,
    /// The container's port.
    pub container_port: u16,
    /// Of which protocol.
    pub protocol: Protocol,
}

/// A port that is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort {
    /// The address of the host, `0.0.0.0` or `::` for all.
    pub ip: IpAddr,
    /// The host's port.
    pub host_port: u16,
    /// The container's port.
    pub container_port: u16,
    /// Of which protocol.
    pub protocol: Protocol,
}

/// What is carried over IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// The number in IP's header.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}
