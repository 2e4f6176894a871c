//! One name in a layer: what it is and what it looks like.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use kiln_core::ContentHash;

/// One name in a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the root, without `.` and `..`; the root itself is the empty path.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// What `stat` and `getxattr` say of it.
    pub attributes: Attributes,
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Dir,
    /// A regular file.
    File(FileContent),
    /// A further name of an earlier entry of the same layer that is not a directory.
    HardLink {
        /// The path of the first name.
        to: PathBuf,
    },
    /// A symbolic link.
    Symlink {
        /// As written, absolute or relative.
        target: PathBuf,
    },
    /// A character device.
    Char(Device),
    /// A block device.
    Block(Device),
    /// A named pipe.
    Fifo,
    /// The name is gone from the layers below. Its attributes are all zero.
    Whiteout,
}

/// The bytes of a regular file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileContent {
    /// In bytes.
    pub size: u64,
    /// BLAKE3.
    pub hash: ContentHash,
}

impl FileContent {
    /// No bytes.
    pub fn empty() -> Self {
        Self { size: 0, hash: ContentHash::of(b"") }
    }
}

/// The number of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Device {
    /// Which driver.
    pub major: u32,
    /// Which of its devices.
    pub minor: u32,
}

/// What an inode carries besides its content.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attributes {
    /// Permissions, setuid, setgid and sticky bit: twelve bits. 0777 for a symbolic link.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The time of the last modification.
    pub mtime: Timestamp,
    /// `security.capability` and `user.*` of files and directories; overlayfs's own are never here.
    pub xattrs: Xattrs,
}

impl Attributes {
    /// Root's, with this mode, at the epoch.
    pub fn root(mode: u32) -> Self {
        Self { mode, ..Self::default() }
    }

    /// Whether all but the times are equal.
    pub fn same_but_mtime(&self, other: &Self) -> bool {
        (self.mode, self.uid, self.gid) == (other.mode, other.uid, other.gid) && self.xattrs == other.xattrs
    }
}

/// Extended attributes by name.
pub type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// A time since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    /// Whole seconds, negative before 1970.
    pub seconds: i64,
    /// 0 to 999,999,999, counted forward from the second.
    pub nanoseconds: u32,
}

impl Timestamp {
    /// A whole second.
    pub fn seconds(seconds: i64) -> Self {
        Self { seconds, nanoseconds: 0 }
    }
}

impl Entry {
    /// A name that is gone.
    pub fn whiteout(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), kind: Kind::Whiteout, attributes: Attributes::default() }
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == Kind::Dir
    }

    /// Whether it takes a name away.
    pub fn is_whiteout(&self) -> bool {
        self.kind == Kind::Whiteout
    }
}

/// The order of entries: by component, so that a directory comes before its content and all its content before the
/// next name.
pub fn path_order(a: &Path, b: &Path) -> Ordering {
    let (a, b) = (bytes(a), bytes(b));
    let same = shared(a, b);
    // A slash ends a component and so comes before every other byte; zero is in no path.
    let rank = |byte: Option<&u8>| byte.map_or(0, |&byte| if byte == b'/' { 1 } else { u16::from(byte) + 1 });
    rank(a.get(same)).cmp(&rank(b.get(same)))
}

/// How many bytes two paths have in common at their start. Most have many, so they are compared by eight.
pub(crate) fn shared(a: &[u8], b: &[u8]) -> usize {
    let (eights_a, eights_b) = (a.chunks_exact(8), b.chunks_exact(8));
    let eights = eights_a.zip(eights_b).take_while(|(a, b)| a == b).count() * 8;
    eights + a[eights..].iter().zip(&b[eights..]).take_while(|(a, b)| a == b).count()
}

/// Whether `path` is `dir` or lies under it.
pub fn is_within(path: &Path, dir: &Path) -> bool {
    let (path, dir) = (bytes(path), bytes(dir));
    dir.is_empty() || (path.starts_with(dir) && matches!(path.get(dir.len()), None | Some(b'/')))
}

/// The directory that holds `path`, and its name there. `None` for the root.
pub(crate) fn split(path: &Path) -> Option<(&Path, &OsStr)> {
    let all = bytes(path);
    if all.is_empty() {
        return None;
    }
    match all.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => Some((from_bytes(&all[..slash]), OsStr::from_bytes(&all[slash + 1..]))),
        None => Some((Path::new(""), path.as_os_str())),
    }
}

/// `dir/name`, where the root is the empty path.
pub(crate) fn join(dir: &Path, name: &OsStr) -> PathBuf {
    if dir.as_os_str().is_empty() { PathBuf::from(name) } else { dir.join(name) }
}

pub(crate) fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

pub(crate) fn from_bytes(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// Whether `name` can be the last part of a path: not empty, not `.` or `..`, no slash and no zero byte.
pub(crate) fn is_name(name: &OsStr) -> bool {
    let name = name.as_bytes();
    !matches!(name, b"" | b"." | b"..") && !name.iter().any(|&byte| byte == b'/' || byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_stands_before_its_content_and_its_content_before_the_next_name() {
        let mut paths = ["a-b", "a/b/c", "a", "", "a/b", "a.txt", "b", "a/b-"].map(Path::new);
        paths.sort_by(|a, b| path_order(a, b));
        assert_eq!(paths, ["", "a", "a/b", "a/b/c", "a/b-", "a-b", "a.txt", "b"].map(Path::new));
    }

    #[test]
    fn a_path_lies_within_its_ancestors_only() {
        assert!(is_within(Path::new("a/b"), Path::new("a")));
        assert!(is_within(Path::new("a"), Path::new("a")));
        assert!(is_within(Path::new("a"), Path::new("")));
        assert!(!is_within(Path::new("ab"), Path::new("a")));
    }
}
