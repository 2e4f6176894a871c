//! The sorted list of a layer's entries.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::entry::{self, Entry, FileContent, Kind, path_order};

/// What is in a layer: its entries sorted by [`path_order`](super::path_order).
///
/// **Invariant:** every path is there once, after the directory that holds it (the root alone may be absent, if the
/// layer says nothing of its attributes); a hard link names an earlier entry that is neither a directory, a whiteout
/// nor a hard link.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest {
    entries: Vec<Entry>,
}

/// What is wrong with a list of entries.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not relative, or with an empty, `.` or `..` component.
    #[error("`{0}` is no path of a layer")]
    Path(PathBuf),
    /// Twice in the list, or out of order.
    #[error("`{0}` is in a layer twice")]
    Twice(PathBuf),
    /// An entry's directory is absent or no directory.
    #[error("`{0}` is in a layer without the directory that holds it")]
    Orphan(PathBuf),
    /// A hard link to something that cannot be linked to.
    #[error("`{0}` is a hard link to `{1}`, which is no earlier file of the layer")]
    Link(PathBuf, PathBuf),
}

impl Manifest {
    /// Sorts `entries` and checks the invariant.
    ///
    /// # Errors
    /// What is wrong with the list.
    pub fn new(mut entries: Vec<Entry>) -> Result<Self, ManifestError> {
        if !entries.is_sorted_by(|a, b| path_order(&a.path, &b.path).is_lt()) {
            entries.sort_by(|a, b| path_order(&a.path, &b.path));
        }
        let manifest = Self { entries };
        manifest.check()?;
        Ok(manifest)
    }

    /// Puts into order what is known by inode: entries with an equal number in `inodes` are names of one file, of which
    /// the first in order keeps its kind and the others become hard links to it.
    ///
    /// # Errors
    /// What is wrong with the list.
    pub(crate) fn with_links(mut entries: Vec<(Entry, Option<u64>)>) -> Result<Self, ManifestError> {
        entries.sort_by(|(a, _), (b, _)| path_order(&a.path, &b.path));
        let mut first: HashMap<u64, PathBuf> = HashMap::new();
        for (entry, inode) in &mut entries {
            let Some(inode) = inode else { continue };
            match first.get(inode) {
                Some(to) => entry.kind = Kind::HardLink { to: to.clone() },
                None => {
                    first.insert(*inode, entry.path.clone());
                }
            }
        }
        Self::new(entries.into_iter().map(|(entry, _)| entry).collect())
    }

    /// All entries in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Gives the entries away.
    pub fn into_entries(self) -> Vec<Entry> {
        self.entries
    }

    /// The entry of exactly this path.
    pub fn get(&self, path: &Path) -> Option<&Entry> {
        self.find(path, 0..self.entries.len()).map(|index| &self.entries[index])
    }

    /// The index of `path`, which is known to be in `range` if it is there at all.
    pub(crate) fn find(&self, path: &Path, range: Range<usize>) -> Option<usize> {
        let start = range.start;
        let found = self.entries[range].binary_search_by(|entry| path_order(&entry.path, path));
        found.ok().map(|index| start + index)
    }

    /// The entries below the one at `index`, without itself, which are known to end at or before `end`.
    pub(crate) fn below_in(&self, index: usize, end: usize) -> Range<usize> {
        let dir = &self.entries[index].path;
        // Most directories are small: look in growing steps before halving.
        let mut step = 1;
        let mut low = index + 1;
        while low + step < end && entry::is_within(&self.entries[low + step - 1].path, dir) {
            low += step;
            step *= 2;
        }
        let high = (low + step).min(end);
        let rest = self.entries[low..high].partition_point(|entry| entry::is_within(&entry.path, dir));
        index + 1..low + rest
    }

    /// The entry that holds the content: the first name, if `entry` is a hard link of this manifest.
    pub fn target<'a>(&'a self, entry: &'a Entry) -> &'a Entry {
        match &entry.kind {
            Kind::HardLink { to } => self.get(to).expect("a hard link's target is there"),
            _ => entry,
        }
    }

    /// The bytes of a regular file of this manifest, hard links followed.
    pub fn content(&self, entry: &Entry) -> Option<FileContent> {
        match self.target(entry).kind {
            Kind::File(content) => Some(content),
            _ => None,
        }
    }

    /// The bytes of all files together, each hard-linked file once.
    pub fn size(&self) -> u64 {
        let sizes = self.entries.iter().map(|entry| match entry.kind {
            Kind::File(content) => content.size,
            _ => 0,
        });
        sizes.fold(0, u64::saturating_add)
    }

    fn check(&self) -> Result<(), ManifestError> {
        let mut open: Vec<&Path> = Vec::new();
        let mut previous: Option<&Path> = None;
        for entry in &self.entries {
            let path = entry.path.as_path();
            if previous.is_some_and(|previous| path_order(previous, path).is_ge()) {
                return Err(ManifestError::Twice(path.to_owned()));
            }
            previous = Some(path);
            if let Some((parent, name)) = entry::split(path) {
                // The parent has been through here before it, byte for byte, unless it is the root.
                if !entry::is_name(name) || entry::bytes(path).starts_with(b"/") {
                    return Err(ManifestError::Path(path.to_owned()));
                }
                while open.last().is_some_and(|dir| entry::bytes(dir) != entry::bytes(parent)) {
                    open.pop();
                }
                if open.is_empty() && !parent.as_os_str().is_empty() {
                    return Err(ManifestError::Orphan(path.to_owned()));
                }
            } else if !entry.is_dir() {
                return Err(ManifestError::Path(path.to_owned()));
            }
            if entry.is_dir() {
                open.push(path);
            }
            if let Kind::HardLink { to } = &entry.kind {
                let target = self.get(to).filter(|_| path_order(to, path).is_lt());
                let may = |kind: &Kind| !matches!(kind, Kind::Dir | Kind::Whiteout | Kind::HardLink { .. });
                if !target.is_some_and(|target| may(&target.kind)) {
                    return Err(ManifestError::Link(path.to_owned(), to.clone()));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::Attributes;
    use super::*;

    fn check(paths: &[&str]) -> Result<Manifest, ManifestError> {
        let entries = paths.iter().map(|path| {
            let (path, kind) = match path.split_once(" ==") {
                Some((path, to)) => (path, Kind::HardLink { to: to.into() }),
                None if path.ends_with('-') => (*path, Kind::Fifo),
                None => (*path, Kind::Dir),
            };
            Entry { path: path.into(), kind, attributes: Attributes::default() }
        });
        Manifest::new(entries.collect())
    }

    #[test]
    fn entries_are_sorted_and_need_their_directories() {
        let manifest = check(&["b", "a/c-", "", "a"]).unwrap();
        let paths: Vec<_> = manifest.entries().iter().map(|entry| entry.path.to_str().unwrap()).collect();
        assert_eq!(paths, ["", "a", "a/c-", "b"]);
        assert_eq!(check(&["a/c-"]), Err(ManifestError::Orphan("a/c-".into())));
        assert_eq!(check(&["a-", "a-/c-"]), Err(ManifestError::Orphan("a-/c-".into())));
        assert_eq!(check(&["a", "ab/c-"]), Err(ManifestError::Orphan("ab/c-".into())));
        assert_eq!(check(&["a", "a"]), Err(ManifestError::Twice("a".into())));
    }

    #[test]
    fn paths_are_relative_and_plain() {
        for path in ["/a", "..", "a/..", "a/./b", "a//b", "a/", ".", "a\0"] {
            assert!(check(&["a", path]).is_err(), "{path}");
        }
    }

    #[test]
    fn hard_links_name_an_earlier_file() {
        assert!(check(&["a-", "b ==a-"]).is_ok());
        for links in [["a ==b-", "b-"], ["a-", "b ==c"], ["a", "b ==a"], ["a ==a", "b-"]] {
            assert!(matches!(check(&links), Err(ManifestError::Link(..))), "{links:?}");
        }
        assert!(matches!(check(&["a-", "b ==a-", "c ==b"]), Err(ManifestError::Link(..))));
    }
}
