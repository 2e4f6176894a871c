//! Trying in a process of its own what cannot be undone.

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;

use rustix::process::{WaitId, WaitIdOptions, waitid};
use rustix::thread::UnshareFlags;

use crate::sys::{self, Forked, SingleThreaded};

/// What `attempt` gives in a forked process, which ends with it.
pub(super) fn rehearse(
    alone: &SingleThreaded,
    attempt: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("try it in another process: {error}");
    let (mut answer, mut tell) = std::io::pipe().map_err(failed)?;
    match sys::fork(alone, UnshareFlags::empty()).map_err(failed)? {
        Forked::Child => {
            drop(answer);
            // One byte first: a process that dies says nothing.
            let text = attempt().err().unwrap_or_default();
            let _ = tell.write_all(&[b"+", text.as_bytes()].concat());
            sys::exit(0)
        }
        Forked::Parent(child) => {
            drop(tell);
            let mut text = String::new();
            let heard = answer.read_to_string(&mut text);
            // It has ended, or will at once.
            let _ = rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(child.as_fd()), WaitIdOptions::EXITED));
            heard.map_err(failed)?;
            match text.strip_prefix('+') {
                Some("") => Ok(()),
                Some(reason) => Err(reason.to_owned()),
                None => Err("the process that tried it was killed".to_owned()),
            }
        }
    }
}
