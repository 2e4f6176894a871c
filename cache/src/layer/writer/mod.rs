//! Writes a tree and its manifest at once.

pub(crate) mod copy;
mod owned;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rayon::prelude::*;
use rustix::fs::{AtFlags, FileType, Mode, futimens, linkat, makedev, mkdirat, mknodat, symlinkat, unlinkat};
use rustix::io::Errno;

use super::entry::{self, Attributes, Device, Entry, FileContent, Kind};
use super::error::LayerError;
use super::layers::Layer;
use super::manifest::Manifest;
use super::owner::RecordedDevice;
use super::rooted::{Links, Rooted};
use super::view::View;
use crate::store::OverlayXattrs;

pub(crate) use owned::{apply, times};

/// Writes into a draft's tree and records what it writes. Files may be written by several threads at once.
///
/// Whatever is written must lie in a directory that was written before. A name that is written again replaces what was
/// there; a directory that is written again keeps its content and gets the new attributes. Each path is relative to
/// the tree's root; the empty path is the root itself.
///
/// **Invariant:** no link is followed: every directory on the way is one that this writer made.
#[derive(Debug)]
pub struct TreeWriter {
    root: Rooted,
    written: Mutex<HashMap<PathBuf, Written>>,
    /// Directories that were used lately. Bounded: a deep tree must not use up the descriptors.
    open: RwLock<HashMap<PathBuf, Arc<OwnedFd>>>,
    next_inode: AtomicU64,
    /// Whether the file system has said that it cannot share extents.
    no_reflink: AtomicBool,
    /// Whether whiteouts are made in the tree, and where owners go.
    form: OverlayXattrs,
}

/// What is recorded of a name. Names of one file have one number.
#[derive(Debug, Clone)]
struct Written {
    kind: Kind,
    attributes: Attributes,
    inode: u64,
}

/// What a name can be besides directory, file and links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// A character device.
    Char(Device),
    /// A block device.
    Block(Device),
    /// A named pipe.
    Fifo,
}

const OPEN_DIRECTORIES: usize = 64;

impl TreeWriter {
    pub(crate) fn new(tree: &Path, form: OverlayXattrs) -> Result<Self, LayerError> {
        Ok(Self {
            root: Rooted::open(tree).map_err(LayerError::io("open the tree", tree))?,
            written: Mutex::default(),
            open: RwLock::default(),
            next_inode: AtomicU64::new(0),
            no_reflink: AtomicBool::new(false),
            form,
        })
    }

    /// A writer into a tree that shows what `view` shows.
    pub(crate) fn over(tree: &Path, view: &View) -> Result<Self, LayerError> {
        let writer = Self::new(tree, OverlayXattrs::Plain)?;
        let mut inodes: HashMap<*const Entry, u64> = HashMap::new();
        for found in view.walk(Path::new("")) {
            let target = found.target();
            let known = inodes.get(&std::ptr::from_ref(target)).copied();
            let inode = known.unwrap_or_else(|| writer.next_inode.fetch_add(1, Ordering::Relaxed));
            inodes.insert(std::ptr::from_ref(target), inode);
            writer.record(&found.entry().path, target.kind.clone(), &target.attributes, Some(inode));
        }
        Ok(writer)
    }

    /// Makes a directory, or gives one that was made before these attributes.
    ///
    /// # Errors
    /// The parent was not written, or the file system refuses.
    pub fn dir(&self, path: &Path, attributes: &Attributes) -> Result<(), LayerError> {
        let failed = |errno: Errno| LayerError::io("make the directory", path)(errno.into());
        let directory = match self.recorded(path) {
            _ if path.as_os_str().is_empty() => self.parent(path)?,
            Some(Kind::Dir) => self.directory(path)?,
            there => {
                let (parent, name) = self.place(path, there.is_some())?;
                mkdirat(&parent, name, Mode::RWXU).map_err(failed)?;
                self.directory(path)?
            }
        };
        apply(&directory, attributes, None, self.form)
            .map_err(LayerError::io("set the attributes of", path))?;
        self.record(path, Kind::Dir, attributes, None);
        Ok(())
    }

    /// Writes a file with this content, hashed on the way.
    ///
    /// # Errors
    /// The parent was not written, the file system refuses, or `content` fails.
    pub fn file(
        &self,
        path: &Path,
        attributes: &Attributes,
        content: &mut dyn Read,
    ) -> Result<FileContent, LayerError> {
        let file = self.create(path)?;
        let content = copy::stream(content, &file).map_err(LayerError::io("write the file", path))?;
        self.finish_file(path, &file, attributes, content)
    }

    /// Writes a file with the content of another one from its start. The bytes are shared where the file system can;
    /// what is hashed is what has been written.
    ///
    /// # Errors
    /// The parent was not written, the file system refuses, or `from` cannot be read.
    pub fn copy_file(
        &self,
        path: &Path,
        attributes: &Attributes,
        from: &File,
    ) -> Result<FileContent, LayerError> {
        let file = self.create(path)?;
        let content =
            copy::file(from, &file, &self.no_reflink).map_err(LayerError::io("write the file", path))?;
        self.finish_file(path, &file, attributes, content)
    }

    /// Makes the path another name of a finished layer's file instead of copying it, if that layer has at the same
    /// path a file that is equal in all: owner, mode, time and extended attributes belong to the file, not to its
    /// name. Returns what was linked, or `None` if it has to be copied.
    ///
    /// # Errors
    /// The parent was not written.
    pub fn link_from_layer(
        &self,
        path: &Path,
        attributes: &Attributes,
        layer: &Layer,
    ) -> Result<Option<FileContent>, LayerError> {
        let Some(there) = layer.manifest.get(path) else { return Ok(None) };
        let Kind::File(content) = there.kind else { return Ok(None) };
        if there.attributes != *attributes {
            return Ok(None);
        }
        let from = layer.rooted()?;
        let (parent, name) = self.place(path, self.recorded(path).is_some())?;
        match linkat(from, path, &parent, name, AtFlags::empty()) {
            Ok(()) => {}
            // No more links to it, another file system, or not ours to link: a copy does it. What was removed since
            // is a copy's to find.
            Err(_) => return Ok(None),
        }
        self.record(path, Kind::File(content), attributes, None);
        Ok(Some(content))
    }

    /// Makes a symbolic link.
    ///
    /// # Errors
    /// The parent was not written, or the file system refuses.
    pub fn symlink(&self, path: &Path, target: &Path, attributes: &Attributes) -> Result<(), LayerError> {
        let (parent, name) = self.place(path, self.recorded(path).is_some())?;
        let attributes = Attributes { mode: 0o777, xattrs: Default::default(), ..attributes.clone() };
        let made = symlinkat(target, &parent, name)
            .and_then(|()| owned::apply_at(&parent, name, FileType::Symlink, None, &attributes, self.form));
        made.map_err(|errno| LayerError::io("make the link", path)(errno.into()))?;
        self.record(path, Kind::Symlink { target: target.to_owned() }, &attributes, None);
        Ok(())
    }

    /// Makes a device or a pipe.
    ///
    /// # Errors
    /// The parent was not written, or the file system refuses; devices cannot be made in a user namespace (`EPERM`).
    pub fn node(&self, path: &Path, node: Node, attributes: &Attributes) -> Result<(), LayerError> {
        let (parent, name) = self.place(path, self.recorded(path).is_some())?;
        let (kind, file_type, device) = match node {
            Node::Char(device) => (Kind::Char(device), FileType::CharacterDevice, device),
            Node::Block(device) => (Kind::Block(device), FileType::BlockDevice, device),
            Node::Fifo => (Kind::Fifo, FileType::Fifo, Device { major: 0, minor: 0 }),
        };
        let attributes = Attributes { xattrs: Default::default(), ..attributes.clone() };
        let stands_for = match (self.form, node) {
            (OverlayXattrs::Recorded, Node::Char(number)) => Some(RecordedDevice { block: false, number }),
            (OverlayXattrs::Recorded, Node::Block(number)) => Some(RecordedDevice { block: true, number }),
            _ => None,
        };
        let (made_as, number) = match stands_for {
            Some(_) => (FileType::RegularFile, 0),
            None => (file_type, makedev(device.major, device.minor)),
        };
        let made = mknodat(&parent, name, made_as, Mode::from_raw_mode(0o600), number)
            .and_then(|()| owned::apply_at(&parent, name, made_as, stands_for, &attributes, self.form))
            .and_then(|()| {
                rustix::fs::chmodat(&parent, name, Mode::from_raw_mode(attributes.mode), AtFlags::empty())
            });
        made.map_err(|errno| LayerError::io("make the device", path)(errno.into()))?;
        self.record(path, kind, &attributes, None);
        Ok(())
    }

    /// Takes a name away from the layers below.
    ///
    /// # Errors
    /// The parent was not written, or the file system refuses.
    pub fn whiteout(&self, path: &Path) -> Result<(), LayerError> {
        let (parent, name) = self.place(path, self.recorded(path).is_some())?;
        if self.form != OverlayXattrs::Plain {
            make_whiteout(&parent, name).map_err(LayerError::io("make the whiteout", path))?;
        }
        self.record(path, Kind::Whiteout, &Attributes::default(), None);
        Ok(())
    }

    /// Gives a file (or link, device, pipe) that was written before another name.
    ///
    /// # Errors
    /// The parent was not written, `to` was not or is a directory, or the file system refuses.
    pub fn hard_link(&self, path: &Path, to: &Path) -> Result<(), LayerError> {
        let target = self.lock().get(to).cloned();
        let Some(target) = target.filter(|target| !matches!(target.kind, Kind::Dir | Kind::Whiteout)) else {
            return Err(super::manifest::ManifestError::Link(path.to_owned(), to.to_owned()).into());
        };
        if path == to {
            return Ok(());
        }
        let (from, old_name) = self.place(to, false)?;
        let (parent, name) = self.place(path, self.recorded(path).is_some())?;
        let linked = linkat(&from, old_name, &parent, name, AtFlags::empty());
        linked.map_err(|errno| LayerError::io("make the hard link", path)(errno.into()))?;
        self.record(path, target.kind, &target.attributes, Some(target.inode));
        Ok(())
    }

    /// Takes back what was written at `path` and below it. Nothing there is no error.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn remove(&self, path: &Path) -> Result<(), LayerError> {
        let Some(kind) = self.recorded(path) else { return Ok(()) };
        let mut gone = vec![(path.to_owned(), kind)];
        if gone[0].1 == Kind::Dir {
            for below in self.names_below(path).into_iter().rev() {
                let kind = self.recorded(&below).unwrap_or(Kind::Fifo);
                gone.insert(gone.len() - 1, (below, kind));
            }
            self.open.write().unwrap_or_else(PoisonError::into_inner).clear();
        }
        for (path, kind) in gone {
            if kind != Kind::Whiteout || self.form != OverlayXattrs::Plain {
                let (parent, name) = self.place(&path, false)?;
                let flags = if kind == Kind::Dir { AtFlags::REMOVEDIR } else { AtFlags::empty() };
                let removed = unlinkat(&parent, name, flags);
                removed.map_err(|errno| LayerError::io("remove", &path)(errno.into()))?;
            }
            self.lock().remove(&path);
            self.open.write().unwrap_or_else(PoisonError::into_inner).remove(&path);
        }
        Ok(())
    }

    /// What was written at `path`. Of a further name of a file, what the file is.
    pub fn entry(&self, path: &Path) -> Option<Entry> {
        let written = self.lock();
        written.get(path).map(|written| Entry {
            path: path.to_owned(),
            kind: written.kind.clone(),
            attributes: written.attributes.clone(),
        })
    }

    /// Sets the times of the directories, which the writing of their content has changed, and describes the tree.
    ///
    /// # Errors
    /// The file system refuses, or what was written is no layer.
    pub fn finish(self) -> Result<Manifest, LayerError> {
        let written = self.written.into_inner().unwrap_or_else(PoisonError::into_inner);
        let directories: Vec<_> = written.iter().filter(|(_, written)| written.kind == Kind::Dir).collect();
        directories.par_iter().try_for_each(|(path, written)| {
            let directory = self.root.directory(path, Links::Refused);
            directory
                .and_then(|directory| Ok(futimens(&directory, &times(written.attributes.mtime))?))
                .map_err(LayerError::io("set the time of", path.as_path()))
        })?;
        let entries = written.into_iter().map(|(path, written)| {
            let linkable = !matches!(written.kind, Kind::Dir | Kind::Whiteout);
            let entry = Entry { path, kind: written.kind, attributes: written.attributes };
            (entry, linkable.then_some(written.inode))
        });
        Ok(Manifest::with_links(entries.collect())?)
    }

    fn create(&self, path: &Path) -> Result<File, LayerError> {
        let there = self.recorded(path).is_some();
        if there {
            self.remove(path)?;
        }
        self.check_parent(path)?;
        self.root.create(path).map_err(LayerError::io("make the file", path))
    }

    fn finish_file(
        &self,
        path: &Path,
        file: &File,
        attributes: &Attributes,
        content: FileContent,
    ) -> Result<FileContent, LayerError> {
        apply(file, attributes, Some(attributes.mtime), self.form)
            .map_err(LayerError::io("set the attributes of", path))?;
        self.record(path, Kind::File(content), attributes, None);
        Ok(content)
    }

    /// The names that were written below `path`, sorted.
    pub(crate) fn names_below(&self, path: &Path) -> Vec<PathBuf> {
        let written = self.lock();
        let below = written.keys().filter(|other| entry::is_within(other, path) && *other != path);
        let mut below: Vec<PathBuf> = below.cloned().collect();
        below.sort_by(|a, b| entry::path_order(a, b));
        below
    }

    /// Gives something that is no directory another name.
    pub(crate) fn rename(&self, old: &Path, new: &Path) -> Result<(), LayerError> {
        let (from, old_name) = self.place(old, false)?;
        let (to, new_name) = self.place(new, self.recorded(new).is_some())?;
        rustix::fs::renameat(&from, old_name, &to, new_name)
            .map_err(|errno| LayerError::io("rename", old)(errno.into()))?;
        let mut written = self.lock();
        if let Some(entry) = written.remove(old) {
            written.insert(new.to_owned(), entry);
        }
        Ok(())
    }

    /// What the name was written as. Of a further name of a file, what the file is.
    pub(crate) fn recorded(&self, path: &Path) -> Option<Kind> {
        self.lock().get(path).map(|written| written.kind.clone())
    }

    fn record(&self, path: &Path, kind: Kind, attributes: &Attributes, inode: Option<u64>) {
        let inode = inode.unwrap_or_else(|| self.next_inode.fetch_add(1, Ordering::Relaxed));
        self.lock().insert(path.to_owned(), Written { kind, attributes: attributes.clone(), inode });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Written>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The open parent of `path` and the name there, cleared of what was written before.
    fn place<'a>(&self, path: &'a Path, clear: bool) -> Result<(Arc<OwnedFd>, &'a OsStr), LayerError> {
        if clear {
            self.remove(path)?;
        }
        self.check_parent(path)?;
        let (_, name) = entry::split(path).ok_or_else(|| LayerError::NoDirectory(path.to_owned()))?;
        Ok((self.parent(path)?, name))
    }

    fn check_parent(&self, path: &Path) -> Result<(), LayerError> {
        let parent = entry::split(path).map(|(parent, _)| parent);
        let parent = parent.ok_or_else(|| LayerError::NoDirectory(path.to_owned()))?;
        if !parent.as_os_str().is_empty() && self.recorded(parent) != Some(Kind::Dir) {
            return Err(LayerError::NoDirectory(path.to_owned()));
        }
        Ok(())
    }

    fn parent(&self, path: &Path) -> Result<Arc<OwnedFd>, LayerError> {
        self.directory(entry::split(path).map_or(Path::new(""), |(parent, _)| parent))
    }

    fn directory(&self, path: &Path) -> Result<Arc<OwnedFd>, LayerError> {
        if let Some(open) = self.open.read().unwrap_or_else(PoisonError::into_inner).get(path) {
            return Ok(Arc::clone(open));
        }
        let opened = self.root.directory(path, Links::Refused);
        let opened = Arc::new(opened.map_err(LayerError::io("open the directory", path))?);
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= OPEN_DIRECTORIES {
            open.clear();
        }
        open.insert(path.to_owned(), Arc::clone(&opened));
        Ok(opened)
    }
}

/// A 0:0 device, which every user may make.
pub(crate) fn make_whiteout(parent: impl AsFd, name: &OsStr) -> io::Result<()> {
    Ok(mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), makedev(0, 0))?)
}
