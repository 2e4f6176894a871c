//! ADD of archives: their members laid onto the plan. Nothing in an archive, in the base, or in both together can lead out of
//! the destination.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Component, Path, PathBuf};

use kiln_cache::{
    Archive, ArchiveError, Attributes, Decompressor, FileContent, Kind, Member, MemberKind, Timestamp,
};
use kiln_core::ContentHash;

use super::FileError;
use super::copy::{Destination, directory};
use super::owner::Owner;
use super::plan::{Bytes, Plan, Planned};
use super::tree::{Node, Tree, resolve, resolve_parent};

/// The bytes of unpacked members until the layer is written, one after the other in one file.
#[derive(Debug)]
pub(crate) struct Spool {
    file: File,
    length: u64,
}

impl Spool {
    pub(crate) fn new(file: File) -> Self {
        Self { file, length: 0 }
    }

    fn append(&mut self, from: &mut impl Read) -> io::Result<(u64, FileContent)> {
        let start = self.length;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = [0; 64 * 1024];
        loop {
            let n = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            hasher.update(&buffer[..n]);
            self.file.write_all(&buffer[..n])?;
            self.length += n as u64;
        }
        let hash = ContentHash::from_bytes(*hasher.finalize().as_bytes());
        Ok((start, FileContent { size: self.length - start, hash }))
    }

    /// The bytes from `start` on. Several threads may read: none moves a place that another reads at.
    pub(crate) fn read(&self, start: u64, length: u64) -> io::Take<impl Read> {
        Positioned { file: &self.file, at: start }.take(length)
    }
}

/// Reads at a place of its own.
struct Positioned<'a> {
    file: &'a File,
    at: u64,
}

impl Read for Positioned<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buffer, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// Whether a file's content is an archive: a tar, plain or compressed, with at least one member.
pub(crate) fn is_archive(file: File) -> bool {
    let Ok(plain) = Decompressor::detect(BufReader::new(file)) else { return false };
    matches!(Archive::new(plain).next_member(), Ok(Some(_)))
}

/// Unpacks `file` into the destination.
///
/// # Errors
/// If the archive is damaged, or a member has no place.
pub(crate) fn unpack(
    plan: &mut Plan<'_>,
    file: File,
    name: &Path,
    to: &Destination<'_>,
    spool: &mut Spool,
) -> Result<(), FileError> {
    let top = plan.make_directories(&to.relative(), 0o755, to.new_owner())?;
    let read = |cause| FileError::Archive { path: name.to_path_buf(), cause };
    let plain =
        Decompressor::detect(BufReader::new(file)).map_err(|cause| read(ArchiveError::Read(cause)))?;
    let mut archive = Archive::new(plain);
    let mut unpacking = Unpacking { plan, top: &top, owner: to.owner, spool, times: Vec::new() };
    while let Some(member) = archive.next_member().map_err(read)? {
        let path = member.path.clone();
        unpacking.place(member).map_err(|error| match error {
            MemberError::Io(cause) => FileError::Member { archive: name.to_path_buf(), path, cause },
            MemberError::Plan(error) => error,
        })?;
    }
    // The times of directories, after all that changed them.
    for (directory, mtime) in unpacking.times {
        if plan.node(&directory).is_some_and(|node| node.is_dir()) {
            plan.change(&directory, |attributes| attributes.mtime = mtime);
        }
    }
    Ok(())
}

enum MemberError {
    Io(io::Error),
    Plan(FileError),
}

impl<E: Into<FileError>> From<E> for MemberError {
    fn from(error: E) -> Self {
        Self::Plan(error.into())
    }
}

/// An archive on its way onto a plan.
struct Unpacking<'p, 'b, 'a> {
    plan: &'p mut Plan<'b>,
    top: &'a Path,
    owner: Option<Owner>,
    spool: &'a mut Spool,
    /// The times that directories get in the end.
    times: Vec<(PathBuf, Timestamp)>,
}

impl Unpacking<'_, '_, '_> {
    /// Puts one member where it belongs.
    fn place<R: Read>(&mut self, mut member: Member<'_, R>) -> Result<(), MemberError> {
        let name = inside(&member.path).map_err(MemberError::Io)?;
        if name.as_os_str().is_empty() {
            return Ok(());
        }
        let target = self.find(&name, member.kind == MemberKind::Dir)?;
        if let Some(parent) = target.parent() {
            self.make_parents(parent)?;
        }
        let attributes = self.attributes(&member);
        let existing = self.plan.node(&target);
        let planned = match &member.kind {
            MemberKind::Dir => {
                self.times.push((target.clone(), attributes.mtime));
                if existing.as_ref().is_some_and(Node::is_dir) {
                    self.plan.change(&target, |kept| *kept = attributes);
                    return Ok(());
                }
                directory(attributes)
            }
            MemberKind::File => {
                let (start, content) = self.spool.append(&mut member).map_err(MemberError::Io)?;
                Planned {
                    kind: Kind::File(content),
                    attributes,
                    bytes: Some(Bytes::Spool(start)),
                    hides: false,
                }
            }
            MemberKind::HardLink { to } => {
                let to = self.find(&inside(to).map_err(MemberError::Io)?, false)?;
                if to == target {
                    return Ok(());
                }
                linked(self.plan, &to).map_err(MemberError::Io)?
            }
            MemberKind::Symlink { target } => other(Kind::Symlink { target: target.clone() }, attributes),
            MemberKind::Char(device) => other(Kind::Char(*device), attributes),
            MemberKind::Block(device) => other(Kind::Block(*device), attributes),
            MemberKind::Fifo => other(Kind::Fifo, attributes),
        };
        if existing.is_some() {
            self.plan.remove(&target);
        }
        self.plan.put(&target, planned);
        Ok(())
    }

    /// Where a name of the archive is: links in the destination are followed as if it were the root of the file system, that
    /// of the last component only for a directory.
    fn find(&self, name: &Path, last: bool) -> Result<PathBuf, FileError> {
        let within = Within { tree: &*self.plan, top: self.top };
        let path = if last { resolve(&within, name)? } else { resolve_parent(&within, name)? };
        Ok(below(self.top, &path))
    }

    fn attributes<R>(&self, member: &Member<'_, R>) -> Attributes {
        let mut attributes = member.attributes.clone();
        if let Some(owner) = self.owner {
            (attributes.uid, attributes.gid) = (owner.uid, owner.gid);
        }
        // BuildKit's layers have no other.
        attributes.xattrs.retain(|name, _| name == b"security.capability");
        attributes
    }

    /// Makes the directories that an archive does not mention.
    fn make_parents(&mut self, parent: &Path) -> Result<(), FileError> {
        let mut current = self.top.to_path_buf();
        for component in parent.strip_prefix(self.top).unwrap_or(Path::new("")).components() {
            current.push(component);
            match self.plan.node(&current) {
                Some(node) if node.is_dir() => {}
                Some(_) => return Err(FileError::NotADirectory { path: current }),
                None => {
                    let attributes = Attributes { mtime: self.plan.now, ..Attributes::root(0o755) };
                    self.plan.put(&current, directory(attributes));
                }
            }
        }
        Ok(())
    }
}

fn other(kind: Kind, attributes: Attributes) -> Planned {
    Planned { kind, attributes, bytes: None, hides: false }
}

/// A further name of a file that is there already.
fn linked(plan: &Plan<'_>, to: &Path) -> io::Result<Planned> {
    let missing = || {
        let text = format!("hard link to `{}`, which is not there", to.display());
        io::Error::new(io::ErrorKind::NotFound, text)
    };
    if let Some(planned) = plan.planned(to) {
        let (first, planned) = match &planned.kind {
            Kind::HardLink { to } => (to.as_path(), plan.planned(to).ok_or_else(missing)?),
            Kind::Dir => return Err(missing()),
            _ => (to, planned),
        };
        let kind = Kind::HardLink { to: first.to_path_buf() };
        return Ok(Planned { kind, attributes: planned.attributes.clone(), bytes: None, hides: false });
    }
    // A name of the base: in a layer of its own the link is a copy.
    let node = plan.node(to).filter(|node| !node.is_dir()).ok_or_else(missing)?;
    let bytes = matches!(node.kind, Kind::File(_)).then(|| Bytes::Base(to.to_path_buf()));
    Ok(Planned { kind: node.kind, attributes: node.attributes, bytes, hides: false })
}

/// A member's name as a relative path: `/` and `./` before it mean nothing, `..` that leads out is refused.
fn inside(name: &Path) -> io::Result<PathBuf> {
    let mut clean = PathBuf::new();
    for component in name.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir if clean.pop() => {}
            Component::ParentDir => {
                let text = format!("`{}` is outside of the archive", name.display());
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(clean)
}

/// `path` below `top`; either may be the empty path.
fn below(top: &Path, path: &Path) -> PathBuf {
    // A join with the empty path would leave a slash at the end.
    if path.as_os_str().is_empty() { top.to_path_buf() } else { top.join(path) }
}

/// A part of a tree as a tree of its own, so that no link leads out of it.
struct Within<'a> {
    tree: &'a dyn Tree,
    top: &'a Path,
}

impl Tree for Within<'_> {
    fn node(&self, path: &Path) -> Option<Node> {
        self.tree.node(&below(self.top, path))
    }

    fn names(&self, directory: &Path) -> Vec<std::ffi::OsString> {
        self.tree.names(&below(self.top, directory))
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        self.tree.open(&below(self.top, path))
    }
}
