//! Sources that are wanted before a build has steps: a remote build context, or something whose time is the build's.

use std::fs::File;
use std::path::{Path, PathBuf};

use kiln_cache::{ScratchDir, Store};
use kiln_core::{ContentHash, GitSource, HttpSource, StableHash as _, StableHasher};
use kiln_registry::Client;

use super::{GitOptions, Repository, SourceError, download};
use crate::error::ExecutorError;

/// Fetches files and repositories.
#[derive(Debug, Clone)]
pub struct Remote {
    store: Store,
    client: Client,
    git: GitOptions,
}

/// The files of a commit, until this is dropped.
#[derive(Debug)]
pub struct Checkout {
    root: PathBuf,
    time: i64,
    _scratch: ScratchDir,
}

impl Checkout {
    /// The directory that was asked for.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The commit's time in seconds since 1970.
    pub fn time(&self) -> i64 {
        self.time
    }
}

/// A file from a web server.
#[derive(Debug)]
pub struct Fetched {
    /// Its bytes.
    pub file: File,
    /// Last-Modified in seconds since 1970, if the server tells.
    pub modified: Option<i64>,
}

impl Remote {
    /// Keeps what it fetches in `store`.
    pub fn new(store: Store, client: Client, git: GitOptions) -> Self {
        Self { store, client, git }
    }

    /// Fetches a file, or finds that the one in the store is still right.
    ///
    /// # Errors
    /// If it cannot be fetched, or does not have its checksum.
    pub async fn fetch(&self, source: &HttpSource) -> Result<Fetched, ExecutorError> {
        let download = download(&self.store, &self.client, source, None).await?;
        let path = self.store.blobs().path(&download.blob);
        let missing = || SourceError::Layout { path, cause: std::io::ErrorKind::NotFound.into() };
        let file = self.store.blobs().open(&download.blob).map_err(SourceError::from)?.ok_or_else(missing)?;
        Ok(Fetched { file, modified: Some(download.mtime).filter(|seconds| *seconds != 0) })
    }

    /// Checks a repository out. This blocks.
    ///
    /// # Errors
    /// If git fails, or the reference or sub-directory is not there.
    pub fn checkout(&self, source: &GitSource) -> Result<Checkout, ExecutorError> {
        let mirror = mirror(&self.store, source)?;
        let _alone = self.store.lock(&lock_name(source)).map_err(SourceError::from)?;
        let scratch = self.store.scratch_dir().map_err(SourceError::from)?;
        let repository = Repository { source, options: &self.git, mirror: &mirror };
        let (root, time) = repository.checkout(&repository.commit()?, scratch.path())?;
        Ok(Checkout { root, time, _scratch: scratch })
    }
}

/// The lock of a repository's mirror. A remote may hold a password, which is for no file's name.
pub(crate) fn lock_name(git: &GitSource) -> String {
    format!("git {}", ContentHash::of(git.remote.as_bytes()))
}

/// Where the store keeps what was fetched of a repository.
pub(crate) fn mirror(store: &Store, git: &GitSource) -> Result<PathBuf, ExecutorError> {
    let mut hasher = StableHasher::new("kiln git mirror 1");
    git.remote.stable_hash(&mut hasher);
    let key = hasher.finish();
    store
        .describe_mount(&key, &format!("git {}", kiln_core::redact(&git.remote)))
        .map_err(SourceError::from)?;
    Ok(store.cache_mount(&key).map_err(SourceError::from)?.join("git"))
}
