//! Netlink: messages as the kernel reads them (netlink(7), rtnetlink(7)), and a socket that waits for its answers.
//!
//! Written out here because it is little, and because no library offers what nf_tables' tables with an owner need: one
//! socket that stays open.

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

pub(super) const REQUEST: u16 = 0x1;
pub(super) const ACK: u16 = 0x4;
pub(super) const EXCLUSIVE: u16 = 0x200;
pub(super) const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
/// `NLM_F_APPEND` and `NLM_F_CREATE`: a rule after the others.
pub(super) const ADD: u16 = CREATE | APPEND;

const HEADER: usize = 16;
const ERROR: u16 = 2;
const NESTED: u16 = 0x8000;

/// A message under construction: a header of netlink, one of its family, attributes.
#[derive(Debug, Clone)]
pub(super) struct Message(Vec<u8>);

impl Message {
    /// A message of this kind; `family` is the fixed part after netlink's own header.
    pub(super) fn new(kind: u16, flags: u16, family: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(REQUEST | flags).to_ne_bytes());
        bytes.extend_from_slice(family);
        Self(bytes)
    }

    /// Appends bytes that are no attribute.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Appends an attribute.
    pub(super) fn put(&mut self, attribute: u16, value: &[u8]) -> &mut Self {
        self.attribute(attribute, |message| message.raw(value))
    }

    /// Appends a text attribute, which ends in a zero.
    pub(super) fn text(&mut self, attribute: u16, value: &str) -> &mut Self {
        self.attribute(attribute, |message| {
            message.raw(value.as_bytes());
            message.raw(&[0]);
        })
    }

    /// Appends a number in network order, as netfilter has its attributes.
    pub(super) fn number(&mut self, attribute: u16, value: u32) -> &mut Self {
        self.put(attribute, &value.to_be_bytes())
    }

    /// Appends an attribute that holds attributes.
    pub(super) fn nest(&mut self, attribute: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.attribute(attribute | NESTED, fill)
    }

    fn attribute(&mut self, attribute: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        fill(self);
        let length = u16::try_from(self.0.len() - start).expect("attributes are short");
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.0[start + 2..start + 4].copy_from_slice(&attribute.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn wants_ack(&self) -> bool {
        u16::from_ne_bytes([self.0[6], self.0[7]]) & ACK != 0
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).expect("messages are short");
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }
}

/// A netlink socket. It belongs to the network namespace in which it was opened, wherever its owner goes.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    sequence: Cell<u32>,
}

impl Socket {
    /// For links, addresses and routes.
    pub(super) fn route() -> io::Result<Self> {
        Self::open(None)
    }

    /// For netfilter.
    pub(super) fn netfilter() -> io::Result<Self> {
        Self::open(Some(netlink::NETFILTER))
    }

    fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
        Ok(rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, protocol)?.into())
    }

    /// Has one change made.
    pub(super) fn perform(&self, message: Message) -> io::Result<()> {
        self.batch(vec![message])
    }

    /// Sends messages in one packet and waits until each that asked for it is acknowledged.
    pub(super) fn batch(&self, messages: Vec<Message>) -> io::Result<()> {
        let mut waiting = messages.iter().filter(|message| message.wants_ack()).count();
        self.send(messages)?;
        while waiting > 0 {
            self.receive(|kind, payload| {
                if kind == ERROR {
                    waiting = waiting.saturating_sub(1);
                    return match number(payload, 0) {
                        Some(0) => Ok(()),
                        Some(errno) => Err(io::Error::from_raw_os_error(errno.cast_signed().wrapping_neg())),
                        None => Err(io::Error::from(io::ErrorKind::InvalidData)),
                    };
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Asks for one thing and gives the payload of the answer.
    pub(super) fn ask(&self, message: Message) -> io::Result<Vec<u8>> {
        self.send(vec![message])?;
        let mut answer = None;
        self.receive(|kind, payload| {
            if kind == ERROR {
                let errno = number(payload, 0).unwrap_or(0).cast_signed().wrapping_neg();
                return Err(io::Error::from_raw_os_error(errno));
            }
            answer.get_or_insert_with(|| payload.to_vec());
            Ok(())
        })?;
        answer.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    fn send(&self, messages: Vec<Message>) -> io::Result<()> {
        let mut packet = Vec::new();
        for message in messages {
            self.sequence.set(self.sequence.get() + 1);
            packet.extend(message.finish(self.sequence.get()));
        }
        // Without an address a netlink socket speaks to the kernel.
        rustix::net::send(&self.fd, &packet, SendFlags::empty())?;
        Ok(())
    }

    /// Receives one packet and hands on its messages.
    fn receive(&self, mut each: impl FnMut(u16, &[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut buffer = vec![0; 32 << 10];
        let (length, _) = rustix::io::retry_on_intr(|| {
            rustix::net::recv(&self.fd, buffer.as_mut_slice(), RecvFlags::empty())
        })?;
        let mut rest = &buffer[..length.min(32 << 10)];
        while let Some(length) = number(rest, 0).map(|length| length as usize) {
            if length < HEADER || length > rest.len() {
                break;
            }
            each(u16::from_ne_bytes([rest[4], rest[5]]), &rest[HEADER..length])?;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(())
    }
}

impl From<OwnedFd> for Socket {
    fn from(fd: OwnedFd) -> Self {
        Self { fd, sequence: Cell::new(0) }
    }
}

impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> Self {
        socket.fd
    }
}

/// The number in the machine's order at `offset`.
pub(super) fn number(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(offset..offset + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_aligned_and_carry_their_length() {
        let mut message = Message::new(16, ACK, &[9; 4]);
        message.nest(7, |inner| {
            inner.text(3, "ab");
        });
        let bytes = message.finish(1);
        assert_eq!(bytes.len(), 16 + 4 + 4 + 8);
        assert_eq!(number(&bytes, 0), Some(32));
        assert_eq!(bytes[20..24], [12, 0, 7, 0x80]);
        assert_eq!(bytes[24..32], [7, 0, 3, 0, b'a', b'b', 0, 0]);
    }

    #[test]
    fn the_kernel_knows_loopback() {
        let socket = Socket::route().unwrap();
        assert_eq!(crate::network::link::index(&socket, "lo").unwrap(), 1);
        assert!(crate::network::link::index(&socket, "no-such-link").is_err());
    }
}
