//! The hub of a user network: a namespace with a bridge that containers are plugged into, and a name server that knows them.
//!
//! There is no daemon, so the first container of a network has its hub started, and the hub ends with the last. A container is
//! a member as long as its connection to the hub's socket is open: when its process ends, however it ends, the kernel closes
//! the connection, and the hub forgets its name and its address. A name server that knows who is there at this moment needs no
//! file in any container to be rewritten when others come and go, which `/etc/hosts` would.
//!
//! The hub has one way out, that of a private network, and translates the members' addresses to its own; so the subnets of two
//! networks, or of two stores, never meet on the host, and the members of one cannot reach those of another.
//!
//! A member passes its network namespace, and gets one end of a pair of links; or, if its user namespace is not the hub's,
//! which then may not change it, a tap device, whose frames the hub carries.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen,
};
use serde::{Deserialize, Serialize};

use super::error::During as _;
use super::netlink::Socket;
use super::nftables::{self, Translation};
use super::resolver::NameTable;
use super::{NetworkError, link};
use crate::launcher::message::{receive, send};
use crate::sys;

const BRIDGE: &str = "kiln0";
/// How long a hub waits for its first member, in seconds: the one that had it started may have been killed.
const FIRST: i64 = 10;

/// A user network, as its hub is told of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HubRequest {
    /// The directory of the network: the hub's socket is `hub.sock` in it.
    pub directory: PathBuf,
    /// The first address of the members' subnet, a multiple of 256; the hub has the next one.
    pub subnet: Ipv4Addr,
}

impl HubRequest {
    pub(super) fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.subnet) + 1)
    }
}

/// How a container joins a user network.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Membership {
    /// The directory of the network.
    pub directory: PathBuf,
    /// What the container is called there.
    pub names: Vec<String>,
}

/// A container of a user network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// What it is called.
    pub names: Vec<String>,
    /// Its address.
    pub address: Ipv4Addr,
}

/// What is said to a hub; the member's namespace or tap device comes beside `Join`.
#[derive(Debug, Serialize, Deserialize)]
enum Request {
    Join { names: Vec<String>, tap: bool },
    List,
}

/// Where a member is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) address: Ipv4Addr,
    pub(super) gateway: Ipv4Addr,
}

/// What a hub answers.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Joined(Result<Place, NetworkError>),
    Members(Vec<Member>),
}

/// Joins the network of `membership` with a namespace or a tap device. The membership lasts as long as the connection.
pub(super) fn join(
    membership: &Membership,
    fd: &OwnedFd,
    tap: bool,
) -> Result<(OwnedFd, Place), NetworkError> {
    let connection = connection(&membership.directory).during("reach the network's hub")?;
    let request = Request::Join { names: membership.names.clone(), tap };
    match ask(&connection, &request, Some(fd)).during("speak to the network's hub")? {
        Some(Answer::Joined(place)) => Ok((connection, place?)),
        _ => Err(NetworkError::Lost),
    }
}

/// Whether the network in `directory` has a hub, so that containers can join it.
pub fn has_hub(directory: &Path) -> bool {
    connection(directory).is_ok()
}

/// The containers of the network in `directory`; none if it has no hub.
pub fn members(directory: &Path) -> Vec<Member> {
    let Ok(connection) = connection(directory) else { return Vec::new() };
    match ask(&connection, &Request::List, None) {
        Ok(Some(Answer::Members(members))) => members,
        _ => Vec::new(),
    }
}

fn ask(connection: &OwnedFd, request: &Request, fd: Option<&OwnedFd>) -> io::Result<Option<Answer>> {
    let fd = fd.map(|fd| fd.as_fd());
    send(connection, &[&serde_json::to_vec(request)?], fd.as_slice())?;
    let mut buffer = Vec::new();
    Ok(receive(connection, &mut buffer)?.and_then(|_| serde_json::from_slice(&buffer).ok()))
}

fn socket() -> io::Result<OwnedFd> {
    let kind = SocketType::SEQPACKET;
    Ok(rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?)
}

/// The address of the hub's socket, through a descriptor: the path of a store may be longer than an address can be.
fn address(directory: &Path) -> io::Result<(OwnedFd, SocketAddrUnix)> {
    use std::os::fd::AsRawFd as _;
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let directory = rustix::fs::openat(rustix::fs::CWD, directory, flags, rustix::fs::Mode::empty())?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/hub.sock", directory.as_raw_fd()))?;
    Ok((directory, address))
}

fn connection(directory: &Path) -> io::Result<OwnedFd> {
    let (socket, (_directory, address)) = (socket()?, address(directory)?);
    connect(&socket, &address)?;
    Ok(socket)
}

/// A hub at work, in its namespace.
#[derive(Debug)]
pub(super) struct Hub {
    request: HubRequest,
    listener: OwnedFd,
    socket: Socket,
    bridge: u32,
    /// The rules last as long as this is open.
    _rules: Socket,
}

/// Who is there; all threads of the hub look at it.
#[derive(Debug, Default)]
struct Members {
    by_address: BTreeMap<Ipv4Addr, Vec<String>>,
    connections: usize,
}

impl Hub {
    /// Makes the bridge and the socket. The way out need not be there yet.
    pub(super) fn make(request: HubRequest) -> Result<Self, NetworkError> {
        let (socket, gateway) = (Socket::route().during("open a netlink socket")?, request.gateway());
        let what = "make the network's bridge";
        link::add_bridge(&socket, BRIDGE).during(what)?;
        let bridge = link::index(&socket, BRIDGE).during(what)?;
        link::add_address(&socket, bridge, gateway, 24).during(what)?;
        link::set_up(&socket, bridge).during(what)?;
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")
            .during("have the network's bridge pass on packets")?;
        let rules = Socket::netfilter().map_err(|error| nftables::unavailable(&error))?;
        let wanted = Translation { name: BRIDGE, source: (request.subnet, 24), published: &[] };
        nftables::load(&rules, &wanted).map_err(|error| nftables::unavailable(&error))?;
        let listener = self::socket().during("open the hub's socket")?;
        let (_directory, address) = address(&request.directory).during("open the network's directory")?;
        // Of a hub that was killed.
        let _ = std::fs::remove_file(request.directory.join("hub.sock"));
        bind(&listener, &address).during("bind the hub's socket")?;
        listen(&listener, 128).during("listen on the hub's socket")?;
        Ok(Self { request, listener, socket, bridge, _rules: rules })
    }

    /// Its address.
    pub(super) fn gateway(&self) -> Ipv4Addr {
        self.request.gateway()
    }

    /// Serves members, each in a thread of its own: they wait most of the time. Ends the process after the last one.
    pub(super) fn serve(self, names: &NameTable) {
        let hub = Arc::new((Mutex::new(self), Mutex::new(Members::default()), Arc::clone(names)));
        loop {
            let Ok(listener) = lock(&hub.0).listener.try_clone() else { return };
            let mut waiting = [PollFd::new(&listener, PollFlags::IN)];
            // With members there is nothing to look after until the next one comes.
            let patience = Timespec { tv_sec: FIRST, tv_nsec: 0 };
            let patience = (lock(&hub.1).connections == 0).then_some(&patience);
            if rustix::io::retry_on_intr(|| poll(&mut waiting, patience)) == Ok(0) {
                end_if_empty(&hub.0, &hub.1);
                continue;
            }
            let Ok(connection) = accept_with(&listener, SocketFlags::CLOEXEC) else { continue };
            lock(&hub.1).connections += 1;
            let hub = Arc::clone(&hub);
            std::thread::spawn(move || {
                let (this, members, names) = &*hub;
                let mut place = None;
                // It has ended or speaks another language: gone is gone.
                let _ = attend(this, members, names, &connection, &mut place);
                forget(this, members, names, place);
                drop(connection);
                end_if_empty(this, members);
            });
        }
    }

    /// Plugs a member in.
    fn plug(&self, address: Ipv4Addr, fd: &OwnedFd, tap: bool) -> Result<(), NetworkError> {
        let what = "plug into the network's bridge";
        let name = link_name(address);
        if tap {
            let ours = sys::open_tap(&name).during("open a tap device")?;
            carry(fd, &ours).during(what)?;
            carry(&ours, fd).during(what)?;
        } else {
            link::add_pair(&self.socket, &name, "eth0", fd.as_fd(), 1500).during(what)?;
        }
        let end = link::index(&self.socket, &name).during(what)?;
        link::enslave(&self.socket, end, self.bridge).during(what)?;
        link::set_up(&self.socket, end).during(what)
    }
}

/// The hub's end of a member's link.
fn link_name(address: Ipv4Addr) -> String {
    format!("member{}", address.octets()[3])
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers one connection until it ends.
fn attend(
    hub: &Mutex<Hub>,
    members: &Mutex<Members>,
    names: &NameTable,
    connection: &OwnedFd,
    place: &mut Option<Ipv4Addr>,
) -> io::Result<()> {
    let mut buffer = Vec::new();
    while let Some(mut fds) = receive(connection, &mut buffer)? {
        let answer = match serde_json::from_slice(&buffer)? {
            Request::List => {
                let all = lock(members);
                let member = |(address, names): (&Ipv4Addr, &Vec<String>)| Member {
                    names: names.clone(),
                    address: *address,
                };
                Answer::Members(all.by_address.iter().map(member).collect())
            }
            Request::Join { names: own, tap } => {
                let (Some(fd), None) = (fds.pop(), &place) else { return Ok(()) };
                let hub = lock(hub);
                let address = reserve(&hub.request, members, &own);
                *place = address;
                let joined = address.ok_or(NetworkError::NetworkFull).and_then(|address| {
                    hub.plug(address, &fd, tap)?;
                    let mut table = lock(names);
                    for name in &own {
                        table.entry(name.to_lowercase()).or_default().push(IpAddr::V4(address));
                    }
                    Ok(Place { address, gateway: hub.request.gateway() })
                });
                Answer::Joined(joined)
            }
        };
        send(connection, &[&serde_json::to_vec(&answer)?], &[])?;
    }
    Ok(())
}

/// The lowest address that nobody has.
fn reserve(request: &HubRequest, members: &Mutex<Members>, names: &[String]) -> Option<Ipv4Addr> {
    let mut members = lock(members);
    let first = u32::from(request.subnet);
    let free = (2..255).map(|n| Ipv4Addr::from(first + n)).find(|a| !members.by_address.contains_key(a))?;
    members.by_address.insert(free, names.to_vec());
    Some(free)
}

fn forget(hub: &Mutex<Hub>, members: &Mutex<Members>, names: &NameTable, place: Option<Ipv4Addr>) {
    if let Some(address) = place {
        // It goes with the member's namespace, but a little later; a tap device waits to be told.
        let hub = lock(hub);
        if let Ok(end) = link::index(&hub.socket, &link_name(address)) {
            let _ = link::delete(&hub.socket, end);
        }
        let mut table = lock(names);
        for addresses in table.values_mut() {
            addresses.retain(|other| *other != IpAddr::V4(address));
        }
        table.retain(|_, addresses| !addresses.is_empty());
        lock(members).by_address.remove(&address);
    }
    lock(members).connections -= 1;
}

/// Ends the hub if nobody is there and nobody is coming: who joins holds the lock from before it looks for a hub.
fn end_if_empty(hub: &Mutex<Hub>, members: &Mutex<Members>) {
    let directory = lock(hub).request.directory.clone();
    let Ok(file) = std::fs::File::open(directory.join("lock")) else { sys::exit(0) };
    if file.try_lock().is_ok() && lock(members).connections == 0 {
        let _ = std::fs::remove_file(directory.join("hub.sock"));
        sys::exit(0)
    }
}

/// Carries frames from one tap device to another until one of them is gone.
fn carry(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let (from, to) = (from.try_clone()?, to.try_clone()?);
    std::thread::spawn(move || {
        let mut frame = vec![0; 64 << 10];
        loop {
            match rustix::io::read(&from, frame.as_mut_slice()) {
                Ok(0) | Err(rustix::io::Errno::BADFD | rustix::io::Errno::NODEV) => return,
                // A frame that the other side has no room for is lost, as on any network.
                Ok(length) => drop(rustix::io::write(&to, &frame[..length])),
                // The other end is not up yet, or the call was interrupted.
                Err(_) => std::thread::sleep(std::time::Duration::from_millis(5)),
            }
        }
    });
    Ok(())
}
