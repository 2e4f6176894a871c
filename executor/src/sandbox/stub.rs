//! Mount points that were made in a root because it had none: taken away again when its process has ended.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT};
use serde::{Deserialize, Serialize};

use super::bundle::{Tree, Writable};

/// A mount point that kiln made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stub {
    /// Relative to the root, without symlinks.
    pub(crate) path: PathBuf,
    pub(crate) directory: bool,
    /// What it was when made: something else at that path is the step's own and stays.
    pub(crate) inode: u64,
    /// Seconds and nanoseconds of the parent's modification time before it was made, and after.
    pub(crate) parent_before: (i64, u64),
    pub(crate) parent_after: (i64, u64),
}

/// The directory that a tree's changes are in, if they stay anywhere.
pub(crate) fn written(tree: &Tree) -> Option<&Path> {
    match tree {
        Tree::Overlay { upper, .. } => upper.as_ref().map(|Writable { upper, .. }| upper.as_path()),
        Tree::Directory(path) => Some(path),
    }
}

/// Takes `stubs` away under `top`, the last made first. A stub that the step filled, replaced or removed is left alone, and
/// nothing outside `top` is touched, whatever the step put in its place.
pub(crate) fn remove(top: &Path, stubs: &[Stub]) {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(top) = rustix::fs::openat(rustix::fs::CWD, top, flags, Mode::empty()) else { return };
    for stub in stubs.iter().rev() {
        // Nothing more can be done about one that cannot be removed; the step's layer shows it then.
        let _ = remove_one(&top, stub);
    }
}

fn remove_one(top: &OwnedFd, stub: &Stub) -> rustix::io::Result<()> {
    let parent = match stub.path.parent() {
        Some(parent) if parent != Path::new("") => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
            crate::resolve::openat2(top, parent, flags, resolve)?
        }
        _ => {
            rustix::fs::openat(top, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?
        }
    };
    let Some(name) = stub.path.file_name() else { return Ok(()) };
    let now = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = FileType::from_raw_mode(now.st_mode);
    let same = match kind {
        FileType::Directory => stub.directory,
        FileType::RegularFile => !stub.directory && now.st_size == 0,
        _ => false,
    };
    if !same || now.st_ino != stub.inode {
        return Ok(());
    }
    let flags = if stub.directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
    // Only if nothing but the stub changed the directory does it get its old time back.
    let untouched = modified(&parent)? == stub.parent_after;
    rustix::fs::unlinkat(&parent, name, flags)?;
    if untouched {
        let (seconds, nanoseconds) = stub.parent_before;
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: seconds, tv_nsec: nanoseconds as _ },
        };
        rustix::fs::futimens(&parent, &times)?;
    }
    Ok(())
}

/// The modification time in seconds and nanoseconds.
pub(crate) fn modified(fd: impl AsFd) -> rustix::io::Result<(i64, u64)> {
    let stat = rustix::fs::fstat(fd)?;
    Ok((stat.st_mtime, stat.st_mtime_nsec as u64))
}
