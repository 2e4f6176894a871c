//! The layers of a store: `layers/<id>/{tree,manifest}`.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use kiln_core::{
    Compression, ContentHash, ContentId, DiffId, LayerId, Snapshot, StableHash as _, StableHasher,
};

use super::diff::whole;
use super::draft::Draft;
use super::encoding::{self, DecodeError};
use super::error::LayerError;
use super::manifest::Manifest;
use super::pack;
use super::rooted::{Links, Rooted};
use super::unpack::{Limits, Unpacked};
use super::view::View;
use super::work::{Identities, WorkTree};
use crate::index::PackedLayer;
use crate::mounts::Taken;
use crate::session::SharedSession;
use crate::store::OverlayXattrs;

/// The layers of a store. Cheap to clone; clones share what they remember.
///
/// ```text
/// layers/<id>/tree        the files, a lower directory of overlayfs as it stands: whiteouts are 0:0 devices, no
///                         directory is opaque
/// layers/<id>/manifest    every entry of the tree; <id> is its BLAKE3
/// ```
///
/// **Invariant:** a directory under `layers/` is complete, and nothing in its tree is ever changed. A tree holds
/// exactly what its manifest lists.
#[derive(Debug, Clone)]
pub struct Layers {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    session: SharedSession,
    xattrs: OverlayXattrs,
    memo: Mutex<Memo>,
    /// Trees that the next step may go on with.
    idle: Mutex<Vec<WorkTree>>,
}

/// What was read before. Manifests of a big image take tens of megabytes, so it is emptied when it grows.
#[derive(Debug, Default)]
struct Memo {
    layers: HashMap<LayerId, Layer>,
    views: HashMap<Snapshot, Arc<View>>,
    contents: HashMap<LayerId, ContentId>,
    entries: usize,
}

/// As many entries as are remembered, of all manifests together: about 60 MB.
const REMEMBERED: usize = 300_000;

/// As many views as are remembered: each lists its layers, of which there may be a thousand.
const VIEWS: usize = 64;

/// As many trees as wait for a further step: each is a whole root file system.
const IDLE: usize = 2;

/// A finished layer. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Who it is.
    pub id: LayerId,
    /// What it means to a build.
    pub content: ContentId,
    /// What is in it.
    pub manifest: Arc<Manifest>,
    tree: Arc<Tree>,
}

/// The directory of a layer's files, opened when first asked for.
#[derive(Debug)]
struct Tree {
    path: PathBuf,
    open: OnceLock<Rooted>,
}

impl Layers {
    pub(crate) fn new(session: SharedSession, xattrs: OverlayXattrs) -> Self {
        Self { shared: Arc::new(Shared { session, xattrs, memo: Mutex::default(), idle: Mutex::default() }) }
    }

    /// A new empty tree, to become a layer.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn draft(&self) -> Result<Draft, LayerError> {
        Draft::new(self.clone())
    }

    /// Whether the layer is there. From then on no garbage collection takes it while this process lives.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn contains(&self, id: &LayerId) -> Result<bool, LayerError> {
        let has = self.shared.session.has_layers(&[*id]);
        has.map_err(LayerError::io("look for the layer", self.directory(id)))
    }

    /// The layer of this id.
    ///
    /// # Errors
    /// It is not there, or damaged.
    pub fn get(&self, id: &LayerId) -> Result<Layer, LayerError> {
        if let Some(layer) = self.memo().layers.get(id) {
            return Ok(layer.clone());
        }
        let path = self.directory(id);
        let held = self.shared.session.hold_layers(&[*id]);
        held.map_err(LayerError::io("hold the layer", &path))?;
        let file = path.join("manifest");
        let bytes = match fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(LayerError::Missing(*id)),
            Err(error) => return Err(LayerError::io("read the manifest", file)(error)),
        };
        let decoded = Manifest::decode(&bytes, id);
        let (manifest, content) = decoded.map_err(|cause| LayerError::Damaged { id: *id, cause })?;
        let layer = Layer::new(*id, content, manifest, path.join("tree"));
        self.remember(&layer);
        Ok(layer)
    }

    /// A draft in `place`, a directory on the store's file system, which stays when the draft is dropped.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn draft_in(&self, place: PathBuf) -> Result<Draft, LayerError> {
        Draft::within(self.clone(), place)
    }

    /// A snapshot as one file system.
    ///
    /// # Errors
    /// One of its layers is not there, or damaged.
    pub fn view(&self, snapshot: &Snapshot) -> Result<Arc<View>, LayerError> {
        if let Some(view) = self.memo().views.get(snapshot) {
            return Ok(Arc::clone(view));
        }
        let layers: Vec<Layer> =
            snapshot.mountable().iter().map(|id| self.get(id)).collect::<Result<_, _>>()?;
        let view = Arc::new(View::new(layers));
        let mut memo = self.memo();
        if memo.views.len() >= VIEWS {
            memo.views.clear();
        }
        memo.views.insert(snapshot.clone(), Arc::clone(&view));
        Ok(view)
    }

    /// One layer that stands for all of `layers` (bottom first) at the bottom of a stack: a mount has room for 500, and a
    /// lookup costs a little for each. Files are linked, not copied.
    ///
    /// # Errors
    /// One of them is not there or damaged, or the store cannot be written.
    pub fn flatten(&self, layers: &Snapshot) -> Result<Layer, LayerError> {
        super::flatten::flatten(self, layers)
    }

    /// What a snapshot means to a build: the digest of its layers' content ids. It reads 48 bytes a layer.
    ///
    /// # Errors
    /// One of its layers is not there, or has no manifest.
    pub fn content(&self, snapshot: &Snapshot) -> Result<ContentHash, LayerError> {
        let ids: Vec<ContentId> =
            snapshot.layers.iter().map(|id| self.content_id(id)).collect::<Result<_, _>>()?;
        let mut hasher = StableHasher::new("kiln snapshot 1");
        ids.stable_hash(&mut hasher);
        Ok(hasher.finish())
    }

    /// Takes another's word for what a layer means to a build, so that keys can be made before its files are here.
    pub fn know_content(&self, id: &LayerId, content: ContentId) {
        self.memo().contents.entry(*id).or_insert(content);
    }

    /// What a layer means to a build.
    ///
    /// # Errors
    /// It is not there, or has no manifest.
    pub fn content_id(&self, id: &LayerId) -> Result<ContentId, LayerError> {
        if let Some(content) = self.memo().contents.get(id) {
            return Ok(*content);
        }
        let path = self.directory(id).join("manifest");
        let mut head = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(encoding::HEAD as u64).read_to_end(&mut head));
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(LayerError::Missing(*id)),
            Err(error) => return Err(LayerError::io("read the manifest", path)(error)),
        }
        let content = encoding::decode_head(&head)
            .map_err(|cause: DecodeError| LayerError::Damaged { id: *id, cause })?;
        self.memo().contents.insert(*id, content);
        Ok(content)
    }

    /// Unpacks an image's layer, already decompressed, while it streams in. Nothing in the archive can lead out of the
    /// tree. The layers below need not be known until [`Unpacked::commit`].
    ///
    /// # Errors
    /// A hostile or truncated archive, or the store cannot be written.
    pub fn unpack(&self, archive: impl io::Read + Send, limits: Limits) -> Result<Unpacked, LayerError> {
        super::unpack::unpack(self.draft()?, archive, limits)
    }

    /// Writes the layer as a tar, compressed: the same bytes for the same arguments, whatever the number of
    /// processors. With `epoch`, later times are set to it (seconds).
    ///
    /// # Errors
    /// The layer is not there or damaged, or `into` fails.
    pub fn pack(
        &self,
        id: &LayerId,
        compression: Compression,
        epoch: Option<i64>,
        into: impl Write + Send,
    ) -> Result<PackedLayer, LayerError> {
        pack::pack(&self.get(id)?, compression, epoch, into)
    }

    /// As [`Layers::pack`], into an eStargz blob; gives the digest of its table of contents too.
    ///
    /// # Errors
    /// As there.
    pub fn pack_estargz(
        &self,
        id: &LayerId,
        level: Option<i32>,
        epoch: Option<i64>,
        into: impl Write,
    ) -> Result<(PackedLayer, kiln_core::Digest), LayerError> {
        pack::pack_estargz(&self.get(id)?, level, epoch, into)
    }

    /// The digest of the layer's tar, which is hashed and written nowhere.
    ///
    /// # Errors
    /// The layer is not there or damaged.
    pub fn diff_id(&self, id: &LayerId, epoch: Option<i64>) -> Result<DiffId, LayerError> {
        pack::diff_id(&self.get(id)?, epoch)
    }

    /// When the layer was made on this machine.
    ///
    /// # Errors
    /// It is not there.
    pub fn created(&self, id: &LayerId) -> Result<SystemTime, LayerError> {
        let path = self.directory(id).join("manifest");
        match fs::metadata(&path).and_then(|metadata| metadata.modified()) {
            Ok(time) => Ok(time),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(LayerError::Missing(*id)),
            Err(error) => Err(LayerError::io("look at the manifest", path)(error)),
        }
    }

    /// A snapshot as a directory to be written in place. If a step has left one that shows it, or the beginning of it, that one
    /// is taken and brought up to date; otherwise everything is copied.
    ///
    /// # Errors
    /// One of its layers is not there or damaged, or the store cannot be written.
    pub fn work_tree(&self, snapshot: &Snapshot) -> Result<WorkTree, LayerError> {
        let idle = {
            let mut idle = self.idle();
            let best =
                idle.iter().enumerate().filter_map(|(at, tree)| Some((tree.leads_to(snapshot)?, at))).max();
            best.map(|(_, at)| idle.remove(at))
        };
        match idle {
            Some(tree) => tree.advance(self, snapshot),
            None => WorkTree::make(self, snapshot),
        }
    }

    /// Copies what `view` shows at `path` into the empty directory `into`: a directory's content, anything else under its
    /// own name.
    ///
    /// # Errors
    /// A layer cannot be read, or `into` not be written.
    pub fn lay_out(&self, view: &View, path: &Path, into: &Path) -> Result<(), LayerError> {
        super::work::lay_out(view, path, into, self.xattrs()).map(drop)
    }

    /// A directory of the store, as it is, as a layer on `below`: every file is read, and what is not in it is taken away.
    ///
    /// # Errors
    /// It cannot be read, a layer of `below` is not there, or the store cannot be written.
    pub(crate) fn take(&self, directory: &Path, below: &Snapshot) -> Result<Taken, LayerError> {
        let (view, root) = (self.view(below)?, Rooted::open(directory));
        let root = root.map_err(LayerError::io("open the directory", directory))?;
        let (files, absent) = (Identities::default(), HashSet::new());
        let step =
            whole::Step { mode: self.xattrs(), view: &view, files: &files, absent: &absent, stubs: &[] };
        let changed = whole::diff(&root, &step)?;
        if changed.hides() {
            return Ok(Taken::Hides);
        }
        if changed.is_nothing() {
            return Ok(Taken::Same);
        }
        let draft = self.draft()?;
        let manifest = changed.write(&root, draft.writer()?)?;
        Ok(Taken::Layer(draft.commit(manifest)?))
    }

    /// Keeps a tree for the step that comes after.
    pub(crate) fn keep(&self, tree: WorkTree) {
        let mut idle = self.idle();
        if idle.len() >= IDLE {
            drop(idle.remove(0));
        }
        idle.push(tree);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<WorkTree>> {
        self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How overlayfs keeps its own attributes in this store.
    pub fn xattrs(&self) -> OverlayXattrs {
        self.shared.xattrs
    }

    pub(crate) fn session(&self) -> &SharedSession {
        &self.shared.session
    }

    pub(crate) fn directory(&self, id: &LayerId) -> PathBuf {
        self.shared.session.layer_dir(id)
    }

    pub(crate) fn remember(&self, layer: &Layer) {
        let mut memo = self.memo();
        memo.entries += layer.manifest.entries().len();
        if memo.entries > REMEMBERED {
            *memo = Memo { entries: layer.manifest.entries().len(), ..Memo::default() };
        }
        memo.contents.insert(layer.id, layer.content);
        memo.layers.insert(layer.id, layer.clone());
    }

    /// Forgets what was read of layers, for example because they were removed.
    pub(crate) fn forget(&self) {
        *self.memo() = Memo::default();
    }

    fn memo(&self) -> MutexGuard<'_, Memo> {
        self.shared.memo.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Layer {
    pub(crate) fn new(id: LayerId, content: ContentId, manifest: Manifest, tree: PathBuf) -> Self {
        let tree = Arc::new(Tree { path: tree, open: OnceLock::new() });
        Self { id, content, manifest: Arc::new(manifest), tree }
    }

    /// The directory of its files, for a mount. Nothing may be written there.
    pub fn tree(&self) -> &Path {
        &self.tree.path
    }

    /// Opens one of its files.
    ///
    /// # Errors
    /// Those of `openat2`.
    pub fn open(&self, path: &Path) -> Result<File, LayerError> {
        self.rooted()?.file(path, Links::Refused).map_err(LayerError::io("open the layer's file", path))
    }

    pub(crate) fn rooted(&self) -> Result<&Rooted, LayerError> {
        if let Some(open) = self.tree.open.get() {
            return Ok(open);
        }
        let open =
            Rooted::open(&self.tree.path).map_err(LayerError::io("open the layer", &self.tree.path))?;
        Ok(self.tree.open.get_or_init(|| open))
    }
}
