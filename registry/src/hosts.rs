//! Which endpoints serve a registry: the registry itself, mirrors before it, and how to speak to each.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use kiln_core::DEFAULT_REGISTRY;
use reqwest::Url;

/// The endpoints of the registries that need more than their name.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    /// By the name in references: `docker.io`, `registry.example.com:5000`.
    pub registries: BTreeMap<String, RegistryHosts>,
}

/// How to reach one registry.
#[derive(Debug, Clone, Default)]
pub struct RegistryHosts {
    /// Tried for pulls in this order before the registry itself; the first that has the content wins.
    pub mirrors: Vec<Endpoint>,
    /// The registry itself, if its name is not its address.
    pub upstream: Option<Endpoint>,
    /// Certificates for the registry itself.
    pub tls: TlsFiles,
    /// Never ask the registry itself for pulls: the mirrors are all there is.
    pub mirrors_only: bool,
}

/// A server that speaks the distribution protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `https://mirror.example.com`, without `/v2`. A path is put before `/v2`.
    pub url: String,
    /// Taken from the beginning of the repository's name first.
    pub strip_prefix: String,
    /// Put before the repository's name: a mirror that keeps `library/busybox` as `hub/library/busybox` has `hub`.
    pub repository_prefix: String,
    /// Whether tags may be asked here, or only digests.
    pub resolve: bool,
    /// Whether digests may be asked here, or only tags.
    pub digests: bool,
    /// Whether a certificate that nobody signed is accepted.
    pub skip_verify: bool,
    /// Certificates for this endpoint.
    pub tls: TlsFiles,
}

/// Certificate files of one endpoint, PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TlsFiles {
    /// Authorities to trust beside the machine's own.
    pub ca: Vec<PathBuf>,
    /// The client's certificate chain and its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

impl Endpoint {
    /// An endpoint at `url` for tags and digests, with nothing special.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            strip_prefix: String::new(),
            repository_prefix: String::new(),
            resolve: true,
            digests: true,
            skip_verify: false,
            tls: TlsFiles::default(),
        }
    }
}

/// The address of a registry by its name in references.
pub(crate) fn address(registry: &str) -> &str {
    if registry == DEFAULT_REGISTRY { "registry-1.docker.io" } else { registry }
}

/// Whether `host[:port]` is this machine: `localhost`, 127.0.0.0/8, `[::1]`.
pub(crate) fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    };
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// `host[:port]` of a URL, the port only if it is not the scheme's own.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_its_names_and_addresses() {
        for host in
            ["localhost", "localhost:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000", "a.localhost"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example.com", "128.0.0.1", "[::2]:5000", "127.0.0.1.example.com", "docker.io"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
