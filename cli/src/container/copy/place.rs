//! A directory that files are put into. Nothing that stands in it leads a write elsewhere.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use kiln_cache::{Archive, Member, MemberKind};
use kiln_exporter::{ExportError, FileTree, TreeEntry, TreeKind};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags, chownat,
    fchmod, fchown, fsetxattr, futimens, linkat, mkdirat, mknodat, openat2, statat, symlinkat, unlinkat,
    utimensat,
};
use rustix::io::Errno;

use super::root::Root;

/// Whose the files become, and how exact a copy they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Whoever copies: root's in a container. An attribute that the file system or the copier cannot set is left out.
    Copier,
    /// Whose they were.
    Same,
}

/// The directory.
#[derive(Debug)]
pub(crate) struct Place {
    directory: OwnedFd,
    owner: Owner,
    /// Their modes and times come after their content.
    made: Vec<TreeEntry>,
    /// Bytes of files so far.
    pub(crate) bytes: u64,
}

impl Place {
    /// Files go into this open directory.
    pub(crate) fn new(directory: OwnedFd, owner: Owner) -> Self {
        Self { directory, owner, made: Vec::new(), bytes: 0 }
    }

    /// Puts a whole tree into it. The bytes of its files.
    pub(crate) fn take(mut self, tree: &dyn FileTree) -> Result<u64, ExportError> {
        tree.visit(&mut |entry| {
            let failed = |cause| ExportError::Output { path: entry.path.clone(), cause };
            let mut content = match &entry.kind {
                TreeKind::File { .. } => Some(
                    tree.open(&entry.path)
                        .map_err(|cause| ExportError::Tree { path: entry.path.clone(), cause })?,
                ),
                _ => None,
            };
            let mut nothing = io::empty();
            let content: &mut dyn Read = match &mut content {
                Some(content) => content,
                None => &mut nothing,
            };
            self.put(entry, content).map_err(failed)
        })?;
        self.finish()
    }

    /// Puts the members of a tar into it. The bytes of its files.
    pub(crate) fn take_archive(mut self, from: impl Read) -> Result<u64, ExportError> {
        let unreadable = |error: kiln_cache::ArchiveError| ExportError::Tree {
            path: PathBuf::from("-"),
            cause: io::Error::other(error),
        };
        let mut archive = Archive::new(from);
        while let Some(mut member) = archive.next_member().map_err(unreadable)? {
            let failed = |path: &Path| {
                let path = path.to_owned();
                move |cause| ExportError::Output { path, cause }
            };
            let entry = described(&member).map_err(failed(&member.path))?;
            self.put(&entry, &mut member).map_err(failed(&entry.path))?;
        }
        self.finish()
    }

    fn put(&mut self, entry: &TreeEntry, content: &mut dyn Read) -> io::Result<()> {
        let Some(name) = entry.path.file_name() else {
            // The directory itself.
            return Ok(());
        };
        let parent = self.parent(entry.path.parent().unwrap_or(Path::new("")))?;
        let there = match statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Some(FileType::from_raw_mode(stat.st_mode)),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(errno.into()),
        };
        let is_dir = entry.kind == TreeKind::Dir;
        match there {
            Some(FileType::Directory) if !is_dir => {
                return Err(io::Error::other("cannot overwrite a directory with a file"));
            }
            Some(FileType::Directory) | None => {}
            Some(_) if is_dir => return Err(io::Error::other("cannot overwrite a file with a directory")),
            Some(_) => unlinkat(&parent, name, AtFlags::empty())?,
        }
        match &entry.kind {
            TreeKind::Dir => {
                if there.is_none() {
                    mkdirat(&parent, name, Mode::RWXU)?;
                    self.own(&parent, name, entry)?;
                    self.made.push(entry.clone());
                }
            }
            TreeKind::File { .. } => self.file(&parent, name, entry, content)?,
            TreeKind::Symlink { target } => {
                symlinkat(target, &parent, name)?;
                self.own(&parent, name, entry)?;
                utimensat(&parent, name, &times(entry), AtFlags::SYMLINK_NOFOLLOW)?;
            }
            TreeKind::HardLink { to } => {
                let first = to.file_name().unwrap_or_default();
                let from = self.parent(to.parent().unwrap_or(Path::new("")))?;
                linkat(&from, first, &parent, name, AtFlags::empty())?;
            }
            TreeKind::Char(major, minor) => {
                let device = rustix::fs::makedev(*major, *minor);
                mknodat(&parent, name, FileType::CharacterDevice, Mode::from_raw_mode(entry.mode), device)?;
                self.own(&parent, name, entry)?;
            }
            TreeKind::Block(major, minor) => {
                let device = rustix::fs::makedev(*major, *minor);
                mknodat(&parent, name, FileType::BlockDevice, Mode::from_raw_mode(entry.mode), device)?;
                self.own(&parent, name, entry)?;
            }
            TreeKind::Fifo => {
                mknodat(&parent, name, FileType::Fifo, Mode::from_raw_mode(entry.mode), 0)?;
                self.own(&parent, name, entry)?;
            }
        }
        Ok(())
    }

    fn file(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        entry: &TreeEntry,
        content: &mut dyn Read,
    ) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?;
        let mut file = File::from(file);
        self.bytes += io::copy(content, &mut file)?;
        if self.owner == Owner::Same {
            fchown(&file, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
        }
        self.set_xattrs(&file, entry)?;
        // After the owner: that clears setuid.
        fchmod(&file, Mode::from_raw_mode(entry.mode))?;
        Ok(futimens(&file, &times(entry))?)
    }

    fn own(&self, parent: &OwnedFd, name: &OsStr, entry: &TreeEntry) -> io::Result<()> {
        if self.owner == Owner::Same {
            let (uid, gid) = (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)));
            chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }

    /// The directory `path`, made if it is missing, as tars do without it.
    fn parent(&self, path: &Path) -> io::Result<OwnedFd> {
        let open = |from: &OwnedFd, path: &Path| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            openat2(from, path, flags, Mode::empty(), resolve)
        };
        if path.as_os_str().is_empty() {
            return self.directory.as_fd().try_clone_to_owned();
        }
        match open(&self.directory, path) {
            Err(Errno::NOENT) => {}
            opened => return Ok(opened?),
        }
        let mut at = self.directory.as_fd().try_clone_to_owned()?;
        for part in path {
            match mkdirat(&at, part, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => at = open(&at, Path::new(part))?,
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(at)
    }

    fn set_xattrs(&self, file: impl AsFd, entry: &TreeEntry) -> io::Result<()> {
        match set_xattrs(file, entry) {
            Err(error) if self.owner == Owner::Copier && is_refusal(&error) => Ok(()),
            set => set,
        }
    }

    /// Modes and times of the directories, the deepest first.
    fn finish(mut self) -> Result<u64, ExportError> {
        for entry in std::mem::take(&mut self.made).into_iter().rev() {
            let failed = |cause| ExportError::Output { path: entry.path.clone(), cause };
            let directory = self.parent(&entry.path).map_err(failed)?;
            let dressed = self.set_xattrs(&directory, &entry).and_then(|()| {
                fchmod(&directory, Mode::from_raw_mode(entry.mode))?;
                Ok(futimens(&directory, &times(&entry))?)
            });
            dressed.map_err(failed)?;
        }
        Ok(self.bytes)
    }
}

/// Gives `directory` the mode, owner and attributes of `like`.
pub(crate) fn dress(directory: &OwnedFd, like: &Root) -> io::Result<()> {
    let like = crate::container::copy::tree::LiveTree::whole(like.directory(Path::new(""))?);
    let mut dressed = Ok(());
    let told = like.visit(&mut |entry| {
        if entry.path.as_os_str().is_empty() {
            dressed = set_xattrs(directory, entry).and_then(|()| {
                fchown(directory, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
                fchmod(directory, Mode::from_raw_mode(entry.mode))?;
                Ok(futimens(directory, &times(entry))?)
            });
        }
        Ok(())
    });
    dressed.and(told.map_err(io::Error::other))
}

fn set_xattrs(file: impl AsFd, entry: &TreeEntry) -> io::Result<()> {
    for (name, value) in &entry.xattrs {
        fsetxattr(&file, name.as_slice(), value, XattrFlags::empty())?;
    }
    Ok(())
}

fn is_refusal(error: &io::Error) -> bool {
    let refusals = [Errno::OPNOTSUPP, Errno::PERM, Errno::ACCESS, Errno::INVAL].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|raw| refusals.contains(&raw))
}

fn times(entry: &TreeEntry) -> Timestamps {
    let time = Timespec { tv_sec: entry.mtime.0, tv_nsec: i64::from(entry.mtime.1) };
    Timestamps { last_access: time, last_modification: time }
}

/// A member of a tar, its paths made plain.
fn described<R: Read>(member: &Member<'_, R>) -> io::Result<TreeEntry> {
    let plain = |path: &Path| -> io::Result<PathBuf> {
        let mut plain = PathBuf::new();
        for part in path.components() {
            match part {
                Component::Normal(name) => plain.push(name),
                Component::ParentDir => {
                    return Err(io::Error::other("its path leads out of the destination"));
                }
                _ => {}
            }
        }
        Ok(plain)
    };
    let kind = match &member.kind {
        MemberKind::File => TreeKind::File { size: member.size },
        MemberKind::Dir => TreeKind::Dir,
        MemberKind::Symlink { target } => TreeKind::Symlink { target: target.clone() },
        MemberKind::HardLink { to } => TreeKind::HardLink { to: plain(to)? },
        MemberKind::Char(device) => TreeKind::Char(device.major, device.minor),
        MemberKind::Block(device) => TreeKind::Block(device.major, device.minor),
        MemberKind::Fifo => TreeKind::Fifo,
    };
    let attributes = &member.attributes;
    Ok(TreeEntry {
        path: plain(&member.path)?,
        kind,
        mode: attributes.mode,
        uid: attributes.uid,
        gid: attributes.gid,
        mtime: (attributes.mtime.seconds, attributes.mtime.nanoseconds),
        xattrs: std::collections::BTreeMap::new(),
    })
}
