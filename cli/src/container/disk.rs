//! What something takes on disk.

use std::path::Path;

/// The bytes of all files below `path`; what cannot be read counts nothing.
pub(crate) fn bytes(path: &Path) -> u64 {
    let Ok(entries) = path.read_dir() else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}
