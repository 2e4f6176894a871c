//! Opening by a path that may not lead out of where it begins.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::path::Arg;

/// `openat2` without creating. A rename or a mount anywhere else can make the kernel unsure whether `..` stays inside; it says
/// so, and is asked again (openat2(2), EAGAIN).
pub(crate) fn openat2(
    start: impl AsFd,
    path: impl Arg + Copy,
    flags: OFlags,
    resolve: ResolveFlags,
) -> rustix::io::Result<OwnedFd> {
    loop {
        match rustix::fs::openat2(start.as_fd(), path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            opened => return opened,
        }
    }
}
