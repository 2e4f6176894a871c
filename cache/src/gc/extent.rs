//! How much of the disk a tree takes, as `du` measures it: blocks, each inode once.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The inodes of a tree.
#[derive(Debug, Clone, Default)]
pub(super) struct Extent {
    /// Bytes of directories and of files that have no other name.
    single: u64,
    /// Files that have other names, here or elsewhere.
    linked: Vec<Linked>,
}

#[derive(Debug, Clone, Copy)]
struct Linked {
    inode: (u64, u64),
    names: u64,
    bytes: u64,
}

impl Extent {
    /// Measures `path` and what is below it. What vanishes meanwhile, or may not be entered, is left out.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let mut extent = Self::default();
        extent.add(path)?;
        Ok(extent)
    }

    /// Adds a directory itself and what is below it, but for the entries that are counted elsewhere.
    pub(super) fn add_shell(
        &mut self,
        directory: &Path,
        is_elsewhere: impl Fn(&str) -> bool,
    ) -> io::Result<()> {
        self.single += fs::symlink_metadata(directory)?.blocks() * 512;
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if !entry.file_name().to_str().is_some_and(&is_elsewhere) {
                self.add(&entry.path())?;
            }
        }
        Ok(())
    }

    fn add(&mut self, path: &Path) -> io::Result<()> {
        let metadata = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let bytes = metadata.blocks() * 512;
        if metadata.is_dir() {
            self.single += bytes;
            let entries = match fs::read_dir(path) {
                Err(error) if is_passed_over(&error) => return Ok(()),
                other => other?,
            };
            for entry in entries {
                self.add(&entry?.path())?;
            }
        } else if metadata.nlink() == 1 {
            self.single += bytes;
        } else {
            let inode = (metadata.dev(), metadata.ino());
            self.linked.push(Linked { inode, names: metadata.nlink(), bytes });
        }
        Ok(())
    }
}

fn is_passed_over(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
}

/// Counts trees that share inodes.
#[derive(Debug, Default)]
pub(super) struct Tally {
    seen: HashMap<(u64, u64), u64>,
}

impl Tally {
    /// The bytes of `extent` that were not counted before.
    pub(super) fn count(&mut self, extent: &Extent) -> u64 {
        let mut bytes = extent.single;
        for linked in &extent.linked {
            let names = self.seen.entry(linked.inode).or_default();
            *names += 1;
            if *names == 1 {
                bytes += linked.bytes;
            }
        }
        bytes
    }

    /// The bytes that go when `extent` goes, after those that went before it: an inode goes with its last name.
    pub(super) fn release(&mut self, extent: &Extent) -> u64 {
        let mut bytes = extent.single;
        for linked in &extent.linked {
            let names = self.seen.entry(linked.inode).or_default();
            *names += 1;
            if *names == linked.names {
                bytes += linked.bytes;
            }
        }
        bytes
    }
}
