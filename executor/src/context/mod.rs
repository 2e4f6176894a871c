//! Local directories as sources: one parallel walk, the ignore rules, and the hash of every file.
//!
//! A file whose `stat` the store knows is not opened; so an unchanged context costs the walk alone.

mod hash;
#[cfg(test)]
mod tests;
mod tree;
mod walk;
mod wanted;

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use kiln_cache::{Attributes, Device, Entry, FileContent, Kind, StatTable, StatTableBuilder, Timestamp};
use kiln_core::pattern::Ignore;
use kiln_core::{ContentHash, StableHash as _, StableHasher};
use rustix::fs::FileType;

pub use tree::ContextTree;
pub(crate) use tree::hash_kind;
use walk::{Seen, Stat};
use wanted::Wanted;

/// A directory that the user gave, and what is left out of it.
#[derive(Debug, Clone)]
pub struct LocalContext {
    /// The directory.
    pub directory: PathBuf,
    /// The compiled ignore file; empty if there is none.
    pub ignore: Arc<Ignore>,
}

/// A context that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// It has not been given.
    #[error("no context `{0}` was given to this build")]
    Unknown(String),
    /// A directory or file of it.
    #[error("failed to read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
    /// A file that does not hold still.
    #[error("{path} changed while it was read")]
    Changed {
        /// Which.
        path: PathBuf,
    },
}

impl LocalContext {
    /// The name of the stat table for a walk of what `wanted` names.
    pub fn table_key(&self, wanted: &[String]) -> ContentHash {
        let mut hasher = StableHasher::new("kiln context table 1");
        self.directory.stable_hash(&mut hasher);
        wanted.stable_hash(&mut hasher);
        hasher.finish()
    }

    /// Walks what `wanted` names (all of it if empty) and gives every file its hash: from `known` if its `stat` is the
    /// one that was recorded, otherwise from its content. The second result is the table to store, if anything was new;
    /// `now` is the present time.
    ///
    /// # Errors
    /// If something cannot be read.
    pub fn read(
        &self,
        wanted: &[String],
        known: &StatTable,
        now: SystemTime,
    ) -> Result<(ContextTree, Option<StatTableBuilder>), ContextError> {
        let read = |cause| ContextError::Read { path: self.directory.clone(), cause };
        let root = walk::open_root(&self.directory).map_err(read)?;
        let Looked { seen, hashes, learnt } =
            kiln_cache::reading_within(root.as_fd(), || self.look(&root, wanted, known))?;
        let table = learnt.then(|| hash::table(&seen, &hashes, now));
        let entries = entries(seen, hashes);
        Ok((ContextTree::new(root, entries, self.ignore.clone()), table))
    }

    fn look(&self, root: &OwnedFd, wanted: &[String], known: &StatTable) -> Result<Looked, ContextError> {
        let mut wanted = Wanted::new(wanted);
        let mut seen = loop {
            let seen = walk::walk(&self.directory, root, &self.ignore, &wanted)?;
            if !follow_links(&seen, &mut wanted) {
                break seen;
            }
        };
        let (hashes, learnt) = hash::hashes(&self.directory, root, &mut seen, known)?;
        Ok(Looked { seen, hashes, learnt })
    }
}

/// What a walk saw, and the hash of each regular file.
struct Looked {
    seen: Vec<Seen>,
    hashes: Vec<Option<ContentHash>>,
    /// Whether a file had to be read.
    learnt: bool,
}

fn entries(seen: Vec<Seen>, hashes: Vec<Option<ContentHash>>) -> Vec<Entry> {
    let mut first: HashMap<(u64, u64), PathBuf> = HashMap::new();
    let entries = seen.into_iter().zip(hashes).map(|(seen, hash)| {
        let stat = seen.stat;
        let path = PathBuf::from(OsString::from_vec(seen.path));
        let mut kind = kind(&stat, hash, seen.target);
        if stat.links > 1 && stat.file_type == FileType::RegularFile {
            match first.entry((stat.device, stat.inode)) {
                Slot::Occupied(first) => kind = Kind::HardLink { to: first.get().clone() },
                Slot::Vacant(slot) => drop(slot.insert(path.clone())),
            }
        }
        let mtime = Timestamp { seconds: stat.mtime.0, nanoseconds: stat.mtime.1 };
        // Owners of context files are dropped: they mean nothing on another machine.
        Entry { path, kind, attributes: Attributes { mtime, ..Attributes::root(stat.mode) } }
    });
    entries.collect()
}

fn kind(stat: &Stat, hash: Option<ContentHash>, target: Option<Vec<u8>>) -> Kind {
    let device = Device { major: stat.special.0, minor: stat.special.1 };
    match stat.file_type {
        FileType::Directory => Kind::Dir,
        FileType::Symlink => {
            Kind::Symlink { target: PathBuf::from(OsString::from_vec(target.unwrap_or_default())) }
        }
        FileType::Fifo => Kind::Fifo,
        FileType::BlockDevice => Kind::Block(device),
        FileType::CharacterDevice => Kind::Char(device),
        FileType::RegularFile => {
            let hash = hash.unwrap_or_else(hash::empty);
            Kind::File(FileContent { size: stat.size, hash })
        }
        // BuildKit's transfer makes an empty file of a socket.
        FileType::Socket | FileType::Unknown => Kind::File(FileContent::empty()),
    }
}

/// Adds what the wanted links point to; tells whether that is more than was walked.
fn follow_links(seen: &[Seen], wanted: &mut Wanted) -> bool {
    if wanted.is_all() {
        return false;
    }
    let mut more = false;
    for link in seen {
        let (Some(target), Ok(path)) = (&link.target, std::str::from_utf8(&link.path)) else { continue };
        for source in wanted.through_link(path, &String::from_utf8_lossy(target)) {
            more |= wanted.add(&source);
        }
    }
    more
}

/// The path of a file in a context, for messages.
pub(crate) fn in_context(directory: &Path, path: &[u8]) -> PathBuf {
    directory.join(walk::display(path))
}
