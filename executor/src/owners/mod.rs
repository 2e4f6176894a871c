//! Owners where one id alone is mapped: changes of owner succeed and are recorded, processes believe to be who they became.
//!
//! A filter hands the calls that have to do with owners to a supervisor, a process beside the sandbox (seccomp_unotify(2)).
//! It answers from records (`kiln_cache::OwnerRecord`, attributes of the files) and from credentials that it keeps itself; what
//! has neither, the kernel does.
//!
//! | module | job |
//! | --- | --- |
//! | `calls`, `filter` | which calls are handed over, and the filter that does it |
//! | `supervisor`, `handshake` | the process that answers; how it comes to the sandbox |
//! | `caller`, `place` | the thread that asks, and the files that it names |
//! | `credentials`, `identity`, `execute` | who a process believes to be; `setuid`, `getuid`, `capset`; set-user-id programs |
//! | `files`, `looks`, `create` | `chown`, `stat`; what `stat` writes; new files |
//! | `sockets` | peers' credentials; the limit that carries a process's own |
//!
//! **Not a boundary:** the supervisor may do no more than the sandbox's root. Who deceives it, deceives his own image.
//! All users of a sandbox are one to the kernel: what one may read, another may.

mod caller;
mod calls;
mod create;
mod credentials;
mod execute;
mod files;
mod filter;
mod handshake;
mod identity;
mod looks;
mod place;
mod sockets;
mod supervisor;

pub(crate) use credentials::Credentials;
pub(crate) use handshake::submit;
pub(crate) use supervisor::{Supervision, lost, start};

use rustix::process::{WaitId, WaitIdOptions, waitid};
use rustix::thread::UnshareFlags;
use std::os::fd::AsFd as _;
use std::sync::LazyLock;

use crate::sys::{self, Forked, SingleThreaded, notify};

/// Whether a procfs can be mounted that shows a new process namespace: without one, the supervisor reads kiln's own, and has to
/// be where that counts processes.
pub(crate) fn can_see_new_namespace() -> bool {
    supervisor::own_proc().is_ok()
}

/// Computes what every sandbox needs, so that forks have it.
pub(crate) fn prepare() {
    LazyLock::force(&calls::MEANINGS);
    LazyLock::force(&filter::PROGRAM);
}

/// Whether system calls can be listened to here; the reason if not.
pub(crate) fn probe(alone: &SingleThreaded) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("fork to try a system call listener: {error}");
    match sys::fork(alone, UnshareFlags::empty()).map_err(|error| failed(&error))? {
        Forked::Child => {
            let listened = rustix::thread::set_no_new_privs(true)
                .map_err(std::io::Error::from)
                .and_then(|()| notify::listen_to_system_calls(&filter::PROGRAM));
            sys::exit(listened.err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO)))
        }
        Forked::Parent(child) => {
            let ended =
                rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(child.as_fd()), WaitIdOptions::EXITED));
            let ended = ended.map_err(|error| failed(&error))?;
            let errno = ended.and_then(|status| status.exit_status()).unwrap_or(libc::EIO);
            match errno {
                0 => Ok(()),
                libc::EBUSY => Err("another program listens to system calls here already (it runs kiln under a seccomp notifier), and the kernel allows one: owners cannot be recorded".to_owned()),
                libc::EINVAL => Err("recording owners needs Linux 5.19 (seccomp's SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)".to_owned()),
                errno => Err(format!(
                    "listen to system calls, to record owners: {}",
                    std::io::Error::from_raw_os_error(errno)
                )),
            }
        }
    }
}
