//! The process inside a network's namespace: it serves what the namespace needs to be of use, and nothing else.
//!
//! A fork of the process outside, made together with the namespace. It has tokio to itself: relays and name server wait for
//! many things at once.

use std::convert::Infallible;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::net::{AddressFamily, SocketType};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::NetworkError;
use super::error::During as _;
use super::listener::Listener;
use super::netlink::Socket;
use super::relay::relay;
use super::resolv_conf::FORWARDER;
use super::resolver::Resolver;
use crate::launcher::message::{receive, send};
use crate::sys;

/// Sockets of the host.
#[derive(Debug)]
pub(super) struct Inherited {
    pub(super) listeners: Vec<Listener>,
    pub(super) upstream: Vec<UdpSocket>,
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
    let _ = prepare(line).and_then(|go| serve(&go, inherited));
    sys::exit(1)
}

fn prepare(line: &OwnedFd) -> io::Result<Go> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::thread::set_name(c"kiln-network-in")?;
    let prepared = open();
    let told = prepared.as_ref().map(|_| ()).map_err(Clone::clone);
    let fds = prepared.as_ref().map(|(namespace, socket)| vec![namespace.as_fd(), socket.fd().as_fd()]);
    send(line, &[&serde_json::to_vec(&told)?], &fds.unwrap_or_default())?;
    let mut buffer = Vec::new();
    receive(line, &mut buffer)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(serde_json::from_slice(&buffer)?)
}

/// The namespace, and a socket to change it, for the process outside.
fn open() -> Result<(File, Socket), NetworkError> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None).during("open a socket")?;
    sys::loopback_up(&socket).during("bring loopback up")?;
    // As Docker has it: users other than root serve port 80 and ping. Where that cannot be had they cannot.
    for (name, value) in [("ip_unprivileged_port_start", "0"), ("ping_group_range", "0 2147483647")] {
        let _ = fs::write(format!("/proc/sys/net/ipv4/{name}"), value);
    }
    let namespace = File::open("/proc/self/ns/net").during("open the network namespace")?;
    Ok((namespace, Socket::route().during("open a netlink socket")?))
}

fn serve(go: &Go, inherited: Inherited) -> io::Result<Infallible> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(async {
        for listener in inherited.listeners {
            tokio::spawn(relay(listener, go.address));
        }
        if !inherited.upstream.is_empty() {
            let resolver = Resolver::start(Default::default(), inherited.upstream)?;
            tokio::spawn(resolver.serve(SocketAddr::new(FORWARDER.into(), 53)));
        }
        Ok(std::future::pending().await)
    })
}
