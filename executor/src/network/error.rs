//! Why a network could not be made.

use std::io;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::Protocol;

/// Why a network could not be made. It crosses from the process that tried to kiln, so that the kernel's answers are numbers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum NetworkError {
    /// Somebody listens there already.
    #[error("port is in use: {address}/{protocol}")]
    PortInUse {
        /// The address and port of the host.
        address: SocketAddr,
        /// Of which protocol.
        protocol: Protocol,
    },
    /// A port cannot be listened on.
    #[error("publish {address}/{protocol}: {}{}", reason(*errno), port_hint(*errno, *address))]
    Publish {
        /// The address and port of the host.
        address: SocketAddr,
        /// Of which protocol.
        protocol: Protocol,
        /// What the kernel said.
        errno: i32,
    },
    /// There is no pasta.
    #[error(
        "a private network of an ordinary user needs pasta: install the package passt, or use --network host or none"
    )]
    NoPasta,
    /// Pasta gave up.
    #[error("pasta could not connect the network: {0}")]
    Pasta(String),
    /// The kernel has no nf_tables, or an old one.
    #[error(
        "the kernel cannot translate addresses: {} (nf_tables with NAT, from Linux 5.12 on, is needed for a private network as root; use --network host or none)",
        reason(*errno)
    )]
    NoNftables {
        /// What the kernel said.
        errno: i32,
    },
    /// All subnets are taken.
    #[error("no subnet of 10.90.0.0/16 is free")]
    NoSubnet,
    /// A user network has all its addresses in use.
    #[error("all addresses of the network are taken")]
    NetworkFull,
    /// Nothing can be shut in here, so no network either.
    #[error("a private network is not available with this isolation: use --network host or none")]
    Unavailable,
    /// A step of making it failed.
    #[error("network: {operation}: {}", reason(*errno))]
    Setup {
        /// What was attempted, on what.
        operation: String,
        /// What the kernel said.
        errno: i32,
    },
    /// The process that holds the network is gone.
    #[error("the process that holds the network has ended")]
    Lost,
}

fn reason(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

fn port_hint(errno: i32, address: SocketAddr) -> &'static str {
    match errno {
        libc::EACCES | libc::EPERM if address.port() < 1024 => {
            " (an ordinary user may publish ports from net.ipv4.ip_unprivileged_port_start on, usually 1024)"
        }
        libc::EADDRNOTAVAIL => " (no interface of this host has the address)",
        _ => "",
    }
}

/// Names what failed.
pub(super) trait During<T> {
    fn during(self, operation: &str) -> Result<T, NetworkError>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, operation: &str) -> Result<T, NetworkError> {
        self.map_err(|error| NetworkError::Setup {
            operation: operation.to_owned(),
            errno: error.into().raw_os_error().unwrap_or(libc::EIO),
        })
    }
}
