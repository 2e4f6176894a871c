//! A root file system as a directory: `type=local`.
//!
//! Everything is written relative to an open directory and without following links, so that neither the image nor what
//! stands in the destination leads a write elsewhere. Owners are those of whoever exports, as with BuildKit.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RawMode, Timespec, Timestamps, XattrFlags, fchmod, fsetxattr,
    futimens, linkat, mkdirat, mknodat, openat, renameat, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use crate::error::ExportError;
use crate::tree::{FileTree, TreeEntry, TreeKind, plain};

/// What [`write_directory`] could not write and left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Device nodes, which only root may make.
    pub devices: Vec<PathBuf>,
}

/// Writes a root file system into `directory`, which is made if it is not there. What else is in it stays. With
/// `epoch`, all times are that one.
///
/// # Errors
/// If the tree cannot be read or the directory cannot be written. What was written until then stays.
pub fn write_directory(
    directory: &Path,
    tree: &dyn FileTree,
    epoch: Option<i64>,
) -> Result<LeftOut, ExportError> {
    fs::create_dir_all(directory).map_err(ExportError::output(directory))?;
    let root = openat(CWD, directory, DIRECTORY.difference(OFlags::NOFOLLOW), Mode::empty());
    let root = root.map_err(|errno| ExportError::output(directory)(errno.into()))?;
    let mut writer = Writer { root, open: Vec::new(), epoch, tree, left_out: LeftOut::default() };
    tree.visit(&mut |entry| {
        plain(&entry.path)?;
        let failed = |cause| ExportError::Output { path: directory.join(&entry.path), cause };
        writer.close_until(&entry.path).map_err(failed)?;
        writer.write(entry, &failed)
    })?;
    writer.close_until(Path::new("/")).map_err(ExportError::output(directory))?;
    Ok(writer.left_out)
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The name of what is being written, until it takes its place. Its length is that of no name that an image can have
/// beside it by chance.
const HALF: &str = ".kiln-export-half-written";

struct Writer<'a> {
    root: OwnedFd,
    /// The directories from the root down to the entry before, each with its path and its final mode and time.
    open: Vec<OpenDir>,
    epoch: Option<i64>,
    tree: &'a dyn FileTree,
    left_out: LeftOut,
}

struct OpenDir {
    path: PathBuf,
    fd: OwnedFd,
    mode: u32,
    mtime: (i64, u32),
}

impl Writer<'_> {
    /// Finishes the directories that do not hold `path`: their times come after their content.
    fn close_until(&mut self, path: &Path) -> io::Result<()> {
        while let Some(last) = self.open.last()
            && !path.starts_with(&last.path)
        {
            fchmod(&last.fd, Mode::from_raw_mode(last.mode))?;
            futimens(&last.fd, &times(self.epoch, last.mtime))?;
            self.open.pop();
        }
        Ok(())
    }

    fn write(
        &mut self,
        entry: &TreeEntry,
        failed: &impl Fn(io::Error) -> ExportError,
    ) -> Result<(), ExportError> {
        let Some(name) = entry.path.file_name() else {
            // The root: its mode stays that of the directory given.
            return Ok(());
        };
        let parent = self.parent(&entry.path).map_err(failed)?;
        match &entry.kind {
            TreeKind::Dir => {
                let fd = enter(parent, name).map_err(failed)?;
                set_xattrs(&fd, entry).map_err(failed)?;
                let open =
                    OpenDir { path: entry.path.clone(), fd, mode: entry.mode & 0o7777, mtime: entry.mtime };
                self.open.push(open);
                return Ok(());
            }
            TreeKind::File { .. } => {
                let unreadable = |cause| ExportError::Tree { path: entry.path.clone(), cause };
                let mut bytes = self.tree.open(&entry.path).map_err(unreadable)?;
                let mut file = create(parent).map_err(failed)?;
                io::copy(&mut bytes, &mut file).map_err(failed)?;
                finish(&file, entry, self.epoch).map_err(failed)?;
            }
            TreeKind::Symlink { target } => {
                retry(parent, || symlinkat(target, parent, HALF)).map_err(failed)?;
                let times = times(self.epoch, entry.mtime);
                utimensat(parent, HALF, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| failed(e.into()))?;
            }
            TreeKind::HardLink { to } => {
                let from = self.directory_of(plain(to)?).map_err(failed)?;
                let first = to.file_name().unwrap_or_default();
                retry(parent, || linkat(&from, first, parent, HALF, AtFlags::empty())).map_err(failed)?;
            }
            TreeKind::Char(..) | TreeKind::Block(..) | TreeKind::Fifo => {
                match retry(parent, || make_node(parent, entry)) {
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                        self.left_out.devices.push(entry.path.clone());
                        return Ok(());
                    }
                    made => made.map_err(failed)?,
                }
            }
        }
        place(parent, name).map_err(failed)
    }

    /// The open directory that `path` goes into.
    fn parent(&self, path: &Path) -> io::Result<BorrowedFd<'_>> {
        let wanted = path.parent().unwrap_or(Path::new(""));
        match self.open.last() {
            Some(last) if last.path == wanted => Ok(last.fd.as_fd()),
            None if wanted.as_os_str().is_empty() => Ok(self.root.as_fd()),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "its directory was not exported before it")),
        }
    }

    /// The directory of an entry that was written before.
    fn directory_of(&self, path: &Path) -> io::Result<OwnedFd> {
        let mut fd = openat(&self.root, ".", DIRECTORY, Mode::empty())?;
        for part in path.parent().unwrap_or(Path::new("")) {
            fd = openat(&fd, part, DIRECTORY, Mode::empty())?;
        }
        Ok(fd)
    }
}

/// Opens the directory `name`, made anew if something else stands there. Its owner may write in it until it is closed.
fn enter(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    match mkdirat(parent, name, Mode::RWXU) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            let there = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(there.st_mode) != FileType::Directory {
                unlinkat(parent, name, AtFlags::empty())?;
                mkdirat(parent, name, Mode::RWXU)?;
            }
        }
        Err(errno) => return Err(errno.into()),
    }
    let fd = openat(parent, name, DIRECTORY, Mode::empty())?;
    fchmod(&fd, Mode::RWXU)?;
    Ok(fd)
}

/// A new file under [`HALF`].
fn create(parent: BorrowedFd<'_>) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    retry(parent, || openat(parent, HALF, flags, Mode::RUSR | Mode::WUSR)).map(File::from)
}

/// Makes something under [`HALF`], over what an export that broke off left there.
fn retry<T>(parent: BorrowedFd<'_>, make: impl Fn() -> rustix::io::Result<T>) -> io::Result<T> {
    match make() {
        Err(Errno::EXIST) => {
            unlinkat(parent, HALF, AtFlags::empty())?;
            Ok(make()?)
        }
        made => Ok(made?),
    }
}

/// Puts what stands under [`HALF`] into its place.
fn place(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    match renameat(parent, HALF, parent, name) {
        // A directory stands there. One that has content is not replaced: it may be the user's.
        Err(Errno::ISDIR) => {
            unlinkat(parent, name, AtFlags::REMOVEDIR)?;
            Ok(renameat(parent, HALF, parent, name)?)
        }
        Ok(()) => {
            // A rename onto another name of the same file does nothing and leaves the old name.
            match unlinkat(parent, HALF, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => Ok(()),
                Err(errno) => Err(errno.into()),
            }
        }
        Err(errno) => Err(errno.into()),
    }
}

fn make_node(parent: BorrowedFd<'_>, entry: &TreeEntry) -> rustix::io::Result<()> {
    let (kind, device) = match entry.kind {
        TreeKind::Char(major, minor) => (FileType::CharacterDevice, rustix::fs::makedev(major, minor)),
        TreeKind::Block(major, minor) => (FileType::BlockDevice, rustix::fs::makedev(major, minor)),
        _ => (FileType::Fifo, 0),
    };
    mknodat(parent, HALF, kind, Mode::from_raw_mode((entry.mode & 0o777) as RawMode), device)
}

fn finish(file: &File, entry: &TreeEntry, epoch: Option<i64>) -> io::Result<()> {
    set_xattrs(file, entry)?;
    fchmod(file, Mode::from_raw_mode(entry.mode & 0o7777))?;
    Ok(futimens(file, &times(epoch, entry.mtime))?)
}

/// Sets what may be set: capabilities and the like need root, and a file system may know none of it.
fn set_xattrs(file: impl AsFd, entry: &TreeEntry) -> io::Result<()> {
    for (name, value) in &entry.xattrs {
        match fsetxattr(&file, name.as_slice(), value, XattrFlags::empty()) {
            Ok(()) | Err(Errno::PERM | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn times(epoch: Option<i64>, mtime: (i64, u32)) -> Timestamps {
    let (seconds, nanoseconds) = epoch.map_or(mtime, |epoch| (epoch, 0));
    let time = Timespec { tv_sec: seconds, tv_nsec: i64::from(nanoseconds) };
    Timestamps { last_access: time, last_modification: time }
}
