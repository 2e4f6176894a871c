//! The network flags of a container, in Docker's forms: `--network`, `--publish`, `--dns`.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use kiln_executor::network::{PortMapping, Protocol};
use serde::{Deserialize, Serialize};

use crate::request::UsageError;

/// Whose network a container has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NetworkChoice {
    /// The host's.
    Host,
    /// Loopback alone.
    None,
    /// One of its own with a way out.
    Private,
    /// One that `kiln network create` made.
    Named(String),
    /// That of another container.
    Container(String),
}

/// Understands `--network`. Without it a container has the host's network, unless it publishes ports.
pub(crate) fn choice(text: &str, publishes: bool) -> Result<NetworkChoice, UsageError> {
    match text {
        "" | "default" if publishes => Ok(NetworkChoice::Private),
        "" | "default" | "host" => Ok(NetworkChoice::Host),
        "none" => Ok(NetworkChoice::None),
        "private" | "bridge" => Ok(NetworkChoice::Private),
        other => match other.split_once(':') {
            Some(("container", name)) if !name.is_empty() => Ok(NetworkChoice::Container(name.to_owned())),
            None if is_name(other) => Ok(NetworkChoice::Named(other.to_owned())),
            _ => {
                let expected = "expected host, none, private, container:NAME or the name of a network";
                Err(UsageError::value("network", other, expected))
            }
        },
    }
}

/// Whether a network may be called so: Docker's rule for names.
pub(crate) fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.len() <= 64 && text.chars().all(allowed)
}

/// `[[IP:][HOSTPORT]:]CONTAINERPORT[/PROTOCOL]`, with ranges of ports (`docker run` reference, `--publish`).
pub(crate) fn publish(text: &str) -> Result<Vec<PortMapping>, UsageError> {
    let wrong = |why: &str| UsageError::value("publish", text, why);
    let (rest, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return Err(wrong("the protocol is neither tcp nor udp")),
    };
    let (rest, container) = rest.rsplit_once(':').unwrap_or(("", rest));
    // An IPv6 address has colons of its own, and brackets.
    let (ip, host) = match rest.rsplit_once(':') {
        Some((ip, host)) if !rest.ends_with(']') => (Some(ip), host),
        _ if rest.ends_with(']') => (Some(rest), ""),
        _ => (None, rest),
    };
    let ip = ip.map(|ip| ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip));
    let ip = ip.filter(|ip| !ip.is_empty()).map(str::parse::<IpAddr>).transpose();
    let ip = ip.map_err(|_| wrong("the host's address is not an IP address"))?;
    let ports = |text: &str| range(text).ok_or_else(|| wrong("expected ports between 1 and 65535"));
    let container = ports(container)?;
    if *container.start() == 0 {
        return Err(wrong("the container's port cannot be 0"));
    }
    let host = if host.is_empty() { 0..=0 } else { ports(host)? };
    let one = |host_port, container_port| PortMapping { ip, host_port, container_port, protocol };
    if host == (0..=0) {
        return Ok(container.map(|port| one(0, port)).collect());
    }
    if host.len() != container.len() {
        return Err(wrong("the two ranges of ports are not equally long"));
    }
    Ok(host.zip(container).map(|(host, container)| one(host, container)).collect())
}

/// A port that an image exposes, `80/tcp`, at any free port of the host (`--publish-all`).
pub(crate) fn exposed(text: &str) -> Result<Vec<PortMapping>, UsageError> {
    publish(text)
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    // `+1` is a number too, for Rust.
    let port = |text: &str| text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    let (first, last): (u16, u16) = (port(first)?, port(last)?);
    (first <= last).then_some(first..=last)
}

/// `--dns`.
pub(crate) fn server(text: &str) -> Result<IpAddr, UsageError> {
    text.parse().map_err(|_| UsageError::value("dns", text, "not an IP address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let show = |port: PortMapping| {
            let ip = port.ip.map(|ip| format!("{ip} ")).unwrap_or_default();
            format!("{ip}{}>{}/{}", port.host_port, port.container_port, port.protocol)
        };
        match publish(text) {
            Ok(ports) => ports.into_iter().map(show).collect::<Vec<_>>().join(", "),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn ports_are_published_in_dockers_forms() {
        for (text, meant) in [
            ("80", "0>80/tcp"),
            ("8080:80", "8080>80/tcp"),
            ("53:53/udp", "53>53/udp"),
            ("127.0.0.1:8080:80", "127.0.0.1 8080>80/tcp"),
            ("127.0.0.1::80", "127.0.0.1 0>80/tcp"),
            ("127.0.0.1:0:80", "127.0.0.1 0>80/tcp"),
            ("[::1]:8080:80/TCP", "::1 8080>80/tcp"),
            ("[::1]::80", "::1 0>80/tcp"),
            ("8000-8001:80-81", "8000>80/tcp, 8001>81/tcp"),
            ("80-81", "0>80/tcp, 0>81/tcp"),
        ] {
            assert_eq!(shown(text), meant, "{text}");
        }
        for (text, problem) in [
            ("x", "expected ports"),
            ("", "expected ports"),
            ("0", "cannot be 0"),
            ("80:", "expected ports"),
            ("70000:80", "expected ports"),
            ("1-3:1-2", "not equally long"),
            ("3-1", "expected ports"),
            ("80/sctp", "neither tcp nor udp"),
            ("localhost:1:2", "not an IP address"),
            ("300.0.0.1:1:2", "not an IP address"),
        ] {
            assert!(shown(text).contains(problem), "{text}: {}", shown(text));
        }
    }

    #[test]
    fn the_network_is_the_hosts_unless_ports_are_published() {
        assert_eq!(choice("default", false).unwrap(), NetworkChoice::Host);
        assert_eq!(choice("default", true).unwrap(), NetworkChoice::Private);
        assert_eq!(choice("none", true).unwrap(), NetworkChoice::None);
        assert_eq!(choice("web-1", false).unwrap(), NetworkChoice::Named("web-1".into()));
        assert_eq!(choice("container:a", false).unwrap(), NetworkChoice::Container("a".into()));
        for bad in ["container:", "a b", "../x", "-x", "x:y"] {
            assert!(choice(bad, false).is_err(), "{bad}");
        }
    }
}
