//! The store as the exporter reads it: blobs, and a snapshot as a tree of files. And images of the store, ready for export.

use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_cache::{ImageRecord, Kind, Store, View};
use kiln_core::Digest;
use kiln_exporter::{
    AssembleOptions, BlobRead, BlobReadError, ExportError, FileTree, Image, MediaTypes, TreeEntry, TreeKind,
    assemble,
};

use crate::error::CommandError;
use crate::local;
use crate::output::LayerOptions;
use crate::pack::pack;
use crate::uplink::Uplink;

/// The store's blobs.
pub(crate) struct StoreBlobs {
    store: Store,
}

impl StoreBlobs {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }
}

impl BlobRead for StoreBlobs {
    fn open(&self, digest: &Digest) -> Result<Box<dyn Read + Send>, BlobReadError> {
        self.open_at(digest, 0)
    }

    fn open_at(&self, digest: &Digest, offset: u64) -> Result<Box<dyn Read + Send>, BlobReadError> {
        let failed = |cause| BlobReadError::Io { digest: *digest, cause };
        let opened = self.store.blobs().open(digest).map_err(|error| failed(io::Error::other(error)))?;
        let mut file = opened.ok_or(BlobReadError::Missing(*digest))?;
        file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        Ok(Box::new(file))
    }
}

/// A snapshot without its layers.
pub(crate) struct StoreTree {
    view: Arc<View>,
}

impl StoreTree {
    pub(crate) fn new(view: Arc<View>) -> Self {
        Self { view }
    }
}

impl FileTree for StoreTree {
    fn visit(&self, visit: &mut dyn FnMut(&TreeEntry) -> Result<(), ExportError>) -> Result<(), ExportError> {
        // The first name of a file whose names are linked; within one layer, as layers are.
        let mut first: HashMap<(usize, PathBuf), PathBuf> = HashMap::new();
        for found in self.view.walk(Path::new("")) {
            let entry = found.entry();
            let layer = found.layer().map_or(0, |layer| std::ptr::from_ref(&*layer.manifest).addr());
            let target = found.target();
            let linked = first.get(&(layer, target.path.clone())).cloned();
            if linked.is_none() && !matches!(entry.kind, Kind::Dir) {
                first.insert((layer, target.path.clone()), entry.path.clone());
            }
            let kind = match (&target.kind, linked) {
                (Kind::Whiteout, _) => continue,
                (Kind::Dir, _) => TreeKind::Dir,
                (_, Some(to)) => TreeKind::HardLink { to },
                (Kind::File(content), None) => TreeKind::File { size: content.size },
                (Kind::Symlink { target }, None) => TreeKind::Symlink { target: target.clone() },
                (Kind::Char(device), None) => TreeKind::Char(device.major, device.minor),
                (Kind::Block(device), None) => TreeKind::Block(device.major, device.minor),
                (Kind::Fifo, None) => TreeKind::Fifo,
                // The target of a link is never a link.
                (Kind::HardLink { .. }, None) => continue,
            };
            let attributes = &target.attributes;
            visit(&TreeEntry {
                path: entry.path.clone(),
                kind,
                mode: attributes.mode,
                uid: attributes.uid,
                gid: attributes.gid,
                mtime: (attributes.mtime.seconds, attributes.mtime.nanoseconds),
                xattrs: attributes.xattrs.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
            })?;
        }
        Ok(())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        let found = self.view.lookup(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(self.view.open(&found).map_err(io::Error::other)?))
    }
}

/// An image of the store with its layers as blobs. One from outside keeps its documents, and so its digest, unless its
/// layers are to be compressed otherwise.
///
/// # Errors
/// If a layer cannot be packed.
pub(crate) fn stored_image(
    store: &Store,
    record: &ImageRecord,
    layers: &LayerOptions,
    media_types: MediaTypes,
    uplink: Option<&Uplink>,
) -> Result<Image, CommandError> {
    if let (Some(origin), None) = (&record.origin, layers.compression)
        && let Some(manifest) = store.blobs().read(&origin.manifest)?
        && let Some(config) = store.blobs().read(&origin.config)?
    {
        let image = Image::from_documents(manifest, config)?;
        let mut whole = true;
        for layer in &image.layers {
            let digest = layer.descriptor.digest().to_string().parse::<Digest>();
            whole &= digest.is_ok_and(|digest| store.blobs().contains(&digest).unwrap_or(false));
        }
        if whole {
            return Ok(image);
        }
    }
    let foreign = if record.origin.is_some() { record.snapshot.layers.len() } else { 0 };
    let packed = pack(store, &record.snapshot, foreign, layers, None, uplink, None)?;
    let options = AssembleOptions {
        now: i128::from(record.created) * 1_000_000_000,
        epoch: None,
        media_types,
        annotations: std::collections::BTreeMap::new(),
        descriptor_annotations: std::collections::BTreeMap::new(),
    };
    Ok(assemble(local::full_config(store, record)?, packed, &options)?)
}
