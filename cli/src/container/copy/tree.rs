//! Files as they stand, read relative to open directories.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use kiln_exporter::{ExportError, FileTree, TreeEntry, TreeKind};
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fgetxattr, flistxattr, openat, openat2,
    readlinkat, statat,
};
use rustix::io::Errno;

use super::root::Found;

/// A file or directory with all that is in it.
#[derive(Debug)]
pub(crate) struct LiveTree {
    found: Found,
    /// The path that it is told under; empty for a directory whose content alone matters.
    shown: PathBuf,
    /// Which extended attributes are told.
    told: fn(&[u8]) -> bool,
}

/// Whether an attribute is the program's own, and neither the kernel's notes, which overlayfs and others make, nor kiln's.
fn is_plain(name: &[u8]) -> bool {
    let is_users =
        name.starts_with(b"user.") && !name.starts_with(b"user.overlay.") && !name.starts_with(b"user.kiln.");
    is_users || name == b"security.capability" || name.starts_with(b"system.posix_acl_")
}

/// First names of files that have several.
type Links = HashMap<(u64, u64), PathBuf>;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl LiveTree {
    /// What was found, under another path.
    pub(crate) fn new(found: Found, shown: PathBuf) -> Self {
        Self { found, shown, told: is_plain }
    }

    /// What is in an open directory, with all extended attributes.
    pub(crate) fn whole(directory: OwnedFd) -> Self {
        let found = Found { parent: directory, name: ".".into(), is_dir: true };
        Self { found, shown: PathBuf::new(), told: |_| true }
    }

    fn attributes(&self, file: &OwnedFd) -> rustix::io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        // The kernel's limits for a list and for a value.
        let mut list = vec![0_u8; 64 << 10];
        let length = match flistxattr(file, list.as_mut_slice()) {
            Err(Errno::OPNOTSUPP) => 0,
            length => length?,
        };
        let mut found = BTreeMap::new();
        for name in
            list[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty() && (self.told)(name))
        {
            let mut value = vec![0_u8; 64 << 10];
            match fgetxattr(file, name, value.as_mut_slice()) {
                Ok(length) => {
                    value.truncate(length);
                    found.insert(name.to_vec(), value);
                }
                Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(found)
    }

    fn tell(
        &self,
        (parent, name): (BorrowedFd<'_>, &OsStr),
        shown: &Path,
        links: &mut Links,
        visit: &mut dyn FnMut(&TreeEntry) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        let failed = |errno: Errno| ExportError::Tree { path: shown.to_owned(), cause: errno.into() };
        let stat = match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            // Gone since its directory was read.
            Err(Errno::NOENT) => return Ok(()),
            stat => stat.map_err(failed)?,
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Socket {
            return Ok(());
        }
        let directory = match kind {
            FileType::Directory => Some(openat(parent, name, DIRECTORY, Mode::empty()).map_err(failed)?),
            _ => None,
        };
        let xattrs = match &directory {
            Some(directory) => self.attributes(directory).map_err(failed)?,
            None if kind == FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                match openat(parent, name, flags, Mode::empty()) {
                    Ok(file) => self.attributes(&file).map_err(failed)?,
                    // Whoever may not read it hears of that when its content is wanted.
                    Err(Errno::ACCESS) => BTreeMap::new(),
                    Err(errno) => return Err(failed(errno)),
                }
            }
            None => BTreeMap::new(),
        };
        let first = if directory.is_none() && stat.st_nlink > 1 {
            links.insert((stat.st_dev, stat.st_ino), shown.to_owned())
        } else {
            None
        };
        let kind = match (first, kind) {
            (Some(to), _) => {
                links.insert((stat.st_dev, stat.st_ino), to.clone());
                TreeKind::HardLink { to }
            }
            (None, FileType::Directory) => TreeKind::Dir,
            (None, FileType::Symlink) => {
                let target = readlinkat(parent, name, Vec::new()).map_err(failed)?;
                TreeKind::Symlink { target: OsStr::from_bytes(target.as_bytes()).into() }
            }
            (None, FileType::CharacterDevice) => {
                TreeKind::Char(rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev))
            }
            (None, FileType::BlockDevice) => {
                TreeKind::Block(rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev))
            }
            (None, FileType::Fifo) => TreeKind::Fifo,
            (None, _) => TreeKind::File { size: stat.st_size.unsigned_abs() },
        };
        visit(&entry(shown, kind, &stat, xattrs))?;
        let Some(directory) = directory else { return Ok(()) };
        for name in names(&directory).map_err(failed)? {
            let name = OsStr::from_bytes(&name);
            self.tell((directory.as_fd(), name), &shown.join(name), links, visit)?;
        }
        Ok(())
    }
}

fn entry(path: &Path, kind: TreeKind, stat: &Stat, xattrs: BTreeMap<Vec<u8>, Vec<u8>>) -> TreeEntry {
    let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    TreeEntry {
        path: path.to_owned(),
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: (stat.st_mtime, nanoseconds),
        xattrs,
    }
}

/// In the order of their bytes.
fn names(directory: &OwnedFd) -> rustix::io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

impl FileTree for LiveTree {
    fn visit(&self, visit: &mut dyn FnMut(&TreeEntry) -> Result<(), ExportError>) -> Result<(), ExportError> {
        let place = (self.found.parent.as_fd(), self.found.name.as_os_str());
        self.tell(place, &self.shown, &mut Links::new(), visit)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        let below = path.strip_prefix(&self.shown).unwrap_or(path);
        let path = if below.as_os_str().is_empty() {
            PathBuf::from(&self.found.name)
        } else {
            Path::new(&self.found.name).join(below)
        };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let file = File::from(openat2(&self.found.parent, path, flags, Mode::empty(), resolve)?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no file any more"));
        }
        Ok(Box::new(file))
    }
}
