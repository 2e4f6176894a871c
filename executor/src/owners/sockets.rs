//! Who is at the other end of a socket, and the limit that carries credentials, which nobody is to see.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::caller::{Caller, Outcome, Reply, status};
use super::calls::Emulated;

/// `getsockopt(SO_PEERCRED)`
pub(super) fn peer_credentials(caller: &Caller<'_>) -> Outcome {
    if caller.word(1).cast_signed() != libc::SOL_SOCKET {
        return Ok(Reply::Continue);
    }
    let socket = take(caller, caller.word(0).cast_signed())?;
    // A socket pair or a listener that nobody called: as the kernel says it.
    let Ok(peer) = socket_peercred(socket.as_fd()) else { return Ok(Reply::Continue) };
    let pid = peer.pid.as_raw_nonzero().get();
    // Of one that has ended nothing is known.
    let Ok(credentials) = caller.shared.credentials_of(pid) else { return Ok(Reply::Continue) };
    let number = status(&caller.shared.proc, pid, "NSpid:", 10)?;
    let words = [number, credentials.users.effective, credentials.groups.effective];
    let bytes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
    let room = caller.read_words(caller.argument(4), 1)?[0] as usize;
    let bytes = &bytes[..room.min(bytes.len())];
    caller.write(caller.argument(3), bytes)?;
    caller.write_word(caller.argument(4), bytes.len() as u32)?;
    Ok(Reply::Value(0))
}

/// A copy of the caller's descriptor.
fn take(caller: &Caller<'_>, number: i32) -> Result<OwnedFd, Errno> {
    let process = caller.status("Tgid:", 10)?;
    let process = Pid::from_raw(process.cast_signed()).ok_or(Errno::SRCH)?;
    let process = pidfd_open(process, PidfdFlags::empty())?;
    caller.still_waits()?;
    pidfd_getfd(process, number, PidfdGetfdFlags::empty())
}

/// Resource limits: to the sandbox there is none on file locks, and setting one changes nothing, which is what it does
/// everywhere.
pub(super) fn limit(caller: &Caller<'_>, call: Emulated) -> Outcome {
    let unlimited =
        if caller.is_narrow() && call == Emulated::GetLimit { vec![0xff; 8] } else { vec![0xff; 16] };
    let into = match call {
        Emulated::Limit => caller.argument(3),
        Emulated::GetLimit => caller.argument(1),
        _ => 0,
    };
    if into != 0 {
        caller.write(into, &unlimited)?;
    }
    Ok(Reply::Value(0))
}
