//! The host's side of published ports: sockets that are bound before anything else is made, so that a port in use is told
//! at once and a port that is left to the kernel is known.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

use super::request::{PortMapping, Protocol, PublishedPort};
use super::{NetworkError, error::During as _};

/// How often a free port is looked for that is free in both families.
const ATTEMPTS: usize = 16;

/// A bound socket and where it leads.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) socket: OwnedFd,
    pub(super) port: PublishedPort,
}

/// Binds all of `wanted`, one socket each, two where every address is meant.
pub(super) fn bind_all(wanted: &[PortMapping]) -> Result<Vec<Listener>, NetworkError> {
    let mut listeners = Vec::new();
    for mapping in wanted {
        match mapping.ip {
            Some(ip) => listeners.push(bind_one(ip, mapping.host_port, mapping)?),
            None => listeners.extend(bind_both(mapping)?),
        }
    }
    Ok(listeners)
}

/// The same port of all IPv4 and all IPv6 addresses.
fn bind_both(mapping: &PortMapping) -> Result<Vec<Listener>, NetworkError> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let first = bind_one(Ipv4Addr::UNSPECIFIED.into(), mapping.host_port, mapping)?;
        match bind_one(Ipv6Addr::UNSPECIFIED.into(), first.port.host_port, mapping) {
            Ok(second) => return Ok(vec![first, second]),
            Err(NetworkError::PortInUse { .. }) if mapping.host_port == 0 && attempts < ATTEMPTS => {}
            Err(error @ NetworkError::PortInUse { .. }) => return Err(error),
            // A host without IPv6.
            Err(_) => return Ok(vec![first]),
        }
    }
}

fn bind_one(ip: IpAddr, port: u16, mapping: &PortMapping) -> Result<Listener, NetworkError> {
    let address = SocketAddr::new(ip, port);
    let protocol = mapping.protocol;
    let failed = |errno: Errno| match errno {
        Errno::ADDRINUSE => NetworkError::PortInUse { address, protocol },
        errno => NetworkError::Publish { address, protocol, errno: errno.raw_os_error() },
    };
    let family = if ip.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, kind, flags, None).map_err(failed)?;
    if ip.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true).map_err(failed)?;
    }
    if protocol == Protocol::Tcp {
        // Connections of an earlier container that linger do not keep the port.
        sockopt::set_socket_reuseaddr(&socket, true).map_err(failed)?;
    }
    bind(&socket, &address).map_err(failed)?;
    if protocol == Protocol::Tcp {
        listen(&socket, 1024).map_err(failed)?;
    }
    let bound = rustix::net::getsockname(&socket).during("ask for the port")?;
    let bound = SocketAddr::try_from(bound).during("ask for the port")?;
    let port =
        PublishedPort { ip, host_port: bound.port(), container_port: mapping.container_port, protocol };
    Ok(Listener { socket, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(ip: Option<IpAddr>, host_port: u16, protocol: Protocol) -> PortMapping {
        PortMapping { ip, host_port, container_port: 80, protocol }
    }

    #[test]
    fn a_port_is_free_once() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let loopback = Some(Ipv4Addr::LOCALHOST.into());
            let first = bind_all(&[mapping(loopback, 0, protocol)]).unwrap();
            let port = first[0].port.host_port;
            assert_ne!(port, 0);
            let error = bind_all(&[mapping(loopback, port, protocol)]).unwrap_err();
            assert!(matches!(error, NetworkError::PortInUse { .. }), "{error}");
        }
    }

    #[test]
    fn every_address_is_one_port_of_both_families() {
        let both = bind_all(&[mapping(None, 0, Protocol::Tcp)]).unwrap();
        assert!(both.iter().all(|listener| listener.port.host_port == both[0].port.host_port));
    }

    #[test]
    fn an_address_of_another_host_is_refused() {
        let ip = Some("203.0.113.77".parse().unwrap());
        let error = bind_all(&[mapping(ip, 0, Protocol::Tcp)]).unwrap_err();
        assert!(error.to_string().contains("no interface of this host"), "{error}");
    }
}
