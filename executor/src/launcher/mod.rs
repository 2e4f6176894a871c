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
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
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
    /// The number of the next sandbox.
    next: AtomicU64,
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
                let next = AtomicU64::new(1);
                Ok(Self { link: Arc::new(Link { socket: Mutex::new(near), _process: process, way, next }) })
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

    fn send(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<(), SandboxError> {
        let socket = self.link.socket.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        send_request(&*socket, request, fds).map_err(|cause| match cause.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => SandboxError::LauncherGone,
            _ => SandboxError::Setup { operation: "ask the launcher".into(), cause },
        })
    }

    /// Starts the process of `bundle` in the namespaces of `inside`; of the bundle, nothing else is looked at. It ends
    /// with the process it was started beside.
    ///
    /// # Errors
    /// When the process cannot be understood or started.
    pub fn enter(&self, inside: &Running, bundle: &Bundle, io: Io) -> Result<Running, SandboxError> {
        let number = inside.number;
        self.begin(number, io, None, |stdio| {
            Ok(Request::Enter { number, process: Box::new(translate::visitor(bundle, stdio)?) })
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

fn failed(operation: &str, cause: impl Into<io::Error>) -> SandboxError {
    SandboxError::Setup { operation: operation.into(), cause: cause.into() }
}

impl Launcher {
    /// Has the process of a plan started.
    pub(crate) fn launch(
        &self,
        root: &Tree,
        io: Io,
        plan: impl FnOnce(Stdio) -> Result<Plan, SandboxError>,
    ) -> Result<Running, SandboxError> {
        let number = self.link.next.fetch_add(1, Ordering::Relaxed);
        self.begin(number, io, Some(root), |stdio| {
            Ok(Request::Start { number, plan: Box::new(plan(stdio)?) })
        })
    }

    /// Makes the streams, has the launcher do what `request` says, and waits for the process.
    fn begin(
        &self,
        number: u64,
        io: Io,
        root: Option<&Tree>,
        request: impl FnOnce(Stdio) -> Result<Request, SandboxError>,
    ) -> Result<Running, SandboxError> {
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
                            let (read, write) =
                                pipe_with(PipeFlags::CLOEXEC).map_err(|e| failed("make a pipe", e))?;
                            let (theirs, mine) = if index == 0 { (read, write) } else { (write, read) };
                            streams.push(theirs);
                            ours[index] = Some(mine);
                        }
                    }
                }
                Stdio::Streams(given)
            }
        };
        let request = request(stdio)?;
        let (near, far) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(|e| failed("make a socket", e))?;
        let (executed, closes) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| failed("make a pipe", e))?;
        let fds = [&far, &closes].into_iter().chain(&streams).map(AsFd::as_fd).collect::<Vec<_>>();
        self.send(&request, &fds)?;
        drop(fds);
        drop((far, closes, streams));
        Running::begin(number, (near, executed), ours, root, matches!(stdio, Stdio::Terminal(..)))
    }
}
