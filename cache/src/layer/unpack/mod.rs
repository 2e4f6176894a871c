//! An image's layer: from the tar to a tree and its manifest, while it streams in.
//!
//! The archive is taken for hostile. What a member's path means is decided by what this archive itself has written so
//! far, in memory: `..` is refused, symbolic links are followed inside the layer, and the writer below refuses every
//! link on the way once more. What depends on the layers below (implied directories, whiteouts, links to their files)
//! waits for [`Unpacked::commit`].

mod commit;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use kiln_core::{DiffId, DigestWriter};

use super::archive::{Archive, Member, MemberKind};
use super::draft::Draft;
use super::entry::{self, Attributes, Device, Kind};
use super::error::{LayerError, MemberError};
use super::writer::{Node, TreeWriter};
use super::xattr;
use crate::confine;

/// How much an archive may unpack to.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the tar and, counted apart, of the files.
    pub bytes: u64,
    /// Members.
    pub members: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 256 << 30, members: 4_000_000 }
    }
}

/// An archive's content as a tree, not yet a layer: the layers below are needed for that.
#[derive(Debug)]
#[must_use]
pub struct Unpacked {
    /// The digest of the tar.
    pub diff_id: DiffId,
    /// The bytes of the tar.
    pub tar_size: u64,
    /// What could not be made here and was left out: devices, in a user namespace.
    pub left_out: Vec<PathBuf>,
    draft: Draft,
    writer: TreeWriter,
    notes: Notes,
}

impl Unpacked {
    /// The files as far as they are unpacked, until this is dropped or committed.
    pub fn tree(&self) -> &Path {
        self.draft.tree()
    }
}

/// What waits for the layers below.
#[derive(Debug, Default)]
struct Notes {
    /// Directories that no member described.
    implied: BTreeSet<PathBuf>,
    /// Names to be taken away, and directories whose lower content is.
    whiteouts: BTreeSet<PathBuf>,
    opaque: BTreeSet<PathBuf>,
    /// Links to files that this layer does not have, in order: the name, and what it links to.
    links: Vec<(PathBuf, PathBuf)>,
}

/// As many links as Linux follows.
const LINKS: usize = 40;
const READ: usize = 256 * 1024;
/// Blocks on their way from the reading thread.
const AHEAD: usize = 4;

pub(crate) fn unpack(
    draft: Draft,
    archive: impl Read + Send,
    limits: Limits,
) -> Result<Unpacked, LayerError> {
    let writer = draft.writer()?;
    let (sender, blocks) = sync_channel(AHEAD);
    let (unpacked, (diff_id, tar_size)) = std::thread::scope(|scope| {
        // Decompressing and hashing beside parsing and writing.
        let hashed = scope.spawn(move || read_ahead(archive, &sender, limits.bytes));
        let blocks = Blocks { blocks, current: Vec::new(), at: 0 };
        let unpacked = confine::within(draft.tree(), || fill(writer, blocks, limits));
        (unpacked, hashed.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let (writer, notes, left_out) = unpacked?;
    Ok(Unpacked { diff_id, tar_size, left_out, draft, writer, notes })
}

/// What may follow an archive's end.
const MOST_PADDING: u64 = 64 << 20;

/// Sends all of `archive` on and hashes it.
fn read_ahead(mut archive: impl Read, to: &SyncSender<io::Result<Vec<u8>>>, limit: u64) -> (DiffId, u64) {
    let mut hashed = DigestWriter::new(io::sink());
    loop {
        let mut block = Vec::with_capacity(READ);
        let read = (&mut archive).take(READ as u64).read_to_end(&mut block);
        let message = match read {
            Ok(0) => break,
            Ok(_) if hashed.written() > limit => {
                Err(io::Error::other(MemberError::Limit(format!("{limit} bytes"))))
            }
            Ok(_) => {
                io::Write::write_all(&mut hashed, &block).expect("a sink takes all");
                Ok(block)
            }
            Err(error) => Err(error),
        };
        let failed = message.is_err();
        // The receiver goes when unpacking has failed: then nobody needs the digest either.
        if to.send(message).is_err() || failed {
            break;
        }
    }
    let (_, digest, size) = hashed.finish();
    (DiffId(digest), size)
}

/// The reading thread's blocks as a stream.
struct Blocks {
    blocks: Receiver<io::Result<Vec<u8>>>,
    current: Vec<u8>,
    at: usize,
}

impl Read for Blocks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.current.len() {
            match self.blocks.recv() {
                Ok(block) => (self.current, self.at) = (block?, 0),
                Err(_) => return Ok(0),
            }
        }
        let count = buffer.len().min(self.current.len() - self.at);
        buffer[..count].copy_from_slice(&self.current[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

struct Filler {
    writer: TreeWriter,
    notes: Notes,
    left_out: Vec<PathBuf>,
    members: u64,
    bytes: u64,
    limits: Limits,
}

fn fill(
    writer: TreeWriter,
    blocks: Blocks,
    limits: Limits,
) -> Result<(TreeWriter, Notes, Vec<PathBuf>), LayerError> {
    let mut archive = Archive::new(blocks);
    let mut filler =
        Filler { writer, notes: Notes::default(), left_out: Vec::new(), members: 0, bytes: 0, limits };
    while let Some(mut member) = archive.next_member()? {
        filler.member(&mut member)?;
    }
    // What follows the end mark belongs to the digest. Programs fill up their last record there, and no more.
    let rest = io::copy(&mut archive.into_inner().take(MOST_PADDING + 1), &mut io::sink());
    let rest = rest.map_err(|error| LayerError::Archive(super::archive::ArchiveError::Read(error)))?;
    if rest > MOST_PADDING {
        let grown = MemberError::Limit(format!("its end by more than {MOST_PADDING} bytes"));
        return Err(grown.at("the archive's end"));
    }
    Ok((filler.writer, filler.notes, filler.left_out))
}

impl Filler {
    fn member<R: Read>(&mut self, member: &mut Member<'_, R>) -> Result<(), LayerError> {
        let name = member.path.clone();
        self.members += 1;
        self.bytes = self.bytes.saturating_add(member.size);
        if self.members > self.limits.members {
            return Err(MemberError::Limit(format!("{} members", self.limits.members)).at(name));
        }
        if self.bytes > self.limits.bytes {
            return Err(MemberError::Limit(format!("{} bytes", self.limits.bytes)).at(name));
        }
        let wanted = normal(&name).map_err(|cause| cause.at(&name))?;
        let path = place(&self.writer, &wanted).map_err(|cause| cause.at(&name))?;
        if let Some((parent, file_name)) = entry::split(&path)
            && let Some(hidden) = file_name.as_bytes().strip_prefix(b".wh.")
        {
            return self.whiteout(parent, hidden).map_err(|cause| cause.at(&name));
        }
        let mut attributes = std::mem::take(&mut member.attributes);
        attributes.xattrs.retain(|name, _| xattr::belongs(name));
        self.write(member, &path, &attributes)
    }

    fn write<R: Read>(
        &mut self,
        member: &mut Member<'_, R>,
        path: &Path,
        attributes: &Attributes,
    ) -> Result<(), LayerError> {
        if path.as_os_str().is_empty() {
            return match member.kind {
                MemberKind::Dir => self.writer.dir(path, attributes),
                _ => Err(MemberError::NoDirectory.at(&member.path)),
            };
        }
        self.imply_parents(path)?;
        self.notes.implied.remove(path);
        match member.kind.clone() {
            MemberKind::Dir => self.writer.dir(path, attributes),
            MemberKind::File => self.writer.file(path, attributes, member).map(drop),
            MemberKind::Symlink { target } if target.as_os_str().is_empty() || has_zero(&target) => {
                Err(MemberError::Path.at(&member.path))
            }
            MemberKind::Symlink { target } => self.writer.symlink(path, &target, attributes),
            MemberKind::HardLink { to } => self.link(&member.path, path, &to),
            MemberKind::Fifo => self.writer.node(path, Node::Fifo, attributes),
            // This is how overlayfs itself writes a whiteout, and what it would take the device for.
            MemberKind::Char(Device { major: 0, minor: 0 }) => {
                self.writer.remove(path)?;
                self.notes.whiteouts.insert(path.to_owned());
                Ok(())
            }
            MemberKind::Char(device) => self.device(path, Node::Char(device), attributes),
            MemberKind::Block(device) => self.device(path, Node::Block(device), attributes),
        }
    }

    /// Devices cannot be made in a user namespace; an image is not refused for them.
    fn device(&mut self, path: &Path, node: Node, attributes: &Attributes) -> Result<(), LayerError> {
        match self.writer.node(path, node, attributes) {
            Err(LayerError::Io { cause, .. }) if cause.kind() == io::ErrorKind::PermissionDenied => {
                self.left_out.push(path.to_owned());
                Ok(())
            }
            made => made,
        }
    }

    fn link(&mut self, name: &Path, path: &Path, to: &Path) -> Result<(), LayerError> {
        let target = normal(to).and_then(|to| place(&self.writer, &to)).map_err(|cause| cause.at(name))?;
        if target == path {
            return Ok(());
        }
        match self.writer.recorded(&target) {
            Some(Kind::Dir | Kind::Whiteout) => Err(MemberError::LinkTarget(to.to_owned()).at(name)),
            Some(_) => self.writer.hard_link(path, &target),
            None => {
                self.writer.remove(path)?;
                self.notes.links.push((path.to_owned(), target));
                Ok(())
            }
        }
    }

    fn whiteout(&mut self, parent: &Path, hidden: &[u8]) -> Result<(), MemberError> {
        match hidden {
            b".wh..opq" => {
                self.notes.opaque.insert(parent.to_owned());
            }
            b"" | b"." | b".." => return Err(MemberError::Whiteout),
            // Bookkeeping of a file system long gone (aufs).
            hidden if hidden.starts_with(b".wh.") => {}
            hidden => {
                self.notes.whiteouts.insert(entry::join(parent, OsStr::from_bytes(hidden)));
            }
        }
        Ok(())
    }

    /// Makes the directories on the way that no member has described (yet).
    fn imply_parents(&mut self, path: &Path) -> Result<(), LayerError> {
        for parent in missing_parents(&self.writer, path) {
            self.writer.dir(&parent, &Attributes::root(0o755))?;
            self.notes.implied.insert(parent);
        }
        Ok(())
    }
}

/// The directories above `path` that have not been written, topmost first.
fn missing_parents(writer: &TreeWriter, path: &Path) -> Vec<PathBuf> {
    let mut missing = Vec::new();
    let mut path = path;
    while let Some((parent, _)) = entry::split(path) {
        if parent.as_os_str().is_empty() || writer.recorded(parent).is_some() {
            break;
        }
        missing.push(parent.to_owned());
        path = parent;
    }
    missing.reverse();
    missing
}

/// A member's path as entries have it.
fn normal(path: &Path) -> Result<PathBuf, MemberError> {
    const LONGEST_PATH: usize = 4095;
    const LONGEST_NAME: usize = 255;
    let bytes = entry::bytes(path);
    if bytes.len() > LONGEST_PATH || has_zero(path) {
        return Err(MemberError::Path);
    }
    let mut normal = Vec::with_capacity(bytes.len());
    for part in bytes.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => continue,
            b".." => return Err(MemberError::Escapes),
            part if part.len() > LONGEST_NAME => return Err(MemberError::Path),
            part => {
                if !normal.is_empty() {
                    normal.push(b'/');
                }
                normal.extend_from_slice(part);
            }
        }
    }
    Ok(entry::from_bytes(&normal).to_owned())
}

/// Where a path leads in what has been written: links on the way are followed inside the layer, the last name is not.
fn place(writer: &TreeWriter, path: &Path) -> Result<PathBuf, MemberError> {
    let Some((parent, name)) = entry::split(path) else { return Ok(PathBuf::new()) };
    if parent.as_os_str().is_empty() || writer.recorded(parent) == Some(Kind::Dir) {
        return Ok(path.to_owned());
    }
    let mut left: VecDeque<OsString> = parent.iter().map(OsStr::to_owned).collect();
    let mut at = PathBuf::new();
    let mut links = 0;
    while let Some(part) = left.pop_front() {
        if part == ".." {
            at.pop();
            continue;
        }
        let next = entry::join(&at, &part);
        match writer.recorded(&next) {
            None | Some(Kind::Dir | Kind::Whiteout) => at = next,
            Some(Kind::Symlink { target }) => {
                links += 1;
                if links > LINKS {
                    return Err(MemberError::Loop);
                }
                if target.is_absolute() {
                    at = PathBuf::new();
                }
                for part in target.iter().rev().filter(|part| *part != "/" && *part != ".") {
                    left.push_front(part.to_owned());
                }
            }
            Some(_) => return Err(MemberError::NoDirectory),
        }
    }
    let place = entry::join(&at, name);
    if entry::bytes(&place).len() > 4095 { Err(MemberError::Path) } else { Ok(place) }
}

fn has_zero(path: &Path) -> bool {
    entry::bytes(path).contains(&0)
}
