//! The root entered by chroot alone, where nothing can be mounted: what would be a mount was put into it before.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags};

use super::failure::{During, Setup};
use super::{standard_streams, terminal};
use crate::launcher::message::{Report, send_report};
use crate::sandbox::bundle::Tree;
use crate::sandbox::plan::{Plan, Stdio};

/// Enters the root; gives the three standard streams.
pub(super) fn enter(plan: &Plan, streams: Vec<OwnedFd>, report: &OwnedFd) -> Setup<[OwnedFd; 3]> {
    let what = || "enter the root file system".to_owned();
    let Tree::Directory(path) = &plan.root else {
        return Err(rustix::io::Errno::INVAL).during(what);
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, path, flags, Mode::empty()).during(what)?;
    // Of kiln's own /dev/pts: the step has none.
    let terminal = match plan.process.stdio {
        Stdio::Terminal(rows, columns) => Some(terminal::open(rows, columns, None, plan.process.uid)?),
        Stdio::Streams(_) => None,
    };
    rustix::process::fchdir(&root).during(what)?;
    rustix::process::chroot(".").during(what)?;
    rustix::process::chdir("/").during(what)?;
    match (plan.process.stdio, terminal) {
        (Stdio::Streams(given), _) => standard_streams(given, streams, plan.process.uid, false),
        (Stdio::Terminal(..), None) => Err(rustix::io::Errno::NOTTY).during(what),
        (Stdio::Terminal(..), Some(terminal)) => {
            rustix::process::ioctl_tiocsctty(&terminal.slave).during(|| "take the terminal".into())?;
            send_report(report, &Report::Terminal, Some(terminal.master.as_fd()))
                .during(|| "pass the terminal".into())?;
            let copy = || terminal.slave.try_clone().during(|| "copy the terminal".into());
            Ok([copy()?, copy()?, copy()?])
        }
    }
}
