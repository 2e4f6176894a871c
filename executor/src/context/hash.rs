//! The hash of every file of a context: from what the store knows, or from its content.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::SystemTime;

use kiln_cache::{StatTable, StatTableBuilder};
use kiln_core::ContentHash;
use rayon::prelude::*;
use rustix::fs::FileType;

use super::walk::{Seen, Stat, display, statx};
use super::{ContextError, in_context, tree};

/// Files below this size are read in one go.
const SMALL: u64 = 256 * 1024;

/// How often a file that changes while it is read is read again.
const ATTEMPTS: usize = 4;

/// The hash of each regular file of `seen`, in its order: from `known` if its `stat` is the one recorded there. A file that
/// changed since it was seen gets its new `stat`. The second result is whether anything had to be hashed.
pub(crate) fn hashes(
    directory: &Path,
    root: &OwnedFd,
    seen: &mut [Seen],
    known: &StatTable,
) -> Result<(Vec<Option<ContentHash>>, bool), ContextError> {
    let mut hashes: Vec<Option<ContentHash>> = seen
        .iter()
        .map(|file| match file.stat.file_type {
            FileType::RegularFile if file.stat.size == 0 => Some(empty()),
            FileType::RegularFile => known.content(&file.path, &file.stat.recorded()),
            _ => None,
        })
        .collect();
    let missing: Vec<usize> = (0..seen.len())
        .filter(|&at| seen[at].stat.file_type == FileType::RegularFile && hashes[at].is_none())
        .collect();
    let fresh: Vec<(usize, Stat, ContentHash)> = missing
        .into_par_iter()
        .map(|at| {
            let (stat, hash) = hash_steady(directory, root, &seen[at].path)?;
            Ok((at, stat, hash))
        })
        .collect::<Result<_, ContextError>>()?;
    let learnt = !fresh.is_empty();
    for (at, stat, hash) in fresh {
        hashes[at] = Some(hash);
        seen[at].stat = stat;
    }
    Ok((hashes, learnt))
}

/// The table of what was hashed, for the next time.
pub(crate) fn table(seen: &[Seen], hashes: &[Option<ContentHash>], began: SystemTime) -> StatTableBuilder {
    let mut table = StatTableBuilder::new(began);
    for (file, hash) in seen.iter().zip(hashes) {
        if let (Some(hash), true) = (hash, file.stat.size > 0) {
            table.insert(&file.path, &file.stat.recorded(), hash);
        }
    }
    table
}

/// Hashes a file between two looks at its `stat` that agree.
fn hash_steady(directory: &Path, root: &OwnedFd, path: &[u8]) -> Result<(Stat, ContentHash), ContextError> {
    let read = |cause| ContextError::Read { path: in_context(directory, path), cause };
    for _ in 0..ATTEMPTS {
        let mut file = tree::open_below(root, &display(path)).map_err(read)?;
        let before = statx(file.as_fd(), c"").map_err(|cause| read(cause.into()))?;
        let hash = hash_file(&mut file, before.size).map_err(read)?;
        let after = statx(file.as_fd(), c"").map_err(|cause| read(cause.into()))?;
        if (before.size, before.mtime) == (after.size, after.mtime) {
            return Ok((before, hash));
        }
    }
    Err(ContextError::Changed { path: in_context(directory, path) })
}

/// The hash of what can be read from `file`, which has about `size` bytes.
pub(crate) fn hash_file(file: &mut File, size: u64) -> io::Result<ContentHash> {
    let mut hasher = blake3::Hasher::new();
    if size <= SMALL {
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
        file.read_to_end(&mut bytes)?;
        hasher.update(&bytes);
    } else {
        let mut buffer = vec![0; 128 * 1024];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                n => hasher.update(&buffer[..n]),
            };
        }
    }
    Ok(ContentHash::from_bytes(*hasher.finalize().as_bytes()))
}

/// The hash of an empty file.
pub(crate) fn empty() -> ContentHash {
    ContentHash::of(b"")
}
