//! Published ports as Docker shows them.

use std::net::IpAddr;

use kiln_executor::network::PublishedPort;
use serde_json::{Map, Value, json};

/// `0.0.0.0:8080`, `[::]:8080`.
pub(crate) fn address(port: &PublishedPort) -> String {
    match port.ip {
        IpAddr::V4(ip) => format!("{ip}:{}", port.host_port),
        IpAddr::V6(ip) => format!("[{ip}]:{}", port.host_port),
    }
}

/// `80/tcp`.
pub(crate) fn inside(port: &PublishedPort) -> String {
    format!("{}/{}", port.container_port, port.protocol)
}

/// By the port inside, then by address.
pub(crate) fn sorted(ports: &[PublishedPort]) -> Vec<PublishedPort> {
    let mut ports = ports.to_vec();
    ports.sort_by_key(|port| (port.container_port, port.protocol, port.ip, port.host_port));
    ports
}

/// `kiln ps`: `0.0.0.0:8080->80/tcp, 53/udp`.
pub(crate) fn column(ports: &[PublishedPort], exposed: &[String]) -> String {
    let published = sorted(ports);
    let mut shown: Vec<String> =
        published.iter().map(|port| format!("{}->{}", address(port), inside(port))).collect();
    shown.extend(exposed.iter().filter(|text| !published.iter().any(|port| inside(port) == **text)).cloned());
    shown.join(", ")
}

/// `NetworkSettings.Ports` of `kiln inspect`.
pub(crate) fn document(ports: &[PublishedPort], exposed: &[String]) -> Map<String, Value> {
    let mut all: Map<String, Value> = exposed.iter().map(|port| (port.clone(), Value::Null)).collect();
    for port in sorted(ports) {
        let binding = json!({ "HostIp": port.ip.to_string(), "HostPort": port.host_port.to_string() });
        match all.entry(inside(&port)).or_insert(Value::Null) {
            Value::Array(bindings) => bindings.push(binding),
            empty => *empty = json!([binding]),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use kiln_executor::network::Protocol;

    use super::*;

    #[test]
    fn ports_are_shown_as_docker_shows_them() {
        let port = |ip: &str, host_port, container_port| PublishedPort {
            ip: ip.parse().unwrap(),
            host_port,
            container_port,
            protocol: Protocol::Tcp,
        };
        let all = [port("::", 8080, 80), port("0.0.0.0", 8080, 80), port("127.0.0.1", 9, 7)];
        let exposed = ["80/tcp".to_owned(), "53/udp".to_owned()];
        assert_eq!(
            column(&all, &exposed),
            "127.0.0.1:9->7/tcp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp, 53/udp"
        );
        let document = document(&all, &exposed);
        assert_eq!(document["80/tcp"][1]["HostIp"], "::");
        assert_eq!(document["53/udp"], Value::Null);
    }
}
