//! Comparing a layer's tree with its manifest.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use kiln_core::{ContentHash, LayerId};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, major, minor, openat, readlinkat, statat};

use super::fsck::{Damage, Depth};
use crate::layer::{Entry, Kind, Links, Manifest, OwnerRecord, RecordedDevice, Rooted};
use crate::store::OverlayXattrs;

/// How a layer is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) depth: Depth,
    /// How the store's layers keep what overlayfs is told.
    pub(super) xattrs: OverlayXattrs,
}

/// What is wrong with the layer in `dir`, if anything is.
///
/// Owners are not compared: where one id alone is mapped, the manifest knows them and the tree does not.
pub(super) fn damage_of(id: &LayerId, dir: &Path, look: Look) -> Option<Damage> {
    match compare(id, dir, look) {
        Ok(()) => None,
        Err(Mismatch::Is(what)) => Some(Damage::Tree(what)),
        Err(Mismatch::Unreadable(cause)) => Some(Damage::Unreadable(cause)),
    }
}

enum Mismatch {
    Is(String),
    Unreadable(io::Error),
}

impl From<io::Error> for Mismatch {
    fn from(cause: io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::NotFound => Self::Is("a file is missing".to_owned()),
            io::ErrorKind::NotADirectory => Self::Is("a directory is missing".to_owned()),
            _ => Self::Unreadable(cause),
        }
    }
}

impl From<rustix::io::Errno> for Mismatch {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::from(io::Error::from(errno))
    }
}

fn compare(id: &LayerId, dir: &Path, look: Look) -> Result<(), Mismatch> {
    let bytes = fs::read(dir.join("manifest"))?;
    let (manifest, _) = Manifest::decode(&bytes, id).map_err(|error| Mismatch::Is(error.to_string()))?;
    let tree = Rooted::open(&dir.join("tree"))?;
    no_strangers(&manifest, Path::new(""), &tree)?;
    // Entries of one directory mostly follow each other.
    let mut parent: Option<(PathBuf, OwnedFd)> = None;
    for entry in manifest.entries() {
        let Some(name) = entry.path.file_name() else { continue };
        if entry.is_whiteout() && look.xattrs == OverlayXattrs::Plain {
            continue;
        }
        let directory = entry.path.parent().unwrap_or(Path::new(""));
        if parent.as_ref().is_none_or(|(path, _)| path != directory) {
            parent = Some((directory.to_owned(), tree.directory(directory, Links::Refused)?));
        }
        let (_, parent) = parent.as_ref().expect("set above");
        let said = match compare_entry(&manifest, entry, parent, name, &tree, look.depth) {
            Err(Mismatch::Unreadable(cause)) => return Err(Mismatch::Unreadable(cause)),
            Err(Mismatch::Is(what)) => what,
            Ok(()) => continue,
        };
        return Err(Mismatch::Is(format!("`{}`: {said}", entry.path.display())));
    }
    Ok(())
}

fn compare_entry(
    manifest: &Manifest,
    entry: &Entry,
    parent: &OwnedFd,
    name: &OsStr,
    tree: &Rooted,
    depth: Depth,
) -> Result<(), Mismatch> {
    let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let is = |expected: bool, what: &str| if expected { Ok(()) } else { Err(Mismatch::Is(what.to_owned())) };
    let kind = FileType::from_raw_mode(stat.st_mode);
    let device = (major(stat.st_rdev), minor(stat.st_rdev));
    if let Kind::Char(number) | Kind::Block(number) = entry.kind
        && kind == FileType::RegularFile
    {
        // Where owners are recorded, a file stands for the device.
        let block = matches!(entry.kind, Kind::Block(_));
        let path = PathBuf::from(format!("/proc/self/fd/{}", parent.as_raw_fd())).join(name);
        let record = OwnerRecord::read(&path, kind, false)?.and_then(|record| record.device);
        is(record == Some(RecordedDevice { block, number }), "it is another device")?;
        return is(permissions(&stat) == entry.attributes.mode, "its mode differs");
    }
    match &entry.kind {
        Kind::Dir => {
            is(kind == FileType::Directory, "it is no directory")?;
            no_strangers(manifest, &entry.path, tree)?;
        }
        Kind::File(content) => {
            is(kind == FileType::RegularFile, "it is no file")?;
            is(u64::try_from(stat.st_size) == Ok(content.size), "its size differs")?;
            is(depth == Depth::Names || hash(parent, name)? == content.hash, "its content differs")?;
            let mtime = (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(u32::MAX));
            let recorded = entry.attributes.mtime;
            is(mtime == (recorded.seconds, recorded.nanoseconds), "its time differs")?;
        }
        Kind::HardLink { to } => {
            let first = tree.directory(to.parent().unwrap_or(Path::new("")), Links::Refused)?;
            let first = statat(&first, to.file_name().unwrap_or_default(), AtFlags::SYMLINK_NOFOLLOW)?;
            is(first.st_ino == stat.st_ino, "it is no hard link")?;
            return Ok(());
        }
        Kind::Symlink { target } => {
            is(kind == FileType::Symlink, "it is no link")?;
            let text = readlinkat(parent, name, Vec::new())?;
            is(text.as_bytes() == target.as_os_str().as_bytes(), "it leads elsewhere")?;
            return Ok(());
        }
        Kind::Char(number) => {
            is(
                kind == FileType::CharacterDevice && device == (number.major, number.minor),
                "it is another device",
            )?;
        }
        Kind::Block(number) => {
            is(
                kind == FileType::BlockDevice && device == (number.major, number.minor),
                "it is another device",
            )?;
        }
        Kind::Fifo => is(kind == FileType::Fifo, "it is no pipe")?,
        Kind::Whiteout => {
            return is(kind == FileType::CharacterDevice && device == (0, 0), "it is no whiteout");
        }
    }
    is(permissions(&stat) == entry.attributes.mode, "its mode differs")
}

fn permissions(stat: &Stat) -> u32 {
    stat.st_mode & 0o7777
}

/// Whether the manifest knows every name in a directory of the tree.
fn no_strangers(manifest: &Manifest, path: &Path, tree: &Rooted) -> Result<(), Mismatch> {
    let directory = tree.directory(path, Links::Refused)?;
    for found in Dir::read_from(&directory)? {
        let found = found?;
        let name = OsStr::from_bytes(found.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        if manifest.get(&path.join(name)).is_none() {
            return Err(Mismatch::Is(format!("`{}` was added", path.join(name).display())));
        }
    }
    Ok(())
}

fn hash(parent: impl AsFd, name: &OsStr) -> Result<ContentHash, Mismatch> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = File::from(openat(parent, name, flags, Mode::empty())?);
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file)?;
    Ok(ContentHash::from_bytes(*hasher.finalize().as_bytes()))
}
