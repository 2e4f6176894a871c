//! `RUN --mount=type=cache`: directories of the store that outlive builds.
//!
//! ```text
//! mounts/<key>/data     the cache; what changed of its first content, if that comes from an input
//! ```
//! The key is of the id, the owner and mode of a new cache, and the content that it begins with: what differs in one of them is
//! another cache.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use kiln_cache::{FileLock, LockMode, OverlayXattrs, StoreError};
use kiln_core::{CacheMount, ContentHash, Exec, MountKind, Sharing, StableHash as _, StableHasher};

use super::mounts::{Mounted, lay_out, snapshot};
use super::{mounted_content, trees};
use crate::error::ExecutorError;
use crate::executor::{Inner, Value};
use crate::sandbox::{GraftSource, Tree, Writable};

/// The locks of a step's caches.
pub(super) type Held = BTreeMap<ContentHash, FileLock>;

/// Locks all caches of a step in the order of their keys, so that two steps cannot wait for each other.
pub(super) fn lock_all(
    inner: &Inner,
    exec: &Exec,
    inputs: &[Value],
    mounted: &mut Mounted,
) -> Result<(), ExecutorError> {
    let mut wanted: BTreeMap<ContentHash, Sharing> = BTreeMap::new();
    for mount in &exec.mounts {
        let MountKind::Cache(cache) = &mount.kind else { continue };
        if cache.sharing != Sharing::Private {
            let strictest = wanted.entry(key(inner, cache, inputs, 0)?).or_default();
            *strictest = (*strictest).max(cache.sharing);
        }
    }
    for (key, sharing) in wanted {
        // What is moved into a step's root is in one place at a time.
        let moved = inner.services.store.xattrs() == OverlayXattrs::Plain;
        let mode = if moved || sharing == Sharing::Locked { LockMode::Exclusive } else { LockMode::Shared };
        mounted.hold(key, inner.services.store.lock_cache_mount(&key, mode)?);
    }
    Ok(())
}

/// The directory of one cache, made if it is new.
pub(super) fn source(
    inner: &Inner,
    cache: &CacheMount,
    inputs: &[Value],
    mounted: &mut Mounted,
) -> Result<GraftSource, ExecutorError> {
    let store = &inner.services.store;
    let plain = store.xattrs() == OverlayXattrs::Plain;
    let mut number = 0;
    let key = loop {
        let key = key(inner, cache, inputs, number)?;
        if cache.sharing != Sharing::Private {
            break key;
        }
        // A private cache that somebody uses: the next one.
        if !mounted.holds(&key)
            && let Some(lock) = store.try_lock_cache_mount(&key)?
        {
            mounted.hold(key, lock);
            break key;
        }
        number += 1;
    };
    let directory = store.cache_mount(&key)?;
    store.describe_mount(&key, &cache.id)?;
    let data = directory.join("data");
    if !data.exists() {
        // Another step or process may make it at the same time: each its own, and the first to rename wins.
        let scratch = store.scratch_dir()?;
        let half = scratch.path().join("data");
        make(&half)?;
        if let (Some(input), true) = (cache.input, plain) {
            lay_out(inner, snapshot(inputs, input)?, &cache.source, &half)?;
        }
        let failed = failed(&half);
        store.own(&half, cache.access.uid, cache.access.gid)?;
        std::fs::set_permissions(&half, Permissions::from_mode(cache.access.mode)).map_err(&failed)?;
        // Another process may have been faster.
        if let Err(error) = std::fs::rename(&half, &data)
            && !data.exists()
        {
            return Err(failed(error).into());
        }
    }
    match cache.input {
        // Its first content was copied into it when it was made.
        Some(_) if plain => Ok(GraftSource::Tree { tree: Tree::Directory(data), path: "/".to_owned() }),
        None => Ok(GraftSource::Tree { tree: Tree::Directory(data), path: rooted(&cache.source) }),
        Some(input) => {
            let lowers = trees(inner, snapshot(inputs, input)?)?;
            // overlayfs uses a work directory once.
            let scratch = store.scratch_dir()?;
            let work = scratch.path().join("work");
            make(&work)?;
            mounted.keep(scratch);
            let tree = Tree::Overlay { lowers, upper: Some(Writable { upper: data, work }) };
            Ok(GraftSource::Tree { tree, path: rooted(&cache.source) })
        }
    }
}

fn rooted(path: &str) -> String {
    kiln_core::path::clean(&format!("/{path}"))
}

fn key(
    inner: &Inner,
    cache: &CacheMount,
    inputs: &[Value],
    number: u64,
) -> Result<ContentHash, ExecutorError> {
    let mut hasher = StableHasher::new("kiln cache mount 1");
    inner.services.cache_namespace.stable_hash(&mut hasher);
    cache.id.stable_hash(&mut hasher);
    cache.access.stable_hash(&mut hasher);
    hasher.number(number);
    if let Some(input) = cache.input {
        let view = inner.services.store.layers().view(snapshot(inputs, input)?)?;
        mounted_content(&view, &cache.source)?.stable_hash(&mut hasher);
    }
    Ok(hasher.finish())
}

/// Makes a directory that everybody may enter.
pub(super) fn make(directory: &Path) -> Result<(), ExecutorError> {
    let failed = failed(directory);
    std::fs::create_dir_all(directory).map_err(&failed)?;
    Ok(std::fs::set_permissions(directory, Permissions::from_mode(0o755)).map_err(&failed)?)
}

pub(super) fn failed(path: &Path) -> impl Fn(io::Error) -> StoreError + use<> {
    let path = PathBuf::from(path);
    move |cause| StoreError::Io { action: "make", path: path.clone(), cause }
}
