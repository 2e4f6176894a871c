//! The process inside a network's namespace: it serves what the namespace needs to be of use, and nothing else.
//!
//! A fork of the process outside, made together with the namespace. It has tokio to itself: relays and name server wait for
//! many things at once.

use std::convert::Infallible;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketType};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::NetworkError;
use super::error::During as _;
use super::hub::{Hub, HubRequest};
use super::listener::Listener;
use super::netlink::Socket;
use super::relay::relay;
use super::resolv_conf::FORWARDER;
use super::resolver::{NameTable, Resolver};
use crate::launcher::message::{receive, send};
use crate::sys;

/// Sockets of the host.
#[derive(Debug)]
pub(super) struct Inherited {
    pub(super) listeners: Vec<Listener>,
    pub(super) upstream: Vec<UdpSocket>,
    /// Whether a tap device is to be made, for a hub of another user namespace.
    pub(super) tap: bool,
    /// The hub to be, if it is one.
    pub(super) hub: Option<HubRequest>,
}

/// What it is told when the namespace is connected.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Go {
    /// The container's address.
    pub(super) address: IpAddr,
}

/// Lives in the new namespace until the process outside ends.
pub(super) fn live(line: &OwnedFd, inherited: Inherited) -> ! {
    // What it was told or could not be told, the process outside knows.
    let _ = prepare(line, &inherited).and_then(|(go, hub)| serve(&go, inherited, hub));
    sys::exit(1)
}

fn prepare(line: &OwnedFd, inherited: &Inherited) -> io::Result<(Go, Option<Hub>)> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::thread::set_name(c"kiln-network-in")?;
    let opened = open(inherited);
    let told = opened.as_ref().map(|_| ()).map_err(Clone::clone);
    let fds: Vec<_> = opened.iter().flat_map(|opened| opened.fds.iter().map(AsFd::as_fd)).collect();
    send(line, &[&serde_json::to_vec(&told)?], &fds)?;
    let Ok(Opened { hub, .. }) = opened else { return Err(io::ErrorKind::Other.into()) };
    let mut buffer = Vec::new();
    receive(line, &mut buffer)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok((serde_json::from_slice(&buffer)?, hub))
}

/// What the process outside is given, and what stays here.
struct Opened {
    /// The namespace, a netlink socket in it, a tap device if one was asked for.
    fds: Vec<OwnedFd>,
    hub: Option<Hub>,
}

fn open(inherited: &Inherited) -> Result<Opened, NetworkError> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None).during("open a socket")?;
    sys::loopback_up(&socket).during("bring loopback up")?;
    // As Docker has it: users other than root serve port 80 and ping. Where that cannot be had they cannot.
    for (name, value) in [("ip_unprivileged_port_start", "0"), ("ping_group_range", "0 2147483647")] {
        let _ = fs::write(format!("/proc/sys/net/ipv4/{name}"), value);
    }
    let namespace = File::open("/proc/self/ns/net").during("open the network namespace")?;
    let netlink = Socket::route().during("open a netlink socket")?;
    let mut fds = vec![namespace.into(), netlink.into()];
    if inherited.tap {
        fds.push(sys::open_tap("eth0").during("open a tap device (`/dev/net/tun`)")?);
    }
    Ok(Opened { fds, hub: inherited.hub.clone().map(Hub::make).transpose()? })
}

fn serve(go: &Go, inherited: Inherited, hub: Option<Hub>) -> io::Result<Infallible> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(async {
        for listener in inherited.listeners {
            tokio::spawn(relay(listener, go.address));
        }
        if !inherited.upstream.is_empty() {
            let names = NameTable::default();
            let resolver = Resolver::start(Arc::clone(&names), inherited.upstream)?;
            let address = match hub {
                Some(hub) => {
                    let address = hub.gateway();
                    std::thread::spawn(move || hub.serve(&names));
                    address
                }
                None => FORWARDER,
            };
            tokio::spawn(resolver.serve(SocketAddr::new(address.into(), 53)));
        }
        Ok(std::future::pending().await)
    })
}
