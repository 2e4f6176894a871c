//! What a step changed in a whole tree: the same passes as over an upper directory, where what is missing is gone and what
//! was not touched need not be read.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use rustix::fs::{AtFlags, unlinkat, utimensat};

use super::super::entry::{self, Kind};
use super::super::error::LayerError;
use super::super::manifest::Manifest;
use super::super::rooted::{Links, Rooted};
use super::super::view::View;
use super::super::work::Identities;
use super::super::writer::{Node, TreeWriter, times};
use super::decide::{Verdict, decide};
use super::scan::{Scanned, scan};
use crate::store::OverlayXattrs;

/// What is known of a step's tree.
pub(crate) struct Step<'a> {
    /// How the tree keeps owners.
    pub(crate) mode: OverlayXattrs,
    /// What it showed before.
    pub(crate) view: &'a View,
    /// What its files were then.
    pub(crate) files: &'a Identities,
    /// What it did not have even then.
    pub(crate) absent: &'a HashSet<PathBuf>,
    /// What was put there for the step alone, and the parents that were made for that.
    pub(crate) stubs: &'a [PathBuf],
}

/// What it shows now, and which of it is new.
pub(crate) struct Changed<'a> {
    scanned: Vec<Scanned<'a>>,
    verdicts: Vec<Verdict>,
}

/// Compares the tree with what it showed before the step.
pub(crate) fn diff<'a>(root: &'a Rooted, step: &Step<'a>) -> Result<Changed<'a>, LayerError> {
    let mode = step.mode;
    let mut scanned = scan(root, mode, step.view, Some(step.files))?;
    scanned.retain(|scanned| scanned.in_tree || !step.absent.contains(&scanned.entry.path));
    super::hash(root, mode, &mut scanned)?;
    let stubs: HashSet<&Path> =
        step.stubs.iter().map(|path| path.strip_prefix("/").unwrap_or(path)).collect();
    let verdicts = decide(&scanned, step.view, &stubs);
    Ok(Changed { scanned, verdicts })
}

impl Changed<'_> {
    /// Whether the tree is the upper directory of a mount in which something was taken away.
    pub(crate) fn hides(&self) -> bool {
        self.scanned
            .iter()
            .any(|scanned| scanned.opaque || (scanned.in_tree && scanned.entry.kind == Kind::Whiteout))
    }

    /// Whether it shows what the layers show.
    pub(crate) fn is_nothing(&self) -> bool {
        self.verdicts.iter().all(|verdict| *verdict == Verdict::Drop)
    }

    /// Copies what is new.
    pub(crate) fn write(&self, root: &Rooted, writer: TreeWriter) -> Result<Manifest, LayerError> {
        let mut files = Vec::new();
        let mut links = Vec::new();
        let mut first_names = std::collections::HashMap::new();
        for (scanned, verdict) in self.scanned.iter().zip(&self.verdicts) {
            let (path, attributes) = (&scanned.entry.path, &scanned.entry.attributes);
            match verdict {
                Verdict::Drop => continue,
                Verdict::Make => {
                    writer.whiteout(path)?;
                    continue;
                }
                Verdict::Keep => {}
            }
            if let (Some(inode), false) = (scanned.inode, scanned.entry.is_dir()) {
                if let Some(first) = first_names.get(&inode) {
                    links.push((path, *first));
                    continue;
                }
                first_names.insert(inode, path);
            }
            match &scanned.entry.kind {
                Kind::Dir => writer.dir(path, attributes)?,
                Kind::File(_) => files.push((path, attributes)),
                Kind::Symlink { target } => writer.symlink(path, target, attributes)?,
                Kind::Char(device) => writer.node(path, Node::Char(*device), attributes)?,
                Kind::Block(device) => writer.node(path, Node::Block(*device), attributes)?,
                Kind::Fifo => writer.node(path, Node::Fifo, attributes)?,
                Kind::Whiteout => writer.whiteout(path)?,
                Kind::HardLink { .. } => unreachable!("a scan knows inodes, not links"),
            }
        }
        files.par_iter().try_for_each(|(path, attributes)| {
            let file =
                root.file(path, Links::Refused).map_err(LayerError::io("read the step's file", *path))?;
            writer.copy_file(path, attributes, &file).map(drop)
        })?;
        for (path, first) in links {
            writer.hard_link(path, first)?;
        }
        writer.finish()
    }

    /// Makes the tree show what the layers show, and says what its files are now: sockets are in no layer, and a name whose
    /// time alone has changed has its old one.
    pub(crate) fn settle(&self, root: &Rooted) -> Result<Identities, LayerError> {
        let mut files = Identities::default();
        let mut again = Vec::new();
        for (scanned, verdict) in self.scanned.iter().zip(&self.verdicts).rev() {
            let path = scanned.entry.path.as_path();
            if scanned.socket {
                remove(root, path)?;
                continue;
            }
            let time = scanned.below.map(|below| below.target().attributes.mtime);
            match (verdict, time) {
                (Verdict::Drop, Some(time)) if scanned.in_tree && time != scanned.entry.attributes.mtime => {
                    let name = if path.as_os_str().is_empty() { Path::new(".") } else { path };
                    let set = utimensat(root, name, &times(time), AtFlags::SYMLINK_NOFOLLOW);
                    set.map_err(|errno| LayerError::io("set the time of", path)(errno.into()))?;
                    again.extend(scanned.identity.map(|_| path));
                }
                _ => {
                    if let Some(identity) = scanned.identity {
                        files.insert(path.to_owned(), identity);
                    }
                }
            }
        }
        files.look_at(root, again.into_iter())?;
        Ok(files)
    }
}

/// Removes a socket, and leaves the time of its directory as the layer has it.
fn remove(root: &Rooted, path: &Path) -> Result<(), LayerError> {
    let Some((parent, name)) = entry::split(path) else { return Ok(()) };
    let remove = || {
        let parent = root.directory(parent, Links::Refused)?;
        let stat = rustix::fs::fstat(&parent)?;
        unlinkat(&parent, name, AtFlags::empty())?;
        let time = entry::Timestamp { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec as u32 };
        Ok(rustix::fs::futimens(&parent, &times(time))?)
    };
    remove().map_err(LayerError::io("remove the step's socket", path))
}
