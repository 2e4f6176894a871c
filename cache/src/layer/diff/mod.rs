//! The manifest of what a step wrote through an overlay mount.
//!
//! Three passes: `scan` walks the upper directory, `hash` reads the files, both in parallel; then what is listed is
//! decided ([`decide`]) and the tree is made to hold exactly that ([`apply`]).
//!
//! What is listed is what BuildKit lists: changed names and the directories above them. A directory whose time alone
//! changed is not, nor a file that was copied up and is equal in all; a socket is never. No directory is opaque: what
//! it hides is whited out name by name.

mod decide;
mod scan;
#[cfg(test)]
mod tests;
pub(crate) mod whole;

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use rustix::fs::{AtFlags, futimens, unlinkat};

use super::entry::{self, Entry, Kind};
use super::error::LayerError;
use super::manifest::Manifest;
use super::owner::RecordedDevice;
use super::rooted::{Links, Rooted};
use super::view::View;
use super::writer::{copy, make_whiteout, times};
use super::xattr;
use crate::store::OverlayXattrs;
use decide::Verdict;
use scan::Scanned;

pub(crate) fn diff(
    tree: &Path,
    mode: OverlayXattrs,
    below: &View,
    stubs: &[PathBuf],
) -> Result<Manifest, LayerError> {
    let root = Rooted::open(tree).map_err(LayerError::io("open the upper directory", tree))?;
    let mut scanned = scan::scan(&root, mode, below, None)?;
    hash(&root, mode, &mut scanned)?;
    let stubs: HashSet<&Path> = stubs.iter().map(|path| path.strip_prefix("/").unwrap_or(path)).collect();
    let verdicts = decide::decide(&scanned, below, &stubs);
    apply(&root, mode, &scanned, &verdicts)?;
    let kept = scanned.into_iter().zip(verdicts).filter(|(_, verdict)| *verdict != Verdict::Drop);
    let entries = kept.map(|(scanned, verdict)| match verdict {
        Verdict::Make => (Entry::whiteout(scanned.entry.path), None),
        Verdict::Keep | Verdict::Drop => (scanned.entry, scanned.inode),
    });
    Ok(Manifest::with_links(entries.collect())?)
}

/// Reads every file once, whatever its names.
fn hash(root: &Rooted, mode: OverlayXattrs, scanned: &mut [Scanned<'_>]) -> Result<(), LayerError> {
    let mut first_names = std::collections::HashMap::new();
    let mut files: Vec<&mut Scanned<'_>> = Vec::new();
    let mut further: Vec<(usize, usize)> = Vec::new();
    // Which file is whose further name is settled before anything is borrowed.
    for (index, scanned) in scanned.iter().enumerate() {
        if let (Kind::File(_), Some(inode)) = (&scanned.entry.kind, scanned.inode) {
            match first_names.get(&inode) {
                Some(&first) => further.push((index, first)),
                None => {
                    first_names.insert(inode, index);
                }
            }
        }
    }
    let skip: HashSet<usize> = further.iter().map(|(index, _)| *index).collect();
    for (index, scanned) in scanned.iter_mut().enumerate() {
        if matches!(scanned.entry.kind, Kind::File(_)) && !scanned.untouched && !skip.contains(&index) {
            files.push(scanned);
        }
    }
    files.into_par_iter().try_for_each(|scanned| {
        let path = &scanned.entry.path;
        let read = || {
            let file = root.file(path, Links::Refused)?;
            Ok((xattr::read(&file, mode)?, copy::hash(&file)?))
        };
        let (read, content) = read().map_err(LayerError::io("read the step's file", path))?;
        let entry = &mut scanned.entry;
        entry.kind = Kind::File(content);
        if mode == OverlayXattrs::Recorded {
            let record = read.owner.unwrap_or_default();
            scan::own(&mut entry.attributes, record);
            match record.device {
                Some(RecordedDevice { block: true, number }) => entry.kind = Kind::Block(number),
                Some(RecordedDevice { block: false, number }) => entry.kind = Kind::Char(number),
                None => {}
            }
        }
        // No device has attributes in a layer.
        entry.attributes.xattrs =
            if matches!(entry.kind, Kind::File(_)) { read.xattrs } else { Default::default() };
        Ok::<(), LayerError>(())
    })?;
    for (index, first) in further {
        scanned[index].entry.kind = scanned[first].entry.kind.clone();
        scanned[index].entry.attributes = scanned[first].entry.attributes.clone();
    }
    Ok(())
}

/// Removes from the tree what is not listed and adds what is listed and missing.
fn apply(
    root: &Rooted,
    mode: OverlayXattrs,
    scanned: &[Scanned<'_>],
    verdicts: &[Verdict],
) -> Result<(), LayerError> {
    // Directories whose times this changes, by path.
    let mut touched: BTreeSet<&Path> = BTreeSet::new();
    for (scanned, verdict) in scanned.iter().zip(verdicts).rev() {
        let path = scanned.entry.path.as_path();
        if scanned.opaque && *verdict != Verdict::Drop {
            let directory = root.directory(path, Links::Refused);
            let cleared = directory.and_then(|directory| xattr::clear_opaque(directory, mode));
            cleared.map_err(LayerError::io("clear the opaque mark of", path))?;
        }
        let Some((parent, name)) = entry::split(path) else { continue };
        let changed = match verdict {
            Verdict::Keep => continue,
            Verdict::Drop if !scanned.in_tree => continue,
            Verdict::Drop => root.directory(parent, Links::Refused).and_then(|parent| {
                let flags = if scanned.entry.is_dir() { AtFlags::REMOVEDIR } else { AtFlags::empty() };
                Ok(unlinkat(parent, name, flags)?)
            }),
            Verdict::Make => root.directory(parent, Links::Refused).and_then(|parent| {
                if scanned.in_tree {
                    unlinkat(&parent, name, AtFlags::empty())?;
                }
                make_whiteout(parent, name)
            }),
        };
        changed.map_err(LayerError::io("bring into a layer's form", path))?;
        touched.insert(parent);
    }
    for (scanned, verdict) in scanned.iter().zip(verdicts) {
        let path = scanned.entry.path.as_path();
        if touched.contains(path) && *verdict != Verdict::Drop {
            let directory = root.directory(path, Links::Refused);
            let mtime = times(scanned.entry.attributes.mtime);
            let set = directory.and_then(|directory| Ok(futimens(directory, &mtime)?));
            set.map_err(LayerError::io("set the time of", path))?;
        }
    }
    Ok(())
}
