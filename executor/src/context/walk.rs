//! The parallel walk of a directory, relative to descriptors: a link put in the way meanwhile leads nowhere.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use kiln_cache::FileStat;
use kiln_core::pattern::{Ignore, Matched};
use rayon::prelude::*;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Statx, StatxFlags};

use super::ContextError;
use super::wanted::{Reach, Wanted};

/// What the walk saw of one file.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) path: Vec<u8>,
    pub(crate) stat: Stat,
    /// Of a symbolic link.
    pub(crate) target: Option<Vec<u8>>,
}

/// The fields of `statx` that a context needs; equal ones mean an unchanged file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) file_type: FileType,
    pub(crate) mode: u32,
    pub(crate) size: u64,
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) links: u32,
    pub(crate) mtime: (i64, u32),
    pub(crate) ctime: (i64, u32),
    pub(crate) special: (u32, u32),
}

impl Stat {
    /// As the stat index records it.
    pub(crate) fn recorded(&self) -> FileStat {
        let nanoseconds = |(seconds, nanoseconds): (i64, u32)| {
            seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(nanoseconds))
        };
        FileStat {
            dev: self.device,
            inode: self.inode,
            size: self.size,
            mtime: nanoseconds(self.mtime),
            ctime: nanoseconds(self.ctime),
        }
    }
}

/// The walk's rules.
struct Walk<'a> {
    directory: &'a std::path::Path,
    ignore: &'a Ignore,
    wanted: &'a Wanted,
}

/// How a directory is entered.
struct Entered<'a> {
    matched: &'a Matched,
    /// Whether everything in it is wanted.
    whole: bool,
}

/// Walks `directory` (open as `root`): all that is wanted and not ignored, in [`kiln_cache::path_order`]'s order.
pub(crate) fn walk(
    directory: &std::path::Path,
    root: &OwnedFd,
    ignore: &Ignore,
    wanted: &Wanted,
) -> Result<Vec<Seen>, ContextError> {
    let walk = Walk { directory, ignore, wanted };
    let error = |cause| ContextError::Read { path: directory.to_path_buf(), cause };
    // A descriptor of its own: reading a directory moves it.
    let top_fd =
        rustix::fs::openat(root, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|cause| error(cause.into()))?;
    let stat = statx(root.as_fd(), c"").map_err(|cause| error(cause.into()))?;
    let top = Matched::default();
    let entered = Entered { matched: &top, whole: wanted.is_all() };
    let mut seen = vec![Seen { path: Vec::new(), stat, target: None }];
    seen.extend(walk.directory(top_fd.as_fd(), b"", &entered)?);
    Ok(seen)
}

impl Walk<'_> {
    fn error(&self, path: &[u8], cause: rustix::io::Errno) -> ContextError {
        ContextError::Read { path: self.directory.join(display(path)), cause: cause.into() }
    }

    /// The entries below an open directory, in order.
    fn directory(
        &self,
        fd: BorrowedFd<'_>,
        path: &[u8],
        entered: &Entered<'_>,
    ) -> Result<Vec<Seen>, ContextError> {
        let mut names = read_names(fd).map_err(|cause| self.error(path, cause))?;
        names.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let mut children: Vec<(Seen, Option<Below>)> = Vec::with_capacity(names.len());
        for (name, hint) in &names {
            children.extend(self.child(fd, name, *hint, join(path, name.to_bytes()), entered)?);
        }
        let enter = |(seen, below): (Seen, Option<Below>)| -> Result<Vec<Seen>, ContextError> {
            let Some(below) = below else { return Ok(vec![seen]) };
            let inner = self.enter(fd, &below)?;
            // An excluded directory shows only for what is taken back in below it.
            if below.excluded && inner.is_empty() {
                return Ok(inner);
            }
            let mut all = Vec::with_capacity(inner.len() + 1);
            all.push(seen);
            all.extend(inner);
            Ok(all)
        };
        // A single sub-directory is not worth a trip through the pool.
        if children.iter().filter(|(_, below)| below.is_some()).count() > 1 {
            let parts: Vec<Vec<Seen>> = children.into_par_iter().map(enter).collect::<Result<_, _>>()?;
            Ok(parts.into_iter().flatten().collect())
        } else {
            let mut all = Vec::with_capacity(children.len());
            for child in children {
                match child {
                    (seen, None) => all.push(seen),
                    directory => all.extend(enter(directory)?),
                }
            }
            Ok(all)
        }
    }

    fn enter(&self, parent: BorrowedFd<'_>, below: &Below) -> Result<Vec<Seen>, ContextError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(parent, below.name.as_c_str(), flags, Mode::empty()) {
            Ok(fd) => fd,
            // It vanished while the walk went on: as if it had never been.
            Err(rustix::io::Errno::NOENT) => return Ok(Vec::new()),
            Err(cause) => return Err(self.error(&below.path, cause)),
        };
        let entered = Entered { matched: &below.matched, whole: below.whole };
        self.directory(fd.as_fd(), &below.path, &entered)
    }

    /// Decides on one entry: what is seen of it, and whether it is entered.
    fn child(
        &self,
        fd: BorrowedFd<'_>,
        name: &CStr,
        hint: FileType,
        path: Vec<u8>,
        entered: &Entered<'_>,
    ) -> Result<Option<(Seen, Option<Below>)>, ContextError> {
        let text = String::from_utf8_lossy(&path);
        let reach = if entered.whole { Reach::Whole } else { self.wanted.reach(&text) };
        let directory = matches!(hint, FileType::Directory | FileType::Unknown);
        if reach == Reach::Not {
            return Ok(None);
        }
        let (decision, matched) = if self.ignore.is_empty() {
            (None, Matched::default())
        } else if directory {
            let (decision, matched) = self.ignore.enter(entered.matched, &text);
            (Some(decision), matched)
        } else {
            (Some(self.ignore.decide_in(entered.matched, &text)), Matched::default())
        };
        let excluded = decision.is_some_and(|decision| decision.excluded);
        if excluded && (!directory || self.ignore.can_skip(&text)) {
            return Ok(None);
        }
        let stat = match statx(fd, name) {
            Ok(stat) => stat,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(cause) => return Err(self.error(&path, cause)),
        };
        if stat.file_type == FileType::Directory {
            let below = Below {
                name: name.to_owned(),
                path: path.clone(),
                matched,
                whole: reach == Reach::Whole,
                excluded,
            };
            return Ok(Some((Seen { path, stat, target: None }, Some(below))));
        }
        if excluded {
            return Ok(None);
        }
        let target = if stat.file_type == FileType::Symlink {
            match rustix::fs::readlinkat(fd, name, Vec::new()) {
                Ok(target) => Some(target.into_bytes()),
                Err(rustix::io::Errno::NOENT | rustix::io::Errno::INVAL) => return Ok(None),
                Err(cause) => return Err(self.error(&path, cause)),
            }
        } else {
            None
        };
        Ok(Some((Seen { path, stat, target }, None)))
    }
}

/// A directory to enter.
struct Below {
    name: CString,
    path: Vec<u8>,
    matched: Matched,
    whole: bool,
    excluded: bool,
}

fn read_names(fd: BorrowedFd<'_>) -> Result<Vec<(CString, FileType)>, rustix::io::Errno> {
    let mut buffer = Vec::with_capacity(32 * 1024);
    let mut names = Vec::new();
    let mut directory = RawDir::new(fd, buffer.spare_capacity_mut());
    while let Some(entry) = directory.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push((name.to_owned(), entry.file_type()));
        }
    }
    Ok(names)
}

/// `statx` of `name` in `fd`, of `fd` itself if `name` is empty; no link is followed.
pub(crate) fn statx(fd: BorrowedFd<'_>, name: &CStr) -> Result<Stat, rustix::io::Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
    rustix::fs::statx(fd, name, flags, StatxFlags::BASIC_STATS).map(|found| from_statx(&found))
}

fn from_statx(found: &Statx) -> Stat {
    Stat {
        file_type: FileType::from_raw_mode(found.stx_mode.into()),
        mode: u32::from(found.stx_mode) & 0o7777,
        size: found.stx_size,
        device: rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor),
        inode: found.stx_ino,
        links: found.stx_nlink,
        mtime: (found.stx_mtime.tv_sec, found.stx_mtime.tv_nsec),
        ctime: (found.stx_ctime.tv_sec, found.stx_ctime.tv_nsec),
        special: (found.stx_rdev_major, found.stx_rdev_minor),
    }
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(directory.len() + 1 + name.len());
    path.extend_from_slice(directory);
    if !directory.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// For messages.
pub(crate) fn display(path: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    PathBuf::from(std::ffi::OsStr::from_bytes(path))
}

/// Opens the directory of a context.
pub(crate) fn open_root(directory: &std::path::Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(directory, flags, Mode::empty())?)
}
