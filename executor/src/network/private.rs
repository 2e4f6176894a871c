//! A private network as kiln holds it.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::net::Shutdown;

use super::error::During as _;
use super::outside::{Furnished, Order, Way};
use super::request::{NetworkRequest, PublishedPort};
use super::{NetworkError, pasta, resolv_conf};
use crate::isolation::Rung;
use crate::launcher::Launcher;
use crate::launcher::message::{Report, receive_report};
use crate::spec::JoinedNetwork;

/// Makes private networks. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Networks {
    launcher: Launcher,
    rung: Rung,
    path: String,
    resolv_conf: Vec<u8>,
}

impl Networks {
    /// Networks made by `launcher` on this rung; `path` is PATH, where pasta is looked for, and `resolv_conf` the host's.
    pub fn new(launcher: Launcher, rung: Rung, path: &str, resolv_conf: Vec<u8>) -> Self {
        Self { launcher, rung, path: path.to_owned(), resolv_conf }
    }

    /// Makes a network and furnishes it. Blocks the thread for some milliseconds.
    ///
    /// # Errors
    /// If a port is in use, or this machine lacks what a network needs.
    pub fn start(&self, request: &NetworkRequest) -> Result<PrivateNetwork, NetworkError> {
        let way = match self.rung {
            Rung::Root => Way::Link,
            Rung::SubordinateIds | Rung::SingleId => {
                Way::Pasta(pasta::find(&self.path).ok_or(NetworkError::NoPasta)?)
            }
            Rung::Chroot => return Err(NetworkError::Unavailable),
        };
        let names = resolv_conf::names(&self.resolv_conf, request);
        let order = Order { way, publish: request.publish.clone(), forward: names.forward };
        let reports = self.launcher.hold_network(order).during("ask the launcher")?;
        let mut heard = None;
        while heard.is_none() {
            heard = match receive_report(&reports).during("hear of the network")? {
                Some((Report::Network(outcome), namespace)) => Some((outcome?, namespace)),
                Some((Report::Failed(failure), _)) => {
                    return Err(NetworkError::Setup { operation: failure.operation, errno: failure.errno });
                }
                None | Some((Report::Ended { .. }, _)) => return Err(NetworkError::Lost),
                Some(_) => None,
            };
        }
        let Some((furnished, Some(namespace))) = heard else { return Err(NetworkError::Lost) };
        let path = path_of(&namespace).during("find this process in /proc")?;
        Ok(PrivateNetwork { reports, path, furnished, resolv_conf: names.text, _namespace: namespace })
    }
}

/// The namespace as others open it: this process may be known to itself by another number than `/proc` shows.
fn path_of(namespace: &OwnedFd) -> io::Result<PathBuf> {
    let process = std::fs::read_link("/proc/self")?;
    Ok(Path::new("/proc").join(process).join("fd").join(namespace.as_raw_fd().to_string()))
}

/// A network namespace with a way out. When it is dropped, or kiln ends, all of it is gone.
#[derive(Debug)]
pub struct PrivateNetwork {
    reports: OwnedFd,
    path: PathBuf,
    furnished: Furnished,
    resolv_conf: Vec<u8>,
    _namespace: OwnedFd,
}

impl PrivateNetwork {
    /// The namespace, for a sandbox to join.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What a process request needs to have it joined.
    pub fn joined(&self) -> JoinedNetwork {
        JoinedNetwork {
            path: self.path.clone(),
            addresses: self.furnished.addresses.clone(),
            host: self.furnished.host,
        }
    }

    /// The container's addresses.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.furnished.addresses
    }

    /// The address of the host, as seen from inside (`host-gateway`).
    pub fn host(&self) -> Option<IpAddr> {
        self.furnished.host
    }

    /// The ports of the host that lead inside.
    pub fn published(&self) -> &[PublishedPort] {
        &self.furnished.published
    }

    /// The content of `/etc/resolv.conf`.
    pub fn resolv_conf(&self) -> &[u8] {
        &self.resolv_conf
    }
}

impl Drop for PrivateNetwork {
    fn drop(&mut self) {
        // The process that holds it ends when nobody listens any more; the launcher tells when it has.
        if rustix::net::shutdown(&self.reports, Shutdown::Write).is_err() {
            return;
        }
        while let Ok(Some((report, _))) = receive_report(&self.reports) {
            if matches!(report, Report::Ended { .. }) {
                return;
            }
        }
    }
}
