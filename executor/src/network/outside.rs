//! The process that holds a network, on the host's side: it binds the ports, makes the namespace, connects it, and waits.
//!
//! It is a fork of the launcher, so it has one thread and ends with kiln, however kiln ends. All that it made ends with it: the
//! link with the namespace, the rules with the netlink socket, pasta with the pid namespace.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};

use super::error::During as _;
use super::hub::{self, HubRequest, Membership, Place};
use super::inside::{self, Go, Inherited};
use super::netlink::Socket;
use super::nftables::{self, Translation};
use super::pasta::{self, Pasta};
use super::request::{PortMapping, PublishedPort};
use super::subnet::{Route, Subnet, routes};
use super::{NetworkError, link, listener};
use crate::launcher::message::{Report, receive, send, send_report};
use crate::sys::{self, Forked, SingleThreaded};

/// What the launcher is told of a network to make.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(super) way: Way,
    pub(super) publish: Vec<PortMapping>,
    /// The hub that the network is to be, if it is one.
    pub(super) hub: Option<HubRequest>,
    /// Name servers of the host to be asked for the container, which cannot reach them.
    pub(super) forward: Vec<IpAddr>,
}

/// How a namespace is connected.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Way {
    /// A pair of links, and translation of addresses in the kernel: root's.
    Link,
    /// This program: an ordinary user's.
    Pasta(PathBuf),
    /// The hub of a user network, which a namespace or, with true, a tap device is plugged into.
    Member(Membership, bool),
}

/// What was made of an order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Furnished {
    pub(super) addresses: Vec<IpAddr>,
    /// Where the host is reached from inside.
    pub(super) host: Option<IpAddr>,
    /// The name server of its user network.
    pub(super) name_server: Option<IpAddr>,
    pub(super) published: Vec<PublishedPort>,
}

/// What keeps a network as it is.
#[derive(Debug)]
struct Held {
    furnished: Furnished,
    namespace: OwnedFd,
    /// The process inside, and the line to it.
    inside: (Child, OwnedFd),
    pasta: Option<Pasta>,
    /// Ends with the process: a subnet and rules, or the connection to a hub.
    _link: Option<Link>,
}

/// What a way out stands on besides the namespace.
#[derive(Debug)]
enum Link {
    Host { _subnet: Subnet, _rules: Socket },
    Hub { _connection: OwnedFd },
}

/// A process of the network; ends when dropped, and leaves no zombie to the launcher.
#[derive(Debug)]
pub(super) struct Child(pub(super) OwnedFd);

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended.
        let _ = pidfd_send_signal(&self.0, Signal::KILL);
        let _ = waitid(WaitId::PidFd(self.0.as_fd()), WaitIdOptions::EXITED);
    }
}

/// Makes a network, tells `report` of it, and holds it until kiln lets go of the other end.
pub(crate) fn hold(order: &Order, report: &OwnedFd, alone: &SingleThreaded) -> ! {
    let outcome = settle(report).and_then(|()| furnish(order, alone));
    match outcome {
        Ok(held) => {
            let told = Report::Network(Ok(held.furnished.clone()));
            if send_report(report, &told, Some(held.namespace.as_fd())).is_ok() {
                held.wait(report);
            }
        }
        // If kiln is gone, nobody is left to be told.
        Err(error) => drop(send_report(report, &Report::Network(Err(error)), None)),
    }
    sys::exit(0)
}

fn settle(report: &OwnedFd) -> Result<(), NetworkError> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).during("tie the network to kiln")?;
    rustix::thread::set_name(c"kiln-network").during("name the process")?;
    // Nothing of the sandboxes beside it.
    sys::close_all_but(&[report.as_fd()]).during("close descriptors")
}

fn furnish(order: &Order, alone: &SingleThreaded) -> Result<Held, NetworkError> {
    let listeners = listener::bind_all(&order.publish)?;
    let published: Vec<PublishedPort> = listeners.iter().map(|listener| listener.port).collect();
    let upstream = order.forward.iter().map(|server| name_server(*server)).collect::<Result<_, _>>()?;

    let (near, far) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .during("make a socket")?;
    let process = match sys::fork(alone, UnshareFlags::NEWNET).during("make a network namespace")? {
        Forked::Child => {
            drop(near);
            let tap = matches!(order.way, Way::Member(_, true));
            inside::live(&far, Inherited { listeners, upstream, tap, hub: order.hub.clone() })
        }
        Forked::Parent(process) => Child(process),
    };
    drop((far, listeners, upstream));
    let mut buffer = Vec::new();
    let fds = receive(&near, &mut buffer).during("hear from the network's process")?;
    let told: Result<(), NetworkError> = serde_json::from_slice(&buffer).unwrap_or(Err(NetworkError::Lost));
    told?;
    let mut fds = fds.unwrap_or_default().into_iter();
    let (Some(namespace), Some(socket)) = (fds.next(), fds.next()) else { return Err(NetworkError::Lost) };
    let socket = Socket::from(socket);

    let mut name_server = None;
    let (address, host, pasta, link) = match &order.way {
        Way::Link => {
            let (subnet, rules) = connect(&socket, namespace.as_fd(), &published)?;
            let (address, host) = (subnet.container(), subnet.host());
            (address, Some(host.into()), None, Some(Link::Host { _subnet: subnet, _rules: rules }))
        }
        Way::Pasta(program) => {
            let pasta = Pasta::start(program, namespace.as_fd())?;
            (pasta::ADDRESS, own_address(), Some(pasta), None)
        }
        Way::Member(membership, tap) => {
            let plug = if *tap {
                fds.next().ok_or(NetworkError::Lost)?
            } else {
                namespace.try_clone().during("copy a descriptor")?
            };
            let (connection, place) = hub::join(membership, &plug, *tap)?;
            plug_in(&socket, &place)?;
            name_server = Some(place.gateway.into());
            (place.address, own_address(), None, Some(Link::Hub { _connection: connection }))
        }
    };
    let go = serde_json::to_vec(&Go { address: address.into() }).map_err(|_| NetworkError::Lost)?;
    send(&near, &[&go], &[]).during("speak to the network's process")?;
    let furnished = Furnished { addresses: vec![address.into()], host, name_server, published };
    Ok(Held { furnished, namespace, inside: (process, near), pasta, _link: link })
}

impl Held {
    /// Until kiln lets go, or a part of the network is lost: then all of it ends, so that nobody works with half of one.
    fn wait(self, report: &OwnedFd) {
        let mut ends = vec![PollFd::new(report, PollFlags::IN), PollFd::new(&self.inside.0.0, PollFlags::IN)];
        ends.extend(self.pasta.as_ref().map(|pasta| PollFd::new(pasta.process(), PollFlags::IN)));
        // It fails for want of memory at most; the network ends then.
        let _ = rustix::io::retry_on_intr(|| poll(&mut ends, None));
    }
}

/// A pair of links between the host and the namespace, routes in both, and translation.
fn connect(
    inner: &Socket,
    namespace: BorrowedFd<'_>,
    published: &[PublishedPort],
) -> Result<(Subnet, Socket), NetworkError> {
    let table = routes(&fs::read_to_string("/proc/net/route").unwrap_or_default());
    let socket = Socket::route().during("open a netlink socket")?;
    let (subnet, name) = add_pair(&socket, namespace, &table)?;

    let lead = "connect the network";
    let end = link::index(inner, "eth0").during(lead)?;
    link::add_address(inner, end, subnet.container(), 30).during(lead)?;
    link::set_up(inner, end).during(lead)?;
    let end = link::index(&socket, &name).during(lead)?;
    link::add_address(&socket, end, subnet.host(), 30).during(lead)?;
    link::set_up(&socket, end).during(lead)?;
    link::add_default_route(inner, subnet.host()).during(lead)?;
    forward(&name)?;
    // Answers come by none of the other containers' links; those may be gone at any moment.
    for route in table.iter().filter(|route| !route.link.starts_with("kiln")) {
        forward(&route.link)?;
    }
    let rules = Socket::netfilter().map_err(|error| nftables::unavailable(&error))?;
    let wanted = Translation { name: &name, source: (subnet.container(), 32), published };
    nftables::load(&rules, &wanted).map_err(|error| nftables::unavailable(&error))?;
    Ok((subnet, rules))
}

/// Addresses and routes of a container in a user network.
fn plug_in(inner: &Socket, place: &Place) -> Result<(), NetworkError> {
    let what = "plug into the network";
    let end = link::index(inner, "eth0").during(what)?;
    link::add_address(inner, end, place.address, 24).during(what)?;
    link::set_up(inner, end).during(what)?;
    link::add_default_route(inner, place.gateway).during(what)
}

fn add_pair(
    socket: &Socket,
    namespace: BorrowedFd<'_>,
    table: &[Route],
) -> Result<(Subnet, String), NetworkError> {
    let mut seed = [0; 4];
    rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty()).during("choose a subnet")?;
    let mut seed = u32::from_ne_bytes(seed);
    let mtu = mtu(table);
    loop {
        let subnet = Subnet::claim(seed, table)?;
        let name = subnet.name();
        match link::add_pair(socket, &name, "eth0", namespace, mtu) {
            Ok(()) => return Ok((subnet, name)),
            // Its last user has ended, but the kernel has not taken its link away yet.
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => seed = seed.wrapping_add(1),
            Err(error) => return Err(error).during("make a pair of links"),
        }
    }
}

/// As large as the way out: larger packets would be lost where nobody says so.
fn mtu(table: &[Route]) -> u32 {
    let way_out = table.iter().find(|route| route.is_default());
    let text =
        way_out.and_then(|route| fs::read_to_string(format!("/sys/class/net/{}/mtu", route.link)).ok());
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(1500)
}

/// Lets the kernel pass on what arrives by a link: by the container's, and by those that answers come from. Other links and
/// the host's default are left as they are.
fn forward(link: &str) -> Result<(), NetworkError> {
    let file = format!("/proc/sys/net/ipv4/conf/{link}/forwarding");
    if fs::read_to_string(&file).is_ok_and(|text| text.trim() == "1") {
        return Ok(());
    }
    fs::write(&file, "1").during(&format!("write {file}"))
}

/// A socket that asks a name server of the host.
fn name_server(server: IpAddr) -> Result<UdpSocket, NetworkError> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { "::".parse().unwrap_or(server) };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).during("open a socket for name servers")?;
    socket.set_nonblocking(true).during("open a socket for name servers")?;
    socket.connect(SocketAddr::new(server, 53)).during(&format!("reach the name server {server}"))?;
    Ok(socket)
}

/// The address that the host has towards the rest of the world. Nothing is sent: the address is of a net for examples.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(198, 51, 100, 1), 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}
