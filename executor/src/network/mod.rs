//! Networks of steps and containers: a namespace that is made and furnished before the sandbox starts, which joins it.
//!
//! | who | way out | published ports |
//! | --- | --- | --- |
//! | root | a pair of links; nf_tables masquerades | translated by nf_tables, from loopback addresses and for IPv6 relayed |
//! | an ordinary user | pasta | relayed |
//!
//! A user network is a private network of its `hub`, into which its containers' are plugged.
//!
//! Two processes hold a network, both forks of the launcher: `outside` stands on the host and holds links, rules and pasta;
//! `inside` stands in the namespace, relays what arrives at published ports and answers for the host's name servers.
//!
//! **Invariant:** nothing of a network outlives kiln, whatever ends it, and nothing of it is in a file: links end with the
//! namespace, rules with a socket, claims of subnets with another, processes with the launcher's pid namespace.

mod error;
mod hub;
mod inside;
mod link;
mod listener;
mod message;
mod netlink;
mod nftables;
pub(crate) mod outside;
mod pasta;
mod private;
mod relay;
mod request;
mod resolv_conf;
mod resolver;
mod subnet;

pub use error::NetworkError;
pub use hub::{HubRequest, Member, Membership, has_hub, members};
pub use private::{Networks, PrivateNetwork};
pub use request::{NetworkKind, NetworkRequest, PortMapping, Protocol, PublishedPort};
