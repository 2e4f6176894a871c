//! Address translation for one network, in a table of nf_tables that has an owner.
//!
//! The kernel removes a table with an owner when the socket that made it is closed (`NFT_TABLE_F_OWNER`, Linux 5.12): nothing
//! stays behind after `kill -9`, no other program can change the table by mistake, and kiln changes no other's. The `nft`
//! program could not do this: its socket is closed when it ends.

use std::io;
use std::net::Ipv4Addr;

use super::NetworkError;
use super::netlink::{ACK, ADD, CREATE, Message, Socket};
use super::request::{Protocol, PublishedPort};

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const SUBSYSTEM: u16 = 10;
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const NEW_CHAIN: u16 = SUBSYSTEM << 8 | 3;
const NEW_RULE: u16 = SUBSYSTEM << 8 | 6;
const TABLE_OWNER: u32 = 2;

/// NFPROTO_INET: both families in one table.
const INET: u8 = 1;
const IPV4: u8 = 2;

const PREROUTING: u32 = 0;
const POSTROUTING: u32 = 4;
const DESTINATION: i32 = -100;
const SOURCE: i32 = 100;

const ELEMENT: u16 = 1;

/// What is translated.
#[derive(Debug)]
pub(super) struct Translation<'a> {
    /// The table, and the host's end of the link: they have one name.
    pub(super) name: &'a str,
    /// Who is behind it: an address, and how many of its bits count.
    pub(super) source: (Ipv4Addr, u8),
    /// What reaches that address from outside; ports on loopback addresses are relayed instead, because the kernel routes nothing from
    /// there.
    pub(super) published: &'a [PublishedPort],
}

/// Loads the rules. They last as long as `socket` is open.
pub(super) fn load(socket: &Socket, wanted: &Translation<'_>) -> io::Result<()> {
    let mut messages = vec![batch(BATCH_BEGIN)];
    let mut table = message(NEW_TABLE, CREATE);
    table.text(1, wanted.name).number(2, TABLE_OWNER);
    messages.push(table);
    messages.push(chain(wanted.name, "outward", POSTROUTING, SOURCE));
    messages.push(rule(wanted.name, "outward", |rule| {
        rule.is_ipv4().source(wanted.source).not_to_link(wanted.name).masquerade();
    }));
    let reached = |port: &&PublishedPort| port.ip.is_ipv4() && !port.ip.is_loopback();
    let mut ports = wanted.published.iter().filter(reached).peekable();
    if ports.peek().is_some() {
        messages.push(chain(wanted.name, "inward", PREROUTING, DESTINATION));
    }
    for port in ports {
        messages.push(rule(wanted.name, "inward", |rule| {
            rule.not_from_link(wanted.name).is_ipv4();
            match port.ip {
                std::net::IpAddr::V4(ip) if !ip.is_unspecified() => rule.destination(ip),
                _ => rule.is_for_this_host(),
            };
            rule.port(port.protocol, port.host_port).translate_to(wanted.source.0, port.container_port);
        }));
    }
    messages.push(batch(BATCH_END));
    socket.batch(messages)
}

/// What it means that rules could not be loaded.
pub(super) fn unavailable(error: &io::Error) -> NetworkError {
    match error.raw_os_error() {
        Some(errno @ (libc::EPERM | libc::EACCES)) => {
            NetworkError::Setup { operation: "load the rules of address translation".to_owned(), errno }
        }
        errno => NetworkError::NoNftables { errno: errno.unwrap_or(libc::EIO) },
    }
}

fn batch(kind: u16) -> Message {
    let [high, low] = SUBSYSTEM.to_be_bytes();
    Message::new(kind, 0, &[0, 0, high, low])
}

fn message(kind: u16, flags: u16) -> Message {
    Message::new(kind, ACK | flags, &[INET, 0, 0, 0])
}

fn chain(table: &str, name: &str, hook: u32, priority: i32) -> Message {
    let mut chain = message(NEW_CHAIN, CREATE);
    chain.text(1, table).text(3, name);
    chain.nest(4, |at| {
        at.number(1, hook).number(2, priority.cast_unsigned());
    });
    chain.text(7, "nat");
    chain
}

fn rule(table: &str, chain: &str, fill: impl FnOnce(&mut Rule<'_>)) -> Message {
    let mut rule = message(NEW_RULE, ADD);
    rule.text(1, table).text(2, chain);
    rule.nest(4, |expressions| fill(&mut Rule(expressions)));
    rule
}

/// The expressions of a rule: each must hold for the next to be looked at.
struct Rule<'a>(&'a mut Message);

impl Rule<'_> {
    fn expression(&mut self, name: &str, fill: impl FnOnce(&mut Message)) -> &mut Self {
        self.0.nest(ELEMENT, |element| {
            element.text(1, name).nest(2, fill);
        });
        self
    }

    fn compare(&mut self, operator: u32, value: &[u8]) -> &mut Self {
        self.expression("cmp", |cmp| {
            cmp.number(1, 1).number(2, operator).nest(3, |data| {
                data.put(1, value);
            });
        })
    }

    fn meta(&mut self, key: u32) -> &mut Self {
        self.expression("meta", |meta| {
            meta.number(1, 1).number(2, key);
        })
    }

    fn payload(&mut self, base: u32, offset: u32, length: u32) -> &mut Self {
        self.expression("payload", |payload| {
            payload.number(1, 1).number(2, base).number(3, offset).number(4, length);
        })
    }

    fn is_ipv4(&mut self) -> &mut Self {
        self.meta(15).compare(0, &[IPV4])
    }

    fn source(&mut self, (address, prefix): (Ipv4Addr, u8)) -> &mut Self {
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        self.payload(1, 12, 4).expression("bitwise", |bitwise| {
            bitwise.number(1, 1).number(2, 1).number(3, 4);
            bitwise.nest(4, |data| {
                data.put(1, &mask.to_be_bytes());
            });
            bitwise.nest(5, |data| {
                data.put(1, &[0; 4]);
            });
        });
        self.compare(0, &address.octets())
    }

    fn destination(&mut self, address: Ipv4Addr) -> &mut Self {
        self.payload(1, 16, 4).compare(0, &address.octets())
    }

    fn is_for_this_host(&mut self) -> &mut Self {
        // fib daddr type local.
        self.expression("fib", |fib| {
            fib.number(1, 1).number(2, 3).number(3, 2);
        });
        self.compare(0, &2_u32.to_ne_bytes())
    }

    fn not_to_link(&mut self, name: &str) -> &mut Self {
        self.meta(7).compare(1, &padded(name))
    }

    fn not_from_link(&mut self, name: &str) -> &mut Self {
        self.meta(6).compare(1, &padded(name))
    }

    fn port(&mut self, protocol: Protocol, port: u16) -> &mut Self {
        self.meta(16).compare(0, &[protocol.number()]);
        self.payload(2, 2, 2).compare(0, &port.to_be_bytes())
    }

    fn masquerade(&mut self) -> &mut Self {
        self.expression("masq", |_| {})
    }

    fn translate_to(&mut self, address: Ipv4Addr, port: u16) -> &mut Self {
        self.immediate(1, &address.octets()).immediate(2, &port.to_be_bytes());
        self.expression("nat", |nat| {
            nat.number(1, 1).number(2, u32::from(IPV4)).number(3, 1).number(5, 2);
        })
    }

    fn immediate(&mut self, register: u32, value: &[u8]) -> &mut Self {
        self.expression("immediate", |immediate| {
            immediate.number(1, register).nest(2, |data| {
                data.put(1, value);
            });
        })
    }
}

/// A link's name as the kernel compares it.
fn padded(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(name.bytes().take(15)) {
        *to = from;
    }
    bytes
}
