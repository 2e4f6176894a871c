//! What a subtree means to a build: a digest of everything but times.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use kiln_core::{ContentHash, StableHasher};

use super::super::entry::{Device, Entry, Kind};
use super::{Found, View};

impl View {
    /// The digest of what is at and below `path`: names, kinds, modes, owners, extended attributes, contents and which
    /// names are one file, but no times and not where the subtree lies. No link is followed. `None` if nothing is there.
    pub fn content(&self, path: &Path) -> Option<ContentHash> {
        let memo = || self.contents.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(known) = memo().get(path) {
            return Some(*known);
        }
        let content = self.content_of(path, |_| true)?;
        memo().insert(path.to_owned(), content);
        Some(content)
    }

    /// [`View::content`] of those entries alone that `keep` accepts, directories included.
    pub fn content_of(&self, path: &Path, keep: impl Fn(&Found<'_>) -> bool) -> Option<ContentHash> {
        let all = self.walk(path);
        if all.is_empty() {
            return None;
        }
        let mut hasher = StableHasher::new("kiln subtree 1");
        // Of a file with several names, the first that is seen here stands for the others.
        let linked = all.iter().filter(|found| matches!(found.entry().kind, Kind::HardLink { .. }));
        let mut first_names: HashMap<*const Entry, Option<&Path>> =
            linked.map(|found| (std::ptr::from_ref(found.target()), None)).collect();
        for found in all.iter().filter(|found| keep(found)) {
            let entry = found.entry();
            let relative = entry.path.strip_prefix(path).expect("a walk stays below its start");
            hasher.bytes(relative.as_os_str().as_bytes());
            let target = found.target();
            match first_names.get_mut(&std::ptr::from_ref(target)) {
                Some(Some(first)) => {
                    hasher.number(100);
                    hasher.bytes(first.as_os_str().as_bytes());
                    continue;
                }
                Some(first) => *first = Some(relative),
                None => {}
            }
            hash_entry(target, &mut hasher);
        }
        Some(hasher.finish())
    }
}

fn hash_entry(entry: &Entry, into: &mut StableHasher) {
    match &entry.kind {
        Kind::Dir => into.number(0),
        Kind::File(content) => {
            into.number(1);
            into.number(content.size);
            into.bytes(content.hash.as_bytes());
        }
        Kind::Symlink { target } => {
            into.number(2);
            into.bytes(target.as_os_str().as_bytes());
        }
        Kind::Char(Device { major, minor }) => {
            into.number(3);
            into.number(u64::from(*major));
            into.number(u64::from(*minor));
        }
        Kind::Block(Device { major, minor }) => {
            into.number(4);
            into.number(u64::from(*major));
            into.number(u64::from(*minor));
        }
        Kind::Fifo => into.number(5),
        Kind::HardLink { .. } | Kind::Whiteout => unreachable!("a view shows neither"),
    }
    let attributes = &entry.attributes;
    into.number(u64::from(attributes.mode));
    into.number(u64::from(attributes.uid));
    into.number(u64::from(attributes.gid));
    into.number(attributes.xattrs.len() as u64);
    for (name, value) in &attributes.xattrs {
        into.bytes(name);
        into.bytes(value);
    }
}
