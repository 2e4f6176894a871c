//! A context as one walk found it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use kiln_cache::{Entry, Kind, Timestamp, is_within, path_order};
use kiln_core::pattern::Ignore;
use kiln_core::{ContentHash, StableHash as _, StableHasher};
use rustix::fs::{AtFlags, OFlags, ResolveFlags};

/// The files of a context that a build may read, with the hash of every regular file: immutable once made.
#[derive(Debug)]
pub struct ContextTree {
    root: OwnedFd,
    entries: Vec<Entry>,
    ignore: Arc<Ignore>,
    digest: OnceLock<ContentHash>,
}

impl ContextTree {
    /// `entries` are in [`path_order`], the root first.
    pub(crate) fn new(root: OwnedFd, entries: Vec<Entry>, ignore: Arc<Ignore>) -> Self {
        Self { root, entries, ignore, digest: OnceLock::new() }
    }

    /// The entries, each directory before what is in it. Owners are all root.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The sizes of its files together.
    pub(crate) fn bytes(&self) -> u64 {
        let size = |entry: &Entry| match &entry.kind {
            Kind::File(content) => content.size,
            _ => 0,
        };
        self.entries.iter().map(size).sum()
    }

    /// The entry at `path`, without following links.
    pub(crate) fn get(&self, path: &Path) -> Option<&Entry> {
        self.entries.binary_search_by(|entry| path_order(&entry.path, path)).ok().map(|at| &self.entries[at])
    }

    /// The entries below `directory`, without itself.
    pub(crate) fn below(&self, directory: &Path) -> &[Entry] {
        let start = self.entries.partition_point(|entry| path_order(&entry.path, directory).is_le());
        let rest = &self.entries[start..];
        &rest[..rest.partition_point(|entry| is_within(&entry.path, directory))]
    }

    /// The digest of all that a build can see of it: names, types, permissions, contents and targets; no times, no
    /// owners.
    pub fn digest(&self) -> ContentHash {
        *self.digest.get_or_init(|| {
            let mut hasher = StableHasher::new("kiln context 1");
            for entry in &self.entries {
                entry.path.stable_hash(&mut hasher);
                hasher.number(u64::from(entry.attributes.mode));
                hash_kind(&entry.kind, &mut hasher);
            }
            hasher.finish()
        })
    }

    /// The same with one time for all.
    pub(crate) fn with_time(mut self, time: Timestamp) -> Self {
        for entry in &mut self.entries {
            entry.attributes.mtime = time;
        }
        self
    }

    /// The line of the ignore file that left `path` out, with its number, if the file is there but was left out.
    pub(crate) fn left_out(&self, path: &str) -> Option<(usize, String)> {
        let decision = self.ignore.decide(path);
        let rule = decision.by.filter(|_| decision.excluded)?;
        rustix::fs::statat(&self.root, path, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some((rule.line, rule.text.clone()))
    }

    /// Opens the regular file at `path` for reading, without following any link.
    pub(crate) fn open(&self, path: &Path) -> io::Result<File> {
        open_below(&self.root, path)
    }
}

/// Adds what a kind means to a hash.
pub(crate) fn hash_kind(kind: &Kind, hasher: &mut StableHasher) {
    match kind {
        Kind::Dir => hasher.number(0),
        Kind::File(content) => {
            hasher.number(1);
            hasher.number(content.size);
            content.hash.stable_hash(hasher);
        }
        Kind::Symlink { target } => {
            hasher.number(2);
            target.stable_hash(hasher);
        }
        Kind::HardLink { to } => {
            hasher.number(3);
            to.stable_hash(hasher);
        }
        Kind::Char(device) | Kind::Block(device) => {
            hasher.number(if matches!(kind, Kind::Char(_)) { 4 } else { 5 });
            hasher.number(u64::from(device.major));
            hasher.number(u64::from(device.minor));
        }
        Kind::Fifo => hasher.number(6),
        Kind::Whiteout => hasher.number(7),
    }
}

/// Opens a file below `root` by a path that has no links in it.
pub(crate) fn open_below(root: &OwnedFd, path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(File::from(crate::resolve::openat2(root, path, flags, resolve)?))
}
