//! A layer in the making.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kiln_core::{LayerId, Snapshot};
use rustix::fs::{CWD, FileType, Gid, Mode, RenameFlags, Timespec, Timestamps, Uid, renameat_with};
use rustix::io::Errno;

use super::diff;
use super::encoding::Encoded;
use super::error::LayerError;
use super::layers::{Layer, Layers};
use super::manifest::Manifest;
use super::owner::OwnerRecord;
use super::writer::TreeWriter;
use crate::session::ScratchDir;
use crate::store::OverlayXattrs;

/// A tree of its own under `tmp/`. Dropped, it is deleted; only a commit makes a layer of it.
///
/// ```text
/// tmp/<session>/<n>/layer/tree        becomes layers/<id>/tree
/// tmp/<session>/<n>/layer/manifest    written by the commit
/// tmp/<session>/<n>/work              overlayfs's, deleted with the draft
/// ```
#[derive(Debug)]
#[must_use]
pub struct Draft {
    layers: Layers,
    place: PathBuf,
    /// None: the place is somebody else's, and stays.
    _scratch: Option<ScratchDir>,
    tree: PathBuf,
    work: PathBuf,
}

impl Draft {
    pub(crate) fn new(layers: Layers) -> Result<Self, LayerError> {
        let scratch = layers.session().scratch_dir();
        let scratch = scratch.map_err(LayerError::io("make a directory in", layers.session().root()))?;
        Self::furnish(layers, scratch.path().to_owned(), Some(scratch))
    }

    /// One in a directory of the caller's on the store's file system, which is not deleted with it: a container's.
    pub(crate) fn within(layers: Layers, place: PathBuf) -> Result<Self, LayerError> {
        Self::furnish(layers, place, None)
    }

    fn furnish(layers: Layers, place: PathBuf, scratch: Option<ScratchDir>) -> Result<Self, LayerError> {
        let tree = place.join("layer/tree");
        let work = place.join("work");
        for directory in [&tree, &work] {
            fs::create_dir_all(directory).map_err(LayerError::io("make the directory", directory))?;
        }
        // Whatever the umask: this directory is what a mount shows as the root.
        rustix::fs::chmod(&tree, Mode::from_raw_mode(0o755))
            .map_err(|errno| LayerError::io("set the mode of", &tree)(errno.into()))?;
        Ok(Self { layers, place, _scratch: scratch, tree, work })
    }

    /// The directory of the files: the upper directory of a mount, or what [`Draft::writer`] fills.
    pub fn tree(&self) -> &Path {
        &self.tree
    }

    /// The empty work directory for an overlay mount.
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// The layers that it will be one of.
    pub fn layers(&self) -> &Layers {
        &self.layers
    }

    /// Gives the root of the tree the owner, mode and time that `base` has there: in a mount, the upper directory's
    /// are the ones that are seen.
    ///
    /// # Errors
    /// `base` is not in the store, or its owner cannot be set here.
    pub fn take_root_from(&self, base: &Snapshot) -> Result<(), LayerError> {
        let view = self.layers.view(base)?;
        let root = &view.root().entry().attributes;
        let failed = |errno: Errno| LayerError::io("set owner, mode and time of", &self.tree)(errno.into());
        if self.layers.xattrs() == OverlayXattrs::Recorded {
            let record = OwnerRecord::new(root.uid, root.gid);
            record.write(&self.tree, FileType::Directory, true).map_err(failed)?;
        } else {
            let owner = (Some(Uid::from_raw(root.uid)), Some(Gid::from_raw(root.gid)));
            rustix::fs::chown(&self.tree, owner.0, owner.1).map_err(failed)?;
        }
        rustix::fs::chmod(&self.tree, Mode::from_raw_mode(root.mode)).map_err(failed)?;
        let time = Timespec { tv_sec: root.mtime.seconds, tv_nsec: i64::from(root.mtime.nanoseconds) };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, &self.tree, &times, rustix::fs::AtFlags::empty()).map_err(failed)
    }

    /// A writer into the tree, which records what it writes.
    ///
    /// # Errors
    /// The tree cannot be opened.
    pub fn writer(&self) -> Result<TreeWriter, LayerError> {
        TreeWriter::new(&self.tree, self.layers.xattrs())
    }

    /// Makes a layer of the tree as [`TreeWriter::finish`] has described it.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn commit(self, manifest: Manifest) -> Result<Layer, LayerError> {
        let Encoded { bytes, id, content } = manifest.encode();
        let place = self.layers.directory(&id);
        let half_made = self.place.join("layer");
        let file = half_made.join("manifest");
        fs::write(&file, bytes).map_err(LayerError::io("write the manifest", file))?;
        let held = self.layers.session().hold_layers(&[id]);
        held.map_err(LayerError::io("hold the layer", &place))?;
        self.put(&half_made, &place, &id)?;
        let layer = Layer::new(id, content, manifest, place.join("tree"));
        self.layers.remember(&layer);
        Ok(layer)
    }

    /// Makes a layer of what a step has changed in a mount of this tree over `base`. The mount is gone and nothing
    /// writes to the tree any more. `stubs` are mount points that were made in it for the step, with the parents that
    /// were missing: they are left out unless the step has put something of its own into them.
    ///
    /// # Errors
    /// The tree cannot be read or changed, `base` is not in the store, or the store cannot be written.
    pub fn commit_upper(self, base: &Snapshot, stubs: &[PathBuf]) -> Result<Layer, LayerError> {
        let view = self.layers.view(base)?;
        let manifest = diff::diff(&self.tree, self.layers.xattrs(), &view, stubs)?;
        self.commit(manifest)
    }

    /// Moves the layer to its place, unless the same one is there already.
    fn put(&self, half_made: &Path, place: &Path, id: &LayerId) -> Result<(), LayerError> {
        let moved = || renameat_with(CWD, half_made, CWD, place, RenameFlags::NOREPLACE);
        let failed = |errno: Errno| LayerError::io("move a layer to", place)(io::Error::from(errno));
        match moved() {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => match self.layers.get(id) {
                Ok(_) => Ok(()),
                // What lies there is damaged or was just taken away: the new one is good.
                Err(LayerError::Damaged { .. } | LayerError::Missing(_)) => {
                    let trashed = self.layers.session().trash().put(place);
                    trashed.map_err(LayerError::io("move the damaged layer from", place))?;
                    moved().map_err(failed)
                }
                Err(error) => Err(error),
            },
            Err(errno) => Err(failed(errno)),
        }
    }
}
