//! `/etc/resolv.conf` of a network: the host's, but for name servers that cannot be reached from there.

use std::net::{IpAddr, Ipv4Addr};

use super::NetworkRequest;

/// Where the forwarder of a network listens if the host's name servers are on its loopback interface (systemd-resolved's
/// 127.0.0.53): Docker's address, which nothing else uses.
pub(super) const FORWARDER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// What a network is told of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    /// The file.
    pub(super) text: Vec<u8>,
    /// Name servers of the host that must be asked from there.
    pub(super) forward: Vec<IpAddr>,
}

/// The file for a network, out of the host's and of what was asked for.
pub(super) fn names(host: &[u8], request: &NetworkRequest) -> Names {
    let host = String::from_utf8_lossy(host);
    let servers = servers(&host);
    let (reachable, hidden): (Vec<IpAddr>, Vec<IpAddr>) =
        servers.into_iter().partition(|address| !address.is_loopback());
    let (servers, forward) = if !request.dns.is_empty() {
        (request.dns.clone(), Vec::new())
    } else if !reachable.is_empty() {
        (reachable, Vec::new())
    } else {
        // A host without name servers asks its own (resolv.conf(5)).
        let hidden = if hidden.is_empty() { vec![Ipv4Addr::LOCALHOST.into()] } else { hidden };
        (vec![FORWARDER.into()], hidden)
    };
    Names { text: file(&host, &servers, &request.search), forward }
}

impl NetworkRequest {
    /// The file for a container in the host's network or in none, out of the host's.
    pub fn resolv_conf(&self, host: &[u8]) -> Vec<u8> {
        if self.dns.is_empty() && self.search.is_empty() {
            return host.to_vec();
        }
        let host = String::from_utf8_lossy(host);
        let servers = if self.dns.is_empty() { servers(&host) } else { self.dns.clone() };
        file(&host, &servers, &self.search)
    }
}

/// All name servers of the host, for a process that stands on the host.
pub(super) fn all_servers(host: &[u8]) -> Vec<IpAddr> {
    let found = servers(&String::from_utf8_lossy(host));
    if found.is_empty() { vec![Ipv4Addr::LOCALHOST.into()] } else { found }
}

/// The file for a container of a user network: its name server comes first, and a name without dots is asked as it is.
pub(super) fn with_names(host: &[u8], server: IpAddr, request: &NetworkRequest) -> Vec<u8> {
    let servers: Vec<IpAddr> = std::iter::once(server).chain(request.dns.iter().copied()).collect();
    let mut text = file(&String::from_utf8_lossy(host), &servers, &request.search);
    text.extend(b"options ndots:0\n");
    text
}

/// All name servers of a resolv.conf. An address with a zone (`fe80::1%eth0`) means something on the host alone.
pub(super) fn servers(text: &str) -> Vec<IpAddr> {
    let lines = text.lines().map(str::trim_start).filter_map(|line| line.strip_prefix("nameserver"));
    lines.filter_map(|rest| rest.trim().parse().ok()).collect()
}

/// A file with these servers and the host's options and domains, unless others are given; `.` alone means none.
pub(super) fn file(host: &str, servers: &[IpAddr], search: &[String]) -> Vec<u8> {
    let mut text = String::new();
    for server in servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if search.is_empty() {
        keep(&mut text, host, &["search", "domain"]);
    } else if search != ["."] {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    keep(&mut text, host, &["options"]);
    text.into_bytes()
}

fn keep(text: &mut String, host: &str, words: &[&str]) {
    for line in host.lines() {
        if line.split_whitespace().next().is_some_and(|word| words.contains(&word)) {
            text.push_str(&format!("{}\n", line.trim()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(host: &str, request: &NetworkRequest, text: &str, forward: &[&str]) {
        let names = names(host.as_bytes(), request);
        assert_eq!(String::from_utf8(names.text).unwrap(), text);
        assert_eq!(names.forward, forward.iter().map(|a| a.parse().unwrap()).collect::<Vec<IpAddr>>());
    }

    #[test]
    fn servers_that_can_be_reached_are_kept() {
        let host = "# c\nnameserver 192.0.2.53\nnameserver fe80::1%eth0\nnameserver 127.0.0.53\nsearch a b\noptions edns0\n";
        check(host, &NetworkRequest::default(), "nameserver 192.0.2.53\nsearch a b\noptions edns0\n", &[]);
    }

    #[test]
    fn loopback_servers_are_asked_through_the_forwarder() {
        let request = NetworkRequest::default();
        check("nameserver 127.0.0.53\n", &request, "nameserver 127.0.0.11\n", &["127.0.0.53"]);
        check("", &request, "nameserver 127.0.0.11\n", &["127.0.0.1"]);
    }

    #[test]
    fn what_is_asked_for_comes_first() {
        let dns = vec!["9.9.9.9".parse().unwrap()];
        let request = NetworkRequest { dns, search: vec!["x.org".into()], ..NetworkRequest::default() };
        check("nameserver 127.0.0.53\nsearch a\n", &request, "nameserver 9.9.9.9\nsearch x.org\n", &[]);
        let request = NetworkRequest { search: vec![".".into()], ..NetworkRequest::default() };
        check("nameserver 9.9.9.9\nsearch a\n", &request, "nameserver 9.9.9.9\n", &[]);
    }
}
