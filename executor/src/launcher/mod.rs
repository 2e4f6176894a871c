//! The launcher: a small process without threads that clones sandboxes, forked before kiln starts threads.
//!
//! A fork of kiln itself would copy the page tables of a large process, and between fork and exec of a process with threads
//! hardly any code is allowed. The launcher has neither problem. It is the first process of a pid namespace: when kiln ends,
//! however it ends, the kernel ends the launcher, and with it everything that it started. Where there can be no such namespace,
//! a keeper beside each sandbox does the same as well as a process can.

mod keeper;
pub(crate) mod message;
mod serve;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::Signal;
use rustix::thread::UnshareFlags;

use crate::network::outside::Order;
use crate::sandbox::plan::{Given, Plan, Stdio};
use crate::sandbox::setup::Marks;
use crate::sandbox::{Bundle, Io, Running, Sandbox, SandboxError, Stream, Tree, translate};
use crate::sys::{self, Forked, SingleThreaded};
use message::{Request, send_request};

/// How sandboxes are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// In namespaces of their own, with mounts.
    Mounts {
        /// Where overlayfs keeps its marks.
        marks: Marks,
        /// Whether owners are recorded, because one id alone is mapped.
        record_owners: bool,
    },
    /// By chroot, in the namespaces of kiln.
    Chroot,
}

/// Kiln's end of the launcher. Cheap to clone; sandboxes may be started from several threads.
#[derive(Debug, Clone)]
pub struct Launcher {
    link: Arc<Link>,
}

#[derive(Debug)]
struct Link {
    /// One request at a time.
    socket: Mutex<OwnedFd>,
    /// The launcher ends when this is gone; kept for tests and for kiln to notice its death.
    _process: OwnedFd,
    way: Way,
}

impl Launcher {
    /// Forks the launcher. Mount namespace and user namespace are those of the caller from here on.
    pub(crate) fn fork(alone: &SingleThreaded, way: Way, namespaces: UnshareFlags) -> io::Result<Self> {
        let (marks, record_owners) = match way {
            Way::Mounts { marks, record_owners } => (marks, record_owners),
            Way::Chroot => (Marks::Trusted, false),
        };
        let (near, far) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        match sys::fork(alone, namespaces)? {
            Forked::Child => {
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    drop(near);
                    if settle(&far).is_ok() {
                        serve::serve(&far, alone, marks, record_owners);
                    }
                }));
                sys::exit(i32::from(outcome.is_err()))
            }
            Forked::Parent(process) => {
                Ok(Self { link: Arc::new(Link { socket: Mutex::new(near), _process: process, way }) })
            }
        }
    }

    /// Has a network made; what becomes of it is told on the socket, and letting go of that ends it.
    pub(crate) fn hold_network(&self, order: Order) -> io::Result<OwnedFd> {
        let (near, far) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let socket = self.link.socket.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        send_request(&*socket, &Request::Network(order), &[far.as_fd()])?;
        Ok(near)
    }

    fn send(&self, plan: Plan, report: &OwnedFd, streams: &[OwnedFd]) -> Result<(), SandboxError> {
        let fds: Vec<_> = std::iter::once(report.as_fd()).chain(streams.iter().map(AsFd::as_fd)).collect();
        let socket = self.link.socket.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        send_request(&*socket, &Request::Sandbox(Box::new(plan)), &fds).map_err(|cause| match cause.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => SandboxError::LauncherGone,
            _ => SandboxError::Setup { operation: "ask the launcher".into(), cause },
        })
    }
}

/// Makes the launcher independent of kiln's terminal, signals and descriptors.
fn settle(socket: &OwnedFd) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::thread::set_name(c"kiln-launcher")?;
    rustix::process::setsid()?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    sys::reset_signals();
    let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    drop(null);
    sys::close_all_but(&[socket.as_fd()])
}

impl Sandbox for Launcher {
    fn start(&self, bundle: &Bundle, io: Io) -> Result<Running, SandboxError> {
        match self.link.way {
            Way::Mounts { .. } => self.launch(&bundle.root, io, |stdio| translate::plan(bundle, stdio)),
            Way::Chroot => crate::chroot::start(self, bundle, io),
        }
    }
}

impl Launcher {
    /// Makes the standard streams, and has the process of a plan started with them.
    pub(crate) fn launch(
        &self,
        root: &Tree,
        io: Io,
        plan: impl FnOnce(Stdio) -> Result<Plan, SandboxError>,
    ) -> Result<Running, SandboxError> {
        let failed =
            |operation: &str, cause: io::Error| SandboxError::Setup { operation: operation.into(), cause };
        let mut streams = Vec::new();
        let mut ours = [None, None, None];
        let stdio = match io {
            Io::Terminal { rows, columns } => Stdio::Terminal(rows, columns),
            Io::Streams { stdin, stdout, stderr } => {
                let mut given = [Given::No; 3];
                for (index, stream) in [stdin, stdout, stderr].into_iter().enumerate() {
                    match stream {
                        Stream::Null => {}
                        Stream::Given(fd) => {
                            given[index] = Given::Yes;
                            streams.push(fd);
                        }
                        Stream::Pipe => {
                            given[index] = Given::Pipe;
                            let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
                                .map_err(|e| failed("make a pipe", e.into()))?;
                            let (theirs, mine) = if index == 0 { (read, write) } else { (write, read) };
                            streams.push(theirs);
                            ours[index] = Some(mine);
                        }
                    }
                }
                Stdio::Streams(given)
            }
        };
        let plan = plan(stdio)?;
        let (near, far) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(|e| failed("make a socket", e.into()))?;
        self.send(plan, &far, &streams)?;
        drop((far, streams));
        Running::begin(near, ours, root, matches!(stdio, Stdio::Terminal(..)))
    }
}
