//! What a client is told once: credentials, hosts, proxies, patience.

use std::path::PathBuf;
use std::time::Duration;

use crate::{Credentials, Hosts, RegistriesConf, RetryPolicy, Secret};

/// What a [`Client`](crate::Client) is told once. The command line fills it from arguments, environment and files.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Who is asked for user names and passwords.
    pub credentials: Credentials,
    /// Mirrors, certificates and schemes of single registries.
    pub hosts: Hosts,
    /// Directories with a folder for each registry, as `/etc/docker/certs.d`, `/etc/containers/certs.d` and
    /// `/etc/containerd/certs.d`: `*.crt` are authorities, `*.cert` and `*.key` the client's certificate, `hosts.toml`
    /// the mirrors. Read when a registry that `hosts` does not know is first used.
    pub host_dirs: Vec<PathBuf>,
    /// podman's `registries.conf`. Read when the first registry is used.
    pub registries_conf: RegistriesConf,
    /// Registries (`host[:port]`) that may speak plain http or show a certificate that nobody signed: https without
    /// verification is tried first, then http. Loopback hosts speak plain http without being named here.
    pub insecure: Vec<String>,
    /// Files of certificate authorities (PEM) to trust beside the machine's own.
    pub ca_files: Vec<PathBuf>,
    /// Proxies.
    pub proxy: ProxyOptions,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// What is tried again, and how long.
    pub retry: RetryPolicy,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long nothing may move in either direction before a request counts as failed.
    pub stall_timeout: Duration,
    /// How long a server may think after it has received a whole blob: registries on object stores copy it then.
    pub commit_timeout: Duration,
    /// How many blobs move at the same time, pulls and pushes together.
    pub parallel: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            credentials: Credentials::none(),
            hosts: Hosts::default(),
            host_dirs: Vec::new(),
            registries_conf: RegistriesConf::default(),
            insecure: Vec::new(),
            ca_files: Vec::new(),
            proxy: ProxyOptions::default(),
            user_agent: concat!("kiln/", env!("CARGO_PKG_VERSION")).to_owned(),
            retry: RetryPolicy::default(),
            connect_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(45),
            commit_timeout: Duration::from_secs(300),
            parallel: 6,
        }
    }
}

/// The values of the usual proxy variables. URLs may carry `user:password@`.
#[derive(Debug, Clone, Default)]
pub struct ProxyOptions {
    /// `HTTP_PROXY`: for http URLs.
    pub http: Option<Secret>,
    /// `HTTPS_PROXY`: for https URLs.
    pub https: Option<Secret>,
    /// `ALL_PROXY`: for both, where the one above is absent. May be `socks5://` or `socks5h://`.
    pub all: Option<Secret>,
    /// `NO_PROXY`: comma-separated hosts, domains, addresses and networks that are called directly.
    pub none_for: String,
}
