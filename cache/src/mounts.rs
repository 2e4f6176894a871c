//! `RUN --mount=type=cache`: directories that outlive builds, and how they become layers, to go to other machines.
//!
//! ```text
//! mounts/<key>/data     what steps are shown
//! ```
//! The key is its user's; the store knows that and what people call it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kiln_core::{ContentHash, Snapshot};

use crate::layer::{Layer, LayerError};
use crate::lock::{FileLock, LockMode};
use crate::session::Held;
use crate::store::{Store, StoreError};

/// A cache that has been used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedMount {
    /// Whose content and form it is.
    pub key: ContentHash,
    /// What people call it.
    pub about: String,
}

/// What a cache mount became.
#[derive(Debug)]
pub enum Taken {
    /// The layer has nothing that those below do not have.
    Same,
    /// A layer more.
    Layer(Layer),
    /// It holds what was changed of a content that came from elsewhere, and something of that was removed.
    Hides,
}

impl Store {
    /// The directory of a cache mount, made if it is not there, held for the life of this process.
    pub fn cache_mount(&self, key: &ContentHash) -> Result<PathBuf, StoreError> {
        let path = self.mount_directory(key);
        let held = self.session().hold([Held::Mount(*key)]);
        held.and_then(|()| fs::create_dir_all(&path)).map_err(StoreError::io("make", &path))?;
        Ok(path)
    }

    /// Notes what people call a cache mount, and that it is used now.
    pub fn describe_mount(&self, key: &ContentHash, about: &str) -> Result<(), StoreError> {
        Ok(self.index().set_mount(key, about)?)
    }

    /// Waits until the cache mount can be used in this way. Blocks the thread.
    pub fn lock_cache_mount(&self, key: &ContentHash, mode: LockMode) -> Result<FileLock, StoreError> {
        self.lock_as(&lock_name(key), mode)
    }

    /// Takes the cache mount for this process alone, if nobody uses it.
    pub fn try_lock_cache_mount(&self, key: &ContentHash) -> Result<Option<FileLock>, StoreError> {
        self.try_lock(&lock_name(key))
    }

    /// The cache mounts that hold something, by name.
    pub fn cache_mounts(&self) -> Result<Vec<UsedMount>, StoreError> {
        let mut mounts = self.index().mounts()?;
        mounts.retain(|mount| self.has_cache_mount(&mount.key));
        mounts.sort_by(|a, b| (&a.about, a.key.as_bytes()).cmp(&(&b.about, b.key.as_bytes())));
        Ok(mounts)
    }

    /// Whether the cache mount was ever used here.
    pub fn has_cache_mount(&self, key: &ContentHash) -> bool {
        self.mount_directory(key).join("data").is_dir()
    }

    /// The cache mount as a layer on `below`, its names below `data`. Nobody else uses it meanwhile.
    ///
    /// # Errors
    /// It cannot be read, a layer of `below` is not there, or the store cannot be written.
    pub fn take_cache_mount(&self, key: &ContentHash, below: &Snapshot) -> Result<Taken, LayerError> {
        self.layers().take(&self.mount_directory(key), below)
    }

    /// Puts what `snapshot` shows in the place of the cache mount. Nobody else uses it meanwhile.
    ///
    /// # Errors
    /// The layers cannot be read, or the store cannot be written.
    pub fn put_cache_mount(&self, mount: &UsedMount, snapshot: &Snapshot) -> Result<(), StoreError> {
        let directory = self.cache_mount(&mount.key)?;
        let scratch = self.scratch_dir()?;
        let layers = self.layers();
        let laid_out =
            layers.view(snapshot).and_then(|view| layers.lay_out(&view, Path::new(""), scratch.path()));
        laid_out.map_err(|error| StoreError::io("lay out", &directory)(io::Error::other(error)))?;
        let data = directory.join("data");
        if data.exists() {
            self.discard(&data)?;
        }
        fs::rename(scratch.path().join("data"), &data).map_err(StoreError::io("make", &data))?;
        self.describe_mount(&mount.key, &mount.about)
    }

    fn mount_directory(&self, key: &ContentHash) -> PathBuf {
        self.root().join("mounts").join(key.hex())
    }
}

fn lock_name(key: &ContentHash) -> String {
    format!("mount-{key}")
}
