//! A store in a directory of its own, with layers made by hand.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kiln_cache::{Attributes, ImageRecord, OverlayXattrs, Store, StoreOptions};
use kiln_core::{ContentHash, Digest, ImageConfig, LayerId, Platform, Snapshot};
use tempfile::TempDir;

/// The time that all stores of the tests see, in seconds since 1970. It only goes forward.
static NOW: AtomicU64 = AtomicU64::new(1_700_000_000);

pub(crate) struct World {
    pub(crate) dir: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    pub(crate) fn open(&self) -> Store {
        self.open_in_boot("boot 1")
    }

    pub(crate) fn open_in_boot(&self, boot: &str) -> Store {
        open(&self.root(), boot)
    }
}

pub(crate) fn open(root: &Path, boot: &str) -> Store {
    Store::open(options(root, boot)).unwrap()
}

pub(crate) fn options(root: &Path, boot: &str) -> StoreOptions {
    StoreOptions { root: root.to_owned(), xattrs: OverlayXattrs::User, boot_id: boot.to_owned(), clock: now }
}

pub(crate) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW.load(Ordering::SeqCst))
}

/// Lets the stores' clock go on.
pub(crate) fn wait(seconds: u64) {
    NOW.fetch_add(seconds, Ordering::SeqCst);
}

pub(crate) fn key(text: &str) -> ContentHash {
    ContentHash::of(text.as_bytes())
}

/// A layer with one file of `size` bytes, in its place without any lease.
pub(crate) fn layer(store: &Store, name: &str, size: usize) -> LayerId {
    let id = LayerId(key(name));
    let dir = layer_dir(store, &id);
    fs::create_dir_all(dir.join("tree")).unwrap();
    fs::write(dir.join("tree/file"), vec![b'x'; size]).unwrap();
    fs::write(dir.join("manifest"), name).unwrap();
    id
}

/// A layer as steps make them: a directory, a file, a link, a hard link.
pub(crate) fn real_layer(store: &Store, content: &str) -> LayerId {
    let draft = store.layers().draft().unwrap();
    let writer = draft.writer().unwrap();
    let attributes = |mode| Attributes { mode, ..Attributes::default() };
    writer.dir(Path::new("dir"), &attributes(0o755)).unwrap();
    writer.file(Path::new("dir/file"), &attributes(0o644), &mut content.as_bytes()).unwrap();
    writer.symlink(Path::new("link"), Path::new("dir/file"), &attributes(0o777)).unwrap();
    writer.hard_link(Path::new("other"), Path::new("dir/file")).unwrap();
    let manifest = writer.finish().unwrap();
    draft.commit(manifest).unwrap().id
}

pub(crate) fn layer_dir(store: &Store, id: &LayerId) -> PathBuf {
    store.root().join("layers").join(id.0.hex())
}

pub(crate) fn has_layer(store: &Store, id: &LayerId) -> bool {
    layer_dir(store, id).exists()
}

/// Remembers `layers` as the result of the definition and the key `name`.
pub(crate) fn remember(store: &Store, name: &str, layers: &[LayerId]) {
    let added = layers.last().copied();
    let whole = Snapshot { layers: layers.to_vec() };
    store
        .index()
        .remember(Some(&key(name)), &key(&format!("key of {name}")), added.as_slice(), &whole)
        .unwrap();
}

pub(crate) fn asked(store: &Store, name: &str) -> Option<Vec<LayerId>> {
    store.index().asked(&key(name)).unwrap().map(|snapshot| snapshot.layers)
}

pub(crate) fn image(layers: &[LayerId]) -> ImageRecord {
    ImageRecord {
        config: ImageConfig::for_platform(&Platform::new("linux", "amd64", "")),
        snapshot: Snapshot { layers: layers.to_vec() },
        origin: None,
        created: 1_700_000_000,
    }
}

pub(crate) fn put(store: &Store, bytes: &[u8]) -> Digest {
    store.blobs().put(bytes).unwrap()
}
