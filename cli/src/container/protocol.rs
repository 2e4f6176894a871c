//! What is said on a supervisor's socket: a JSON message a packet, descriptors beside it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use kiln_executor::packet;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use serde::{Deserialize, Serialize};

/// What is asked of a supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// Start the container, its terminal with so many rows and columns: only of a new supervisor, on the socket it was
    /// started with.
    Start { window: (u16, u16) },
    /// Send it a signal.
    Signal(i32),
    /// Stop it: with which signal, and after how many seconds by force, if not as it says itself.
    Stop { signal: Option<i32>, seconds: Option<i64> },
    /// Tell when it has ended.
    Wait,
    /// Two descriptors come along, for standard output and standard error. The answer has one: where keys go.
    Attach { stdin: bool },
    /// Change the size of its terminal.
    Resize { rows: u16, columns: u16 },
    /// Start a process in it. Without a terminal three descriptors come along.
    Exec(Box<ExecAsk>),
    /// Stop all its processes from running, or let them go on.
    Pause(bool),
    /// A descriptor of its root directory.
    Root,
    /// Its processes.
    Top,
    /// What it takes of the machine, as JSON.
    Usage,
}

/// A process for a container that runs. What is not said is the container's own.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct ExecAsk {
    pub(crate) command: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) user: Option<String>,
    pub(crate) workdir: Option<String>,
    pub(crate) privileged: bool,
    /// Rows and columns.
    pub(crate) terminal: Option<(u16, u16)>,
    /// Nobody waits for it.
    pub(crate) detach: bool,
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// It was done, or it has begun; more may follow.
    Done,
    /// It was not.
    Failed { code: u8, message: String },
    /// The container, or the process in it, has ended.
    Exited { code: i32 },
    /// What was asked for.
    Text(String),
}

/// Sends a message.
pub(crate) fn send(socket: impl AsFd, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    packet::send(socket, &[&serde_json::to_vec(message)?], fds)
}

/// Receives a message; `None` when the other end is gone.
pub(crate) fn receive<T: serde::de::DeserializeOwned>(
    socket: impl AsFd,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut buffer = Vec::new();
    let Some(fds) = packet::receive(socket, &mut buffer)? else { return Ok(None) };
    Ok(Some((serde_json::from_slice(&buffer)?, fds)))
}

/// Opens the socket of a supervisor.
pub(crate) fn connect(directory: &Path) -> io::Result<OwnedFd> {
    let (socket, address, _directory) = endpoint(directory)?;
    rustix::net::connect(&socket, &address)?;
    Ok(socket)
}

/// Makes the socket of a supervisor.
pub(crate) fn listen(directory: &Path) -> io::Result<OwnedFd> {
    let (socket, address, _directory) = endpoint(directory)?;
    match std::fs::remove_file(directory.join("socket")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, 64)?;
    Ok(socket)
}

/// By way of the directory's descriptor: a socket's path may have no more than 107 bytes.
fn endpoint(directory: &Path) -> io::Result<(OwnedFd, SocketAddrUnix, OwnedFd)> {
    use std::os::fd::AsRawFd as _;
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let directory = rustix::fs::open(directory, flags, rustix::fs::Mode::empty())?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/socket", directory.as_raw_fd()))?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    Ok((socket, address, directory))
}
