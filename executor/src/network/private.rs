//! A private network as kiln holds it.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::net::Shutdown;

use super::error::During as _;
use super::outside::{Furnished, Order, Way};
use super::request::{NetworkKind, NetworkRequest, PublishedPort};
use super::{NetworkError, pasta, resolv_conf};
use crate::isolation::{Isolation, Rung};
use crate::launcher::Launcher;
use crate::launcher::message::{Report, receive_report};
use crate::spec::JoinedNetwork;

/// Makes private networks. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Networks {
    launcher: Launcher,
    rung: Rung,
    /// Whether this is not the first user namespace, so that the host's links are others'.
    nested: bool,
    path: String,
    resolv_conf: Vec<u8>,
}

impl Networks {
    /// Networks made by the launcher of `isolation`, as `rung` allows: that of the user, who may have entered another
    /// isolation before this one. `path` is PATH, where pasta is looked for, and `resolv_conf` the host's.
    pub fn new(isolation: &Isolation, rung: Rung, path: &str, resolv_conf: Vec<u8>) -> Self {
        let (launcher, nested) = (isolation.launcher.clone(), isolation.user_xattrs);
        Self { launcher, rung, nested, path: path.to_owned(), resolv_conf }
    }

    /// Makes a network and furnishes it. Blocks the thread for some milliseconds.
    ///
    /// # Errors
    /// If a port is in use, or this machine lacks what a network needs.
    pub fn start(&self, request: &NetworkRequest) -> Result<PrivateNetwork, NetworkError> {
        let way = match &request.kind {
            NetworkKind::Member(membership) => Way::Member(membership.clone(), self.nested),
            NetworkKind::Private | NetworkKind::Hub(_) => self.way_out()?,
        };
        let mut names = resolv_conf::names(&self.resolv_conf, request);
        let hub = match &request.kind {
            NetworkKind::Hub(hub) => {
                names.forward = resolv_conf::all_servers(&self.resolv_conf);
                Some(hub.clone())
            }
            NetworkKind::Private | NetworkKind::Member(_) => None,
        };
        let order = Order { way, publish: request.publish.clone(), hub, forward: names.forward };
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
        if let Some(server) = furnished.name_server {
            names.text = resolv_conf::with_names(&self.resolv_conf, server, request);
        }
        let path = path_of(&namespace).during("find this process in /proc")?;
        Ok(PrivateNetwork { reports, path, furnished, resolv_conf: names.text, _namespace: namespace })
    }
}

impl Networks {
    fn way_out(&self) -> Result<Way, NetworkError> {
        let pasta = pasta::find(&self.path);
        match (self.rung, self.nested, pasta) {
            (Rung::Chroot, ..) => Err(NetworkError::Unavailable),
            // Root of a container: the links may be its own all the same.
            (Rung::Root, false, _) | (Rung::Root, true, None) => Ok(Way::Link),
            (_, _, Some(pasta)) => Ok(Way::Pasta(pasta)),
            (_, _, None) => Err(NetworkError::NoPasta),
        }
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

impl PrivateNetwork {
    /// Waits until the network ends by itself, as a hub does after its last member.
    pub fn wait(&self) {
        while let Ok(Some((report, _))) = receive_report(&self.reports) {
            if matches!(report, Report::Ended { .. }) {
                return;
            }
        }
    }
}

impl Drop for PrivateNetwork {
    fn drop(&mut self) {
        // The process that holds it ends when nobody listens any more; the launcher tells when it has.
        if rustix::net::shutdown(&self.reports, Shutdown::Write).is_err() {
            return;
        }
        self.wait();
    }
}
