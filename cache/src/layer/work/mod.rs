//! A snapshot as a directory that a step writes in place, for machines where nothing can be mounted or stacked.
//!
//! ```text
//! tmp/<session>/<n>/tree     what the snapshot shows, copied: layers must not change, so nothing is linked to them
//! ```
//! After the step the tree is compared with the snapshot's manifests ([`super::diff::whole`]), and what differs is copied into a
//! new layer. The tree shows the new snapshot then, and is kept for the next step: a chain of steps copies its base once.
//!
//! Names that are one file stay one file, in which it is more exact than overlayfs: a step that writes to one of two names
//! from an earlier layer changes both.

mod identity;
mod place;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use kiln_core::Snapshot;
use rustix::fs::Mode;

use super::diff::whole;
use super::entry::Attributes;
use super::error::LayerError;
use super::layers::{Layer, Layers};
use super::rooted::Rooted;
use crate::session::ScratchDir;
use crate::store::OverlayXattrs;

pub(crate) use identity::{Identities, Identity};
pub(crate) use place::lay_out;

/// A snapshot as a directory to be written in place. Dropped, it is deleted; a commit keeps it for the next step.
#[derive(Debug)]
#[must_use]
pub struct WorkTree {
    scratch: ScratchDir,
    tree: PathBuf,
    /// What the tree shows.
    on: Snapshot,
    /// Its files as they were made: one that is still the same was not touched.
    files: Identities,
    /// Devices that could not be made here: that they are missing is no change.
    absent: HashSet<PathBuf>,
}

impl WorkTree {
    /// A copy of `snapshot`.
    pub(crate) fn make(layers: &Layers, snapshot: &Snapshot) -> Result<Self, LayerError> {
        let view = layers.view(snapshot)?;
        let scratch = layers.session().scratch_dir();
        let scratch = scratch.map_err(LayerError::io("make a directory in", layers.session().root()))?;
        let tree = scratch.path().join("tree");
        fs::create_dir(&tree).map_err(LayerError::io("make the directory", &tree))?;
        rustix::fs::chmod(&tree, Mode::from_raw_mode(0o755))
            .map_err(|errno| LayerError::io("set the mode of", &tree)(errno.into()))?;
        let laid = lay_out(&view, Path::new(""), &tree, OverlayXattrs::Plain)?;
        let mut made = Self {
            scratch,
            tree,
            on: snapshot.clone(),
            files: Identities::default(),
            absent: laid.absent.into_iter().collect(),
        };
        made.look_at(laid.files.iter().map(PathBuf::as_path))?;
        Ok(made)
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.tree
    }

    /// A directory beside it, on the same file system, that goes with it.
    pub fn beside(&self) -> &Path {
        self.scratch.path()
    }

    /// How many layers of `snapshot` this tree shows, if it shows the beginning of it.
    pub(crate) fn leads_to(&self, snapshot: &Snapshot) -> Option<usize> {
        snapshot.layers.starts_with(&self.on.layers).then_some(self.on.layers.len())
    }

    /// Brings the tree from the snapshot that it shows to `snapshot`, which begins with that one.
    pub(crate) fn advance(mut self, layers: &Layers, snapshot: &Snapshot) -> Result<Self, LayerError> {
        for id in &snapshot.layers[self.on.layers.len()..] {
            let layer = layers.get(id)?;
            let written = place::put_over(&self.tree, &*layers.view(&self.on)?, &layer)?;
            self.look_at(written.files.iter().map(PathBuf::as_path))?;
            self.absent.retain(|path| layer.manifest.get(path).is_none());
            self.absent.extend(written.absent);
            self.on = self.on.with(*id);
        }
        Ok(self)
    }

    /// Makes the directory at `path` (no links in it) and those above it that are missing; the times of others stay.
    ///
    /// # Errors
    /// Something on the way is no directory, or the file system refuses.
    pub fn make_directory(&self, path: &Path, attributes: &Attributes) -> Result<(), LayerError> {
        place::make_directory(&self.tree, path, attributes)
    }

    /// To be called right before a step: until then nobody else writes here.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn ready(&mut self) -> Result<(), LayerError> {
        self.files
            .pass(self.scratch.path())
            .map_err(LayerError::io("watch the clock of", self.scratch.path()))
    }

    /// Makes a layer of what a step has changed, and keeps the tree for the next one. Nothing writes to the tree any more, and
    /// what was put into it for the step alone is gone. `stubs` are names that were made for that and may still be there.
    ///
    /// # Errors
    /// The tree cannot be read, or the store not be written.
    pub fn commit(mut self, layers: &Layers, stubs: &[PathBuf]) -> Result<Layer, LayerError> {
        let view = layers.view(&self.on)?;
        let root = Rooted::open(&self.tree).map_err(LayerError::io("open the tree", &self.tree))?;
        let mode = OverlayXattrs::Plain;
        let step = whole::Step { mode, view: &view, files: &self.files, absent: &self.absent, stubs };
        let changed = whole::diff(&root, &step)?;
        let draft = layers.draft()?;
        let manifest = changed.write(&root, draft.writer()?)?;
        let layer = draft.commit(manifest)?;
        self.files = changed.settle(&root)?;
        self.on = self.on.with(layer.id);
        layers.keep(self);
        Ok(layer)
    }

    fn look_at<'a>(&mut self, files: impl Iterator<Item = &'a Path>) -> Result<(), LayerError> {
        let root = Rooted::open(&self.tree).map_err(LayerError::io("open the tree", &self.tree))?;
        self.files.look_at(&root, files)
    }
}
