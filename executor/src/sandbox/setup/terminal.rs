//! A terminal in the sandbox's own `/dev/pts`.

use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use super::failure::{During, Setup};
use super::tree::{attach, copy_of};

/// Both ends of a new terminal.
pub(super) struct Terminal {
    pub(super) master: OwnedFd,
    pub(super) slave: OwnedFd,
}

/// Opens a terminal in the root that has just been entered, and shows it as `/dev/console` if `dev` is a tmpfs of the
/// sandbox.
pub(super) fn open(rows: u16, columns: u16, dev: Option<&OwnedFd>, uid: u32) -> Setup<Terminal> {
    let what = || "open a terminal in /dev/pts".to_owned();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::openat(CWD, "/dev/pts/ptmx", flags, Mode::empty()).during(what)?;
    rustix::pty::unlockpt(&master).during(what)?;
    let peer = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    // By ioctl, not by name: a name can be led astray.
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, peer).during(what)?;
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&slave, size).during(what)?;
    if uid != 0 {
        rustix::fs::fchown(&slave, Some(rustix::fs::Uid::from_raw(uid)), None).during(what)?;
    }
    if let Some(dev) = dev {
        let what = || "bind /dev/console".to_owned();
        let create = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        drop(rustix::fs::openat(dev, "console", create, Mode::from_raw_mode(0o600)).during(what)?);
        let point =
            rustix::fs::openat(dev, "console", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).during(what)?;
        let mount = copy_of(&slave, false).during(what)?;
        attach(&mount, &point).during(what)?;
    }
    Ok(Terminal { master, slave })
}
