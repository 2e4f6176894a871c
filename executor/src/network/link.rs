//! Links, addresses and routes of a network namespace (rtnetlink(7)).

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use super::netlink::{ACK, CREATE, EXCLUSIVE, Message, Socket, number};

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;

const IFNAME: u16 = 3;
const MTU: u16 = 4;
const MASTER: u16 = 10;
const LINKINFO: u16 = 18;
const NET_NS_FD: u16 = 28;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const VETH_PEER: u16 = 1;

const UP: u32 = 1;
const INET: u8 = 2;

/// `struct ifinfomsg`.
fn interface(index: u32, flags: u32, change: u32) -> Vec<u8> {
    [[0; 4], index.to_ne_bytes(), flags.to_ne_bytes(), change.to_ne_bytes()].concat()
}

/// The number of a link.
pub(super) fn index(socket: &Socket, name: &str) -> io::Result<u32> {
    let mut message = Message::new(GET_LINK, 0, &interface(0, 0, 0));
    message.text(IFNAME, name);
    number(&socket.ask(message)?, 4).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// Makes a pair of links: `name` here, `peer` in another namespace.
pub(super) fn add_pair(
    socket: &Socket,
    name: &str,
    peer: &str,
    namespace: BorrowedFd<'_>,
    mtu: u32,
) -> io::Result<()> {
    let mut message = Message::new(NEW_LINK, ACK | CREATE | EXCLUSIVE, &interface(0, 0, 0));
    message.text(IFNAME, name).put(MTU, &mtu.to_ne_bytes());
    message.nest(LINKINFO, |info| {
        info.text(INFO_KIND, "veth").nest(INFO_DATA, |data| {
            data.nest(VETH_PEER, |other| {
                other.raw(&interface(0, 0, 0));
                other.text(IFNAME, peer).put(MTU, &mtu.to_ne_bytes());
                other.put(NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
            });
        });
    });
    socket.perform(message)
}

/// Makes a bridge.
pub(super) fn add_bridge(socket: &Socket, name: &str) -> io::Result<()> {
    let mut message = Message::new(NEW_LINK, ACK | CREATE | EXCLUSIVE, &interface(0, 0, 0));
    message.text(IFNAME, name).nest(LINKINFO, |info| {
        info.text(INFO_KIND, "bridge");
    });
    socket.perform(message)
}

/// Puts a link into a bridge.
pub(super) fn enslave(socket: &Socket, link: u32, bridge: u32) -> io::Result<()> {
    let mut message = Message::new(NEW_LINK, ACK, &interface(link, 0, 0));
    message.put(MASTER, &bridge.to_ne_bytes());
    socket.perform(message)
}

/// Takes a link away.
pub(super) fn delete(socket: &Socket, link: u32) -> io::Result<()> {
    socket.perform(Message::new(DELETE_LINK, ACK, &interface(link, 0, 0)))
}

/// Brings a link up.
pub(super) fn set_up(socket: &Socket, link: u32) -> io::Result<()> {
    socket.perform(Message::new(NEW_LINK, ACK, &interface(link, UP, UP)))
}

/// Gives a link an address.
pub(super) fn add_address(socket: &Socket, link: u32, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
    let family = [[INET, prefix, 0, 0], link.to_ne_bytes()].concat();
    let mut message = Message::new(NEW_ADDRESS, ACK | CREATE | EXCLUSIVE, &family);
    // IFA_LOCAL and IFA_ADDRESS.
    message.put(2, &address.octets()).put(1, &address.octets());
    socket.perform(message)
}

/// Sends everything that has no better route to `gateway`.
pub(super) fn add_default_route(socket: &Socket, gateway: Ipv4Addr) -> io::Result<()> {
    // `struct rtmsg`: table main, protocol static, scope universe, type unicast.
    let family = [INET, 0, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0];
    let mut message = Message::new(NEW_ROUTE, ACK | CREATE | EXCLUSIVE, &family);
    message.put(5, &gateway.octets());
    socket.perform(message)
}
