//! A root file system as it is exported: `type=local` and `type=tar` read it through one trait.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use crate::error::ExportError;

/// A finished root file system: no layers, no whiteouts.
pub trait FileTree {
    /// Hands every entry to `visit`, a directory before its content and all its content before the next name. The root
    /// has the empty path and may be left out.
    ///
    /// # Errors
    /// The first error of `visit`, or that the tree cannot be read.
    fn visit(&self, visit: &mut dyn FnMut(&TreeEntry) -> Result<(), ExportError>) -> Result<(), ExportError>;

    /// Opens the regular file at `path`, the path of an entry.
    ///
    /// # Errors
    /// If it cannot be read.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>>;
}

/// One name of a [`FileTree`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// Relative to the root.
    pub path: PathBuf,
    /// What it is.
    pub kind: TreeKind,
    /// Permission bits, setuid, setgid and sticky among them.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Seconds since 1970 and nanoseconds.
    pub mtime: (i64, u32),
    /// Extended attributes.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What a name of a [`FileTree`] stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreeKind {
    /// A directory.
    Dir,
    /// A regular file.
    File {
        /// In bytes.
        size: u64,
    },
    /// A further name of an earlier entry.
    HardLink {
        /// The path of the earlier entry.
        to: PathBuf,
    },
    /// A symbolic link.
    Symlink {
        /// As written.
        target: PathBuf,
    },
    /// A character device: major, minor.
    Char(u32, u32),
    /// A block device: major, minor.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
}

/// `path` if it is relative and has neither `.` nor `..`.
pub(crate) fn plain(path: &Path) -> Result<&Path, ExportError> {
    let is_plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    if is_plain { Ok(path) } else { Err(ExportError::Escape { path: path.to_owned() }) }
}
