//! The new root: mounted, looked up in without leaving it, entered.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use super::failure::{During, Setup};
use super::tree::{self, Marks};
use crate::sandbox::bundle::Tree;
use crate::sandbox::stub::{Stub, modified};
use crate::sys::{self, MountChange};

/// Where the new root is attached before it becomes the root: any directory that is always there and that nobody reads
/// layers from.
pub(super) const MOUNT_POINT: &str = "/proc/driver";

/// What a mount point must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
}

/// The root of the sandbox while it is furnished.
#[derive(Debug)]
pub(crate) struct Root {
    mount: OwnedFd,
    id: u64,
    /// Mount points that were missing.
    pub(crate) stubs: Vec<Stub>,
}

const LOOKUP: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);
const MAX_LINKS: usize = 40;

impl Root {
    /// Mounts `tree` and attaches it.
    pub(super) fn mount(tree: &Tree, marks: Marks, devices: bool) -> Setup<Self> {
        let mount = tree::mount_tree(tree, marks)?;
        if !devices {
            let change = MountChange { set: libc::MOUNT_ATTR_NODEV, ..MountChange::default() };
            sys::change_mount(&mount, change, true).during(|| "make the root nodev".into())?;
        }
        let point = rustix::fs::openat(CWD, MOUNT_POINT, LOOKUP, Mode::empty())
            .during(|| format!("open {MOUNT_POINT}"))?;
        tree::attach(&mount, &point).during(|| "attach the root file system".into())?;
        let id = mount_id(&mount).during(|| "look at the root file system".into())?;
        Ok(Self { mount, id, stubs: Vec::new() })
    }

    /// The directory `path` as it stands, mounted nowhere.
    pub(crate) fn at(path: &Path) -> Setup<Self> {
        let what = || format!("open {}", path.display());
        let mount = rustix::fs::openat(CWD, path, LOOKUP | OFlags::DIRECTORY, Mode::empty()).during(what)?;
        let id = mount_id(&mount).during(what)?;
        Ok(Self { mount, id, stubs: Vec::new() })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.mount.as_fd()
    }

    /// Opens `path` within the root, symlinks followed within it.
    pub(super) fn open(&self, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        crate::resolve::openat2(&self.mount, path, flags | OFlags::CLOEXEC, resolve)
    }

    /// Opens the mount point `path`, and makes it first if it is missing.
    pub(crate) fn target(&mut self, path: &str, kind: Kind) -> Setup<OwnedFd> {
        let what = || format!("open the mount point {path}");
        match self.open(path, LOOKUP) {
            Ok(found) => Ok(found),
            Err(Errno::NOENT) => self.make(path, kind).during(|| format!("make the mount point {path}")),
            Err(error) => Err(error).during(what),
        }
    }

    /// Walks `path` by hand, making what is missing, the targets of dangling symlinks too.
    fn make(&mut self, path: &str, kind: Kind) -> rustix::io::Result<OwnedFd> {
        let mut todo: VecDeque<Vec<u8>> = parts(path.as_bytes());
        let mut above: Vec<OwnedFd> = Vec::new();
        let mut here = self.mount.try_clone().map_err(|_| Errno::MFILE)?;
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            let name = OsStr::from_bytes(&name);
            if name == ".." {
                here = above.pop().unwrap_or(here);
                continue;
            }
            let flags = LOOKUP | OFlags::NOFOLLOW;
            let next = match crate::resolve::openat2(&here, name, flags, ResolveFlags::BENEATH) {
                Ok(next) => next,
                Err(Errno::NOENT) => {
                    let kind = if todo.is_empty() { kind } else { Kind::Directory };
                    self.make_entry(&here, name, kind)?;
                    crate::resolve::openat2(&here, name, flags, ResolveFlags::BENEATH)?
                }
                Err(error) => return Err(error),
            };
            let stat = rustix::fs::fstat(&next)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
                above.push(std::mem::replace(&mut here, next));
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::LOOP);
            }
            let link = rustix::fs::readlinkat(&next, "", Vec::new())?.into_bytes();
            if link.starts_with(b"/") {
                above.clear();
                here = self.mount.try_clone().map_err(|_| Errno::MFILE)?;
            }
            for part in parts(&link).into_iter().rev() {
                todo.push_front(part);
            }
        }
        Ok(here)
    }

    fn make_entry(&mut self, parent: &OwnedFd, name: &OsStr, kind: Kind) -> rustix::io::Result<()> {
        let before = modified(parent)?;
        match kind {
            Kind::Directory => rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755))?,
            Kind::File => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                drop(rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o644))?);
            }
        }
        // In another mount (a cache, a tmpfs) it is not part of the root's layer.
        if mount_id(parent)? == self.id {
            let made = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            self.stubs.push(Stub {
                path: self.path_of(parent)?.join(name),
                directory: kind == Kind::Directory,
                inode: made.st_ino,
                parent_before: before,
                parent_after: modified(parent)?,
            });
        }
        Ok(())
    }

    /// The path of a directory of the root, relative to it.
    pub(crate) fn path_of(&self, directory: &OwnedFd) -> rustix::io::Result<PathBuf> {
        let link =
            |fd: &OwnedFd| rustix::fs::readlink(format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new());
        let (path, root) = (link(directory)?, link(&self.mount)?);
        let path = Path::new(OsStr::from_bytes(path.as_bytes()));
        let root = OsStr::from_bytes(root.as_bytes());
        path.strip_prefix(root).map(Path::to_owned).map_err(|_| Errno::NOENT)
    }

    /// Makes this the root of the process and lets go of the old one.
    pub(super) fn enter(self, read_only: bool) -> Setup<Vec<Stub>> {
        if read_only {
            let change = MountChange { set: libc::MOUNT_ATTR_RDONLY, ..MountChange::default() };
            sys::change_mount(&self.mount, change, false).during(|| "make the root read-only".into())?;
        }
        let what = || "enter the root file system".to_owned();
        rustix::process::fchdir(&self.mount).during(what)?;
        // The old root is stacked on the new one, and taken off by its own name.
        rustix::process::pivot_root(".", ".").during(what)?;
        unmount(".", UnmountFlags::DETACH).during(|| "let go of the host's file systems".into())?;
        rustix::process::chdir("/").during(what)?;
        Ok(self.stubs)
    }
}

fn parts(path: &[u8]) -> VecDeque<Vec<u8>> {
    path.split(|&b| b == b'/').filter(|part| !matches!(*part, b"" | b".")).map(<[u8]>::to_vec).collect()
}

fn mount_id(fd: &OwnedFd) -> rustix::io::Result<u64> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
    Ok(rustix::fs::statx(fd, "", flags, StatxFlags::MNT_ID)?.stx_mnt_id)
}
