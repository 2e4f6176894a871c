//! What a process stands on: the layers of a snapshot and what it writes over them.

use std::path::PathBuf;

use kiln_cache::{Attributes, Draft, Layer, LayerError, Layers, Links, OverlayXattrs, Store, View, WorkTree};
use kiln_core::Snapshot;

use super::make_directory;
use crate::error::ExecutorError;
use crate::process::User;
use crate::sandbox::{Tree, Writable};

/// A root file system to be written to. Dropped, what was written is gone.
#[derive(Debug)]
#[must_use]
pub enum Ground {
    /// An upper directory over the layers.
    Stacked {
        /// Takes the changes.
        draft: Draft,
        /// Below it, bottom first.
        lowers: Vec<PathBuf>,
    },
    /// A copy of the snapshot, where layers cannot be stacked.
    Plain(WorkTree),
}

impl Ground {
    /// The root of `snapshot`, in which the directory `cwd` is made for `user` if it is missing. `bottom` is a directory below
    /// all layers, if there is one.
    ///
    /// # Errors
    /// If the store cannot be read or written.
    pub fn new(
        store: &Store,
        snapshot: &Snapshot,
        (cwd, user): (&str, &User),
        bottom: Option<PathBuf>,
    ) -> Result<Self, ExecutorError> {
        let layers = store.layers();
        let view = layers.view(snapshot)?;
        if layers.xattrs() == OverlayXattrs::Plain {
            let mut work = layers.work_tree(snapshot)?;
            if let Some(path) = missing(&view, cwd) {
                let own = Attributes { mode: 0o755, uid: user.uid, gid: user.gid, ..Attributes::default() };
                work.make_directory(&path, &own)?;
            }
            work.ready()?;
            return Ok(Self::Plain(work));
        }
        let draft = layers.draft()?;
        draft.take_root_from(snapshot)?;
        make_directory(&draft, &view, cwd, user)?;
        let stack = store.stack(snapshot)?;
        let trees = stack.iter().map(|layer| layer.tree().to_path_buf());
        Ok(Self::Stacked { draft, lowers: bottom.into_iter().chain(trees).collect() })
    }

    /// For the sandbox.
    pub fn tree(&self) -> Tree {
        match self {
            Self::Stacked { draft, lowers } => {
                let upper = Writable { upper: draft.tree().to_path_buf(), work: draft.work().to_path_buf() };
                Tree::Overlay { lowers: lowers.clone(), upper: Some(upper) }
            }
            Self::Plain(work) => Tree::Directory(work.path().to_path_buf()),
        }
    }

    /// Makes a layer over `base` of what was written.
    pub(crate) fn commit(
        self,
        layers: &Layers,
        base: &Snapshot,
        stubs: &[PathBuf],
    ) -> Result<Layer, LayerError> {
        match self {
            Self::Stacked { draft, .. } => draft.commit_upper(base, stubs),
            Self::Plain(work) => work.commit(layers, stubs),
        }
    }
}

/// The directory, links followed, if it is not there.
fn missing(view: &View, path: &str) -> Option<PathBuf> {
    let resolved = view.resolve(path.as_ref(), Links::Followed).ok()?;
    resolved.found.is_none().then_some(resolved.path)
}
