//! Subnets of four addresses for networks of one container, shared out among all kilns of a machine without a daemon.
//!
//! Whoever uses a subnet holds an abstract Unix socket of its name. The kernel lets only one process bind it, keeps it apart
//! for each network namespace of a host, as addresses are, and forgets it when the process ends, however it ends: there is no
//! file to lock and nothing to reclaim. Files below the store's root would not do: the stores of two kilns may differ.

use std::net::Ipv4Addr;
use std::os::unix::net::UnixDatagram;

use super::NetworkError;

const FIRST: u32 = u32::from_be_bytes([10, 90, 0, 0]);
const COUNT: u32 = (1 << 16) / 4;

/// A subnet, claimed until this is dropped.
#[derive(Debug)]
pub(super) struct Subnet {
    number: u32,
    _claim: UnixDatagram,
}

impl Subnet {
    /// Claims one that is free and that no route of the host leads to; `seed` says where to begin to look.
    pub(super) fn claim(seed: u32, routes: &[Route]) -> Result<Self, NetworkError> {
        use std::os::linux::net::SocketAddrExt as _;
        for offset in 0..COUNT {
            let number = (seed.wrapping_add(offset)) % COUNT;
            let first = FIRST + number * 4;
            if routes.iter().any(|route| route.meets(first)) {
                continue;
            }
            let name = format!("kiln/network/{}", Ipv4Addr::from(first));
            let address = std::os::unix::net::SocketAddr::from_abstract_name(name);
            if let Ok(claim) = address.and_then(|address| UnixDatagram::bind_addr(&address)) {
                return Ok(Self { number, _claim: claim });
            }
        }
        Err(NetworkError::NoSubnet)
    }

    /// The name of its link and of its table.
    pub(super) fn name(&self) -> String {
        format!("kiln{}", self.number)
    }

    /// The host's address.
    pub(super) fn host(&self) -> Ipv4Addr {
        Ipv4Addr::from(FIRST + self.number * 4 + 1)
    }

    /// The container's address.
    pub(super) fn container(&self) -> Ipv4Addr {
        Ipv4Addr::from(FIRST + self.number * 4 + 2)
    }
}

/// A route of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) link: String,
    network: u32,
    mask: u32,
}

impl Route {
    /// Whether it leads, in particular and not by default, to the subnet that begins here.
    fn meets(&self, first: u32) -> bool {
        self.mask != 0 && (first & self.mask == self.network || self.network & !3 == first)
    }

    /// Whether it is the way to everywhere.
    pub(super) fn is_default(&self) -> bool {
        self.mask == 0
    }
}

/// The routes in the text of `/proc/net/route`.
pub(super) fn routes(text: &str) -> Vec<Route> {
    let lines = text.lines().skip(1);
    let parse = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // In the machine's order, as the bytes of a number.
        let address = |index: usize| {
            let value = u32::from_str_radix(fields.get(index)?, 16).ok()?;
            Some(u32::from_be_bytes(value.to_ne_bytes()))
        };
        Some(Route { link: (*fields.first()?).to_owned(), network: address(1)?, mask: address(7)? })
    };
    lines.filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
        eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
        tun0\t00005A0A\t00000000\t0001\t0\t0\t0\t0080FFFF\t0\t0\t0\n";

    #[test]
    fn routes_are_read_in_the_machines_order() {
        let routes = routes(TABLE);
        assert!(routes[0].is_default() && routes[0].link == "eth0");
        assert_eq!(Ipv4Addr::from(routes[1].network).to_string(), "10.90.0.0");
        assert_eq!(Ipv4Addr::from(routes[1].mask).to_string(), "255.255.128.0");
    }

    #[test]
    fn a_subnet_is_claimed_once_and_not_where_the_host_has_a_route() {
        let seed = std::process::id();
        let first = Subnet::claim(seed, &[]).unwrap();
        let second = Subnet::claim(seed, &[]).unwrap();
        assert_ne!(first.name(), second.name());
        let beside = Subnet::claim(0, &routes(TABLE)).unwrap();
        assert!(u32::from(beside.host()) >= u32::from_be_bytes([10, 90, 128, 0]));
    }
}
