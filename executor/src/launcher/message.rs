//! What kiln and its launcher say to each other: one message a packet of a sequenced socket, descriptors beside it.
//!
//! | from | to | message | descriptors |
//! | --- | --- | --- | --- |
//! | kiln | launcher | [`Request`] | the report socket, the pipe that execution closes, the standard streams; first a memory file with the request, if it is long |
//! | launcher | kiln, on the report socket | `PassedOver`; `Started` | ; a pidfd |
//! | sandbox | kiln, on the report socket | `Terminal` | the terminal's master |
//! | sandbox | kiln, on the report socket | `Stubs`, `Failed` | |
//! | network | kiln, on the report socket | `Network` | the namespace |
//! | launcher | kiln, on the report socket | `Ended`, always last | |

use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};

use crate::network::NetworkError;
use crate::network::outside::{Furnished, Order};
use crate::packet::LONG;
pub(crate) use crate::packet::{receive, send};
use crate::sandbox::plan::{Plan, Process};
use crate::sandbox::setup::Failure;
use crate::sandbox::stub::Stub;

/// What kiln asks of the launcher.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// A new sandbox, and the number by which it is known from then on.
    Start { number: u64, plan: Box<Plan> },
    /// One process more in a sandbox that runs.
    Enter { number: u64, process: Box<Process> },
    /// To make a network and hold it.
    Network(Order),
}

/// What kiln is told of a sandbox.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    Started,
    Terminal,
    Stubs(Vec<Stub>),
    /// Limits that could not be set.
    PassedOver(Vec<String>),
    Failed(Failure),
    Network(Result<Furnished, NetworkError>),
    Ended {
        code: i32,
        signal: bool,
        out_of_memory: bool,
    },
}

/// The first byte of a packet: whether the message is in it or in the memory file beside it.
const INLINE: u8 = 0;
const BESIDE: u8 = 1;

/// Sends a request with its descriptors.
pub(crate) fn send_request(socket: impl AsFd, request: &Request, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let text = serde_json::to_vec(request)?;
    if text.len() < LONG {
        return send(socket, &[&[INLINE], &text], fds);
    }
    let mut file = std::fs::File::from(rustix::fs::memfd_create("kiln request", MemfdFlags::CLOEXEC)?);
    file.write_all(&text)?;
    file.rewind()?;
    let fds: Vec<BorrowedFd<'_>> = std::iter::once(file.as_fd()).chain(fds.iter().copied()).collect();
    send(socket, &[&[BESIDE]], &fds)
}

/// Receives a request; `None` when kiln is gone.
pub(crate) fn receive_request(
    socket: impl AsFd,
    buffer: &mut Vec<u8>,
) -> io::Result<Option<(Request, Vec<OwnedFd>)>> {
    let Some(mut fds) = receive(socket, buffer)? else { return Ok(None) };
    let request = match buffer.split_first() {
        Some((&INLINE, text)) => serde_json::from_slice(text)?,
        _ if fds.is_empty() => return Err(io::Error::from(io::ErrorKind::InvalidData)),
        _ => {
            let mut text = Vec::new();
            std::fs::File::from(fds.remove(0)).read_to_end(&mut text)?;
            serde_json::from_slice(&text)?
        }
    };
    Ok(Some((request, fds)))
}

/// Sends a report.
pub(crate) fn send_report(socket: impl AsFd, report: &Report, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let text = serde_json::to_vec(report)?;
    send(socket, &[&text], fd.as_slice())
}

/// Receives a report; `None` when nobody is left who could send one.
pub(crate) fn receive_report(socket: impl AsFd) -> io::Result<Option<(Report, Option<OwnedFd>)>> {
    let mut buffer = Vec::new();
    let Some(mut fds) = receive(socket, &mut buffer)? else { return Ok(None) };
    Ok(Some((serde_json::from_slice(&buffer)?, fds.pop())))
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    #[test]
    fn reports_arrive_with_their_descriptors_and_end_with_the_socket() {
        let (a, b) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        send_report(&a, &Report::Started, Some(file.as_fd())).unwrap();
        let failure = Failure { operation: "x".repeat(9000), errno: 2, program: true };
        send_report(&a, &Report::Failed(failure.clone()), None).unwrap();
        drop(a);
        let (report, fd) = receive_report(&b).unwrap().unwrap();
        assert!(matches!(report, Report::Started) && fd.is_some());
        let (report, fd) = receive_report(&b).unwrap().unwrap();
        assert!(matches!(report, Report::Failed(f) if f == failure) && fd.is_none());
        assert!(receive_report(&b).unwrap().is_none());
    }
}
