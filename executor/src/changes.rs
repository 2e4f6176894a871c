//! Which files differ between what a step made before and what it made now: answered by the manifests alone.

use std::path::{Path, PathBuf};

use kiln_cache::{Attributes, Entry, FileContent, Kind, LayerError, Manifest, Store, path_order};
use kiln_core::{ContentHash, CopySource, FileAction, LayerId, Op, path::clean};

/// What a file was or is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileState {
    /// `file`, `directory`, `link to …`.
    pub kind: String,
    /// The BLAKE3 of a regular file.
    pub digest: Option<ContentHash>,
    /// The size of a regular file.
    pub size: Option<u64>,
    /// The permission bits.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// A file that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// Where it is in the image.
    pub path: PathBuf,
    /// Where a copy took it from, as far as the op tells.
    pub source: Option<PathBuf>,
    /// What it was; `None` if it was not there.
    pub old: Option<FileState>,
    /// What it is; `None` if it is not there any more.
    pub new: Option<FileState>,
}

/// The files that differ between two layers that the same step made, at most `limit` of them, and how many there are in
/// all. Times are no difference. `op` is what made the new one.
///
/// # Errors
/// If a layer is not there any more, or damaged.
pub fn changes(
    store: &Store,
    op: &Op,
    old: &LayerId,
    new: &LayerId,
    limit: usize,
) -> Result<(Vec<FileChange>, usize), LayerError> {
    let (old, new) = (store.layers().get(old)?.manifest, store.layers().get(new)?.manifest);
    let (mut found, mut count) = (Vec::new(), 0);
    let (mut left, mut right) = (old.entries().iter().peekable(), new.entries().iter().peekable());
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => break,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(a), Some(b)) => path_order(&a.path, &b.path),
        };
        let was = if order.is_le() { left.next() } else { None };
        let is = if order.is_ge() { right.next() } else { None };
        if let (Some(was), Some(is)) = (was, is)
            && same(&old, was, &new, is)
        {
            continue;
        }
        let path = was.or(is).map(|entry| entry.path.clone()).unwrap_or_default();
        count += 1;
        if found.len() < limit {
            let source = source_of(op, &path);
            found.push(FileChange {
                source,
                path,
                old: was.map(|entry| state(&old, entry)),
                new: is.map(|entry| state(&new, entry)),
            });
        }
    }
    Ok((found, count))
}

fn same(old: &Manifest, was: &Entry, new: &Manifest, is: &Entry) -> bool {
    was.attributes.same_but_mtime(&is.attributes)
        && match (old.content(was), new.content(is)) {
            (Some(a), Some(b)) => a == b,
            (None, None) => was.kind == is.kind,
            _ => false,
        }
}

fn state(manifest: &Manifest, entry: &Entry) -> FileState {
    let target = manifest.target(entry);
    let Attributes { mode, uid, gid, .. } = target.attributes;
    let (kind, content): (String, Option<FileContent>) = match &target.kind {
        Kind::Dir => ("directory".into(), None),
        Kind::File(content) => ("file".into(), Some(*content)),
        // The target of a hard link is none.
        Kind::HardLink { to } | Kind::Symlink { target: to } => (format!("link to {}", to.display()), None),
        Kind::Char(device) | Kind::Block(device) => {
            (format!("device {}:{}", device.major, device.minor), None)
        }
        Kind::Fifo => ("pipe".into(), None),
        Kind::Whiteout => ("removal".into(), None),
    };
    let (digest, size) = (content.map(|c| c.hash), content.map(|c| c.size));
    FileState { kind, digest, size, mode, uid, gid }
}

/// The path in a copy's source that became `path` of the image: where a copy has one plain source.
fn source_of(op: &Op, path: &Path) -> Option<PathBuf> {
    let Op::File(edit) = op else { return None };
    let [FileAction::Copy(copy)] = edit.actions.as_slice() else { return None };
    let destination = PathBuf::from(clean(&copy.destination).trim_start_matches('/'));
    let below = path.strip_prefix(&destination).ok()?;
    let mut candidates = copy.sources.iter().filter_map(|source| match source {
        CopySource::Path { path, .. } => {
            Some(PathBuf::from(clean(&format!("/{path}")).trim_start_matches('/')))
        }
        CopySource::Inline(_) => None,
    });
    let first = candidates.next()?;
    let wild = kiln_core::pattern::wildcard::has_wildcards(&first.to_string_lossy());
    if copy.parents || wild || candidates.next().is_some() {
        return None;
    }
    if below.as_os_str().is_empty() {
        return Some(first);
    }
    // A file copied into a directory keeps its name; a directory gives its content.
    match first.file_name() {
        Some(name) if below == Path::new(name) && copy.destination.ends_with('/') => Some(first),
        _ => Some(first.join(below)),
    }
}
