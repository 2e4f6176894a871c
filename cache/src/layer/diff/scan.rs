//! The parallel walk of an upper directory.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use kiln_core::ContentHash;
use rayon::prelude::*;
use rustix::fs::{AtFlags, FileType, RawDir, Stat, major, minor, readlinkat, statat};

use super::super::entry::{self, Attributes, Device, Entry, FileContent, Kind, Timestamp};
use super::super::error::LayerError;
use super::super::owner::OwnerRecord;
use super::super::rooted::{Links, Rooted};
use super::super::view::{Directory, Found, View};
use super::super::work::{Identities, Identity};
use super::super::xattr;
use crate::store::OverlayXattrs;

/// A name of an upper directory, or one that an opaque directory hides.
#[derive(Debug)]
pub(super) struct Scanned<'a> {
    /// A file's content and attributes are not read yet.
    pub(super) entry: Entry,
    /// Of what has more than one name.
    pub(super) inode: Option<u64>,
    /// What the layers below have at the path.
    pub(super) below: Option<Found<'a>>,
    /// Whether the directory carries the mark.
    pub(super) opaque: bool,
    /// Whether there is something of this name: a whiteout may have to be made.
    pub(super) in_tree: bool,
    /// A socket, which no layer holds.
    pub(super) socket: bool,
    /// Of a file, what tells whether anything was done to it.
    pub(super) identity: Option<Identity>,
    /// A file to which nothing was done: content and attributes are those of what is below.
    pub(super) untouched: bool,
}

struct Scan<'a> {
    root: &'a Rooted,
    mode: OverlayXattrs,
    view: &'a View,
    /// Of a whole tree: what its files were before the step.
    before: Option<&'a Identities>,
}

/// Everything in the tree, its root first, in the order of manifests.
pub(super) fn scan<'a>(
    root: &'a Rooted,
    mode: OverlayXattrs,
    view: &'a View,
    before: Option<&'a Identities>,
) -> Result<Vec<Scanned<'a>>, LayerError> {
    let stat = statat(root, "", AtFlags::EMPTY_PATH);
    let stat = stat.map_err(|errno| LayerError::io("look at", root.path())(errno.into()))?;
    let scan = Scan { root, mode, view, before };
    // Of a whole tree, what is not there is gone, as from an opaque directory.
    scan.directory(Path::new(""), &stat, Some((view.root(), view.top())), before.is_some())
}

impl<'a> Scan<'a> {
    /// `below` is what the layers below have at the path. `hidden` says that a directory above is opaque.
    fn directory(
        &self,
        path: &Path,
        stat: &Stat,
        below: Option<(Found<'a>, Directory)>,
        hidden: bool,
    ) -> Result<Vec<Scanned<'a>>, LayerError> {
        let failed = |cause| LayerError::io("read the step's directory", path)(cause);
        let open = self.root.directory(path, Links::Refused).map_err(failed)?;
        let read = xattr::read(&open, self.mode).map_err(failed)?;
        let mut names = names(open.as_fd()).map_err(|errno| failed(errno.into()))?;
        names.sort_unstable();

        let mut attributes = attributes(stat);
        attributes.xattrs = read.xattrs;
        if self.mode == OverlayXattrs::Recorded {
            own(&mut attributes, read.owner.unwrap_or_default());
        }
        let itself = Scanned {
            entry: Entry { path: path.to_owned(), kind: Kind::Dir, attributes },
            inode: None,
            below: below.as_ref().map(|(found, _)| *found),
            opaque: read.opaque,
            in_tree: true,
            socket: false,
            identity: None,
            untouched: false,
        };
        let below = below.filter(|(found, _)| found.entry().is_dir()).map(|(_, directory)| directory);
        let hides = hidden || read.opaque;

        // Stat calls are cheap: only directories are worth a task of their own.
        let children: Vec<Vec<Scanned<'a>>> = names
            .par_iter()
            .with_min_len(16)
            .map(|name| self.child(&open, path, name, below.as_ref(), hides))
            .collect::<Result<_, _>>()?;
        let mut all = vec![itself];
        if hides && let Some(below) = &below {
            all.extend(self.with_hidden(below, children));
        } else {
            all.extend(children.into_iter().flatten());
        }
        Ok(all)
    }

    fn child(
        &self,
        open: &std::os::fd::OwnedFd,
        parent: &Path,
        name: &OsStr,
        below: Option<&Directory>,
        hidden: bool,
    ) -> Result<Vec<Scanned<'a>>, LayerError> {
        let path = entry::join(parent, name);
        let failed =
            |errno: rustix::io::Errno| LayerError::io("look at the step's file", &path)(errno.into());
        let stat = statat(open, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        let below = below.and_then(|below| self.view.child(below, &path));
        let file_type = FileType::from_raw_mode(stat.st_mode);
        if file_type == FileType::Directory {
            return self.directory(&path, &stat, below, hidden);
        }
        let identity = (file_type == FileType::RegularFile).then(|| Identity::of(&stat));
        if let (Some(before), Some(identity), Some((found, _))) = (self.before, identity, &below)
            && before.get(&path) == Some(&identity)
        {
            let Entry { kind, attributes, .. } = found.target().clone();
            return Ok(vec![Scanned {
                entry: Entry { path, kind, attributes },
                inode: (stat.st_nlink > 1).then_some(stat.st_ino),
                below: Some(*found),
                opaque: false,
                in_tree: true,
                socket: false,
                identity: Some(identity),
                untouched: true,
            }]);
        }
        let device = Device { major: major(stat.st_rdev), minor: minor(stat.st_rdev) };
        let kind = match file_type {
            // The size and the hash come from reading it.
            FileType::RegularFile => {
                Kind::File(FileContent { size: 0, hash: ContentHash::from_bytes([0; 32]) })
            }
            FileType::Symlink => {
                let target = readlinkat(open, name, Vec::new()).map_err(failed)?;
                Kind::Symlink { target: OsString::from_vec(target.into_bytes()).into() }
            }
            FileType::CharacterDevice if device == (Device { major: 0, minor: 0 }) => Kind::Whiteout,
            FileType::CharacterDevice => Kind::Char(device),
            FileType::BlockDevice => Kind::Block(device),
            _ => Kind::Fifo,
        };
        let whiteout = kind == Kind::Whiteout;
        let mut attributes = if whiteout { Attributes::default() } else { attributes(&stat) };
        // A file's is read with its content.
        if self.mode == OverlayXattrs::Recorded && !whiteout {
            let path = format!("/proc/self/fd/{}", open.as_raw_fd());
            let record = match file_type {
                FileType::RegularFile => None,
                _ => OwnerRecord::read(&Path::new(&path).join(name), file_type, false).map_err(failed)?,
            };
            own(&mut attributes, record.unwrap_or_default());
        }
        Ok(vec![Scanned {
            entry: Entry { path, kind, attributes },
            inode: (stat.st_nlink > 1 && !whiteout).then_some(stat.st_ino),
            below: below.map(|(found, _)| found),
            opaque: false,
            in_tree: true,
            socket: file_type == FileType::Socket,
            identity,
            untouched: false,
        }])
    }

    /// Adds whiteouts for what the directory has below and not in the tree, at their places among the children.
    fn with_hidden(&self, below: &Directory, children: Vec<Vec<Scanned<'a>>>) -> Vec<Scanned<'a>> {
        let mut all: BTreeMap<OsString, Vec<Scanned<'a>>> = children
            .into_iter()
            .filter_map(|child| Some((child.first()?.entry.path.file_name()?.to_owned(), child)))
            .collect();
        for found in self.view.list(below) {
            let path = &found.entry().path;
            let Some(name) = path.file_name() else { continue };
            if !all.contains_key(name) {
                let entry = Entry::whiteout(path.clone());
                let hidden = Scanned {
                    entry,
                    inode: None,
                    below: Some(found),
                    opaque: false,
                    in_tree: false,
                    socket: false,
                    identity: None,
                    untouched: false,
                };
                all.insert(name.to_owned(), vec![hidden]);
            }
        }
        all.into_values().flatten().collect()
    }
}

fn names(directory: BorrowedFd<'_>) -> Result<Vec<OsString>, rustix::io::Errno> {
    let mut buffer = vec![MaybeUninit::uninit(); 32 * 1024];
    let mut entries = RawDir::new(directory, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

/// Where owners are recorded, all is root's that has no record.
pub(super) fn own(attributes: &mut Attributes, record: OwnerRecord) {
    (attributes.uid, attributes.gid) = (record.uid, record.gid);
}

fn attributes(stat: &Stat) -> Attributes {
    Attributes {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: Timestamp { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec as u32 },
        xattrs: Default::default(),
    }
}
