//! Results from caches, and the layers of those that are used.

use std::collections::{HashMap, HashSet};
use std::io::BufReader;
use std::sync::{Arc, Mutex, PoisonError};

use kiln_cache::{Decompressor, Limits, PackedLayer, Store};
use kiln_core::{Compression, CompressionFormat, ContentHash, Digest, LayerId, Snapshot};

use super::backend::{Backend, CacheError, gave_up};
use super::document::{CachedLayer, CachedResult, Document};
use super::spec::CacheSpec;
use crate::wiring::Services;

/// The documents of a build's `--cache-from`, the first named first.
pub(crate) struct Imported {
    pub(super) store: Store,
    pub(super) sources: Vec<(Backend, Document)>,
    /// Source and number of the result.
    by_definition: HashMap<ContentHash, (usize, usize)>,
    by_key: HashMap<ContentHash, (usize, usize)>,
    /// Source and number of the layer.
    layers: HashMap<LayerId, (usize, usize)>,
    /// Blobs that were seen to be there.
    seen: Mutex<HashSet<Digest>>,
    /// The layers that were fetched, by what they are in the documents. Fetching is one at a time: its parts are not.
    here: tokio::sync::Mutex<HashMap<LayerId, LayerId>>,
    used: Mutex<Vec<Used>>,
}

/// A result that was used, by the ids of its layers in the document.
struct Used {
    definition: Option<ContentHash>,
    key: Option<ContentHash>,
    layers: Vec<LayerId>,
    added: usize,
}

impl Imported {
    /// Reads all documents at the same time; with each that cannot be read, why. `None` if there are no results.
    pub(crate) async fn load(
        specs: &[CacheSpec],
        services: &Services,
    ) -> (Option<Self>, Vec<(String, CacheError)>) {
        let mut problems = Vec::new();
        let mut sources = Vec::new();
        let mut loads = Vec::new();
        for spec in specs {
            match Backend::open(&spec.place, services) {
                Ok(None) => {}
                Ok(Some(backend)) => loads.push(async move {
                    let loaded = backend.load().await;
                    (spec.name(), backend, loaded)
                }),
                Err(error) => problems.push((spec.name(), error)),
            }
        }
        for (name, backend, loaded) in futures_util::future::join_all(loads).await {
            match loaded {
                Ok(Some(document)) => sources.push((backend, document)),
                Ok(None) => problems.push((name.clone(), CacheError::NoCache(name))),
                Err(error) => problems.push((name, error)),
            }
        }
        let store = services.store.clone();
        let (mut by_definition, mut by_key, mut layers) = (HashMap::new(), HashMap::new(), HashMap::new());
        for (source, (_, document)) in sources.iter().enumerate() {
            for (number, result) in document.results.iter().enumerate() {
                if let Some(definition) = result.definition {
                    by_definition.entry(definition).or_insert((source, number));
                }
                if let Some(key) = result.key {
                    by_key.entry(key).or_insert((source, number));
                }
            }
            for (number, layer) in document.layers.iter().enumerate() {
                layers.entry(layer.layer).or_insert((source, number));
                // Keys are made of contents: they need no file of a layer that says its own.
                store.layers().know_content(&layer.layer, layer.content);
            }
        }
        let imported = (!sources.is_empty()).then(|| Self {
            store,
            sources,
            by_definition,
            by_key,
            layers,
            seen: Mutex::default(),
            here: tokio::sync::Mutex::default(),
            used: Mutex::default(),
        });
        (imported, problems)
    }

    /// All layers of what was asked before, somewhere.
    pub(crate) async fn asked(&self, definition: &ContentHash) -> Option<Vec<LayerId>> {
        let (source, result) = self.result(self.by_definition.get(definition)?);
        self.usable(source, result, result.layers.len()).await
    }

    /// The layers that the same op on the same contents added, somewhere.
    pub(crate) async fn made(&self, key: &ContentHash) -> Option<Vec<LayerId>> {
        let (source, result) = self.result(self.by_key.get(key)?);
        self.usable(source, result, result.added).await
    }

    fn result(&self, (source, number): &(usize, usize)) -> (usize, &CachedResult) {
        (*source, &self.sources[*source].1.results[*number])
    }

    /// What a layer of the documents is here, if it is.
    pub(super) async fn local(&self, id: &LayerId) -> Option<LayerId> {
        let fetched = self.here.lock().await.get(id).copied();
        fetched.or_else(|| self.store.layers().contains(id).unwrap_or(false).then_some(*id))
    }

    fn layer(&self, id: &LayerId) -> Option<(&Backend, &CachedLayer)> {
        let (source, number) = self.layers.get(id)?;
        let (backend, document) = &self.sources[*source];
        Some((backend, &document.layers[*number]))
    }

    /// The topmost `count` layers of a result, if each is here or can be had: a registry may have forgotten some.
    async fn usable(&self, source: usize, result: &CachedResult, count: usize) -> Option<Vec<LayerId>> {
        let (backend, document) = &self.sources[source];
        let cached: Vec<&CachedLayer> = result.layers.iter().map(|at| &document.layers[*at]).collect();
        for layer in &cached[cached.len() - count..] {
            if self.store.layers().contains(&layer.layer).unwrap_or(false) {
                continue;
            }
            let seen = || self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if !seen().contains(&layer.blob) {
                if !backend.has(&layer.blob).await.unwrap_or(false) {
                    return None;
                }
                seen().insert(layer.blob);
            }
        }
        let all: Vec<LayerId> = cached.iter().map(|layer| layer.layer).collect();
        let top = all[all.len() - count..].to_vec();
        let used = Used { definition: result.definition, key: result.key, layers: all, added: result.added };
        self.used.lock().unwrap_or_else(PoisonError::into_inner).push(used);
        Some(top)
    }

    /// Whether a layer of the snapshot stands for one that is elsewhere.
    pub(crate) fn is_elsewhere(&self, snapshot: &Snapshot) -> bool {
        let elsewhere =
            |id: &LayerId| self.layers.contains_key(id) && !self.store.layers().contains(id).unwrap_or(false);
        snapshot.layers.iter().any(elsewhere)
    }

    /// The same snapshot, of layers that are here: what is elsewhere is fetched and unpacked.
    ///
    /// # Errors
    /// If a layer cannot be had after all.
    pub(crate) async fn localise(&self, snapshot: &Snapshot) -> Result<Snapshot, CacheError> {
        if !self.is_elsewhere(snapshot) {
            return Ok(snapshot.clone());
        }
        let mut here = self.here.lock().await;
        let absent =
            |id: &&LayerId| !here.contains_key(*id) && !self.store.layers().contains(id).unwrap_or(false);
        let wanted: Vec<(&Backend, &CachedLayer)> =
            snapshot.layers.iter().filter(absent).filter_map(|id| self.layer(id)).collect();
        let fetches = wanted.iter().map(|(backend, layer)| backend.fetch(layer, &self.store));
        futures_util::future::try_join_all(fetches).await?;
        let mut local = Snapshot::scratch();
        for id in &snapshot.layers {
            let layer = match (here.get(id), self.store.layers().contains(id)?, self.layer(id)) {
                (Some(layer), _, _) => *layer,
                (None, true, _) | (None, false, None) => *id,
                (None, false, Some((_, cached))) => {
                    let (store, cached, below) = (self.store.clone(), cached.clone(), local.clone());
                    let unpacking = move || unpack(&store, &cached, &below);
                    let layer = tokio::task::spawn_blocking(unpacking).await.map_err(|_| gave_up())??;
                    here.insert(*id, layer);
                    layer
                }
            };
            local = local.with(layer);
        }
        Ok(local)
    }

    /// Remembers what was used and is here now, so that the next build needs no cache for it.
    pub(crate) async fn remember(&self) {
        let here = self.here.lock().await;
        let used = std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner));
        for Used { definition, key, layers, added } in used {
            let local = layers.iter().map(|id| match here.get(id) {
                Some(layer) => Some(*layer),
                None => self.store.layers().contains(id).unwrap_or(false).then_some(*id),
            });
            let (Some(layers), Some(key)) = (local.collect::<Option<Vec<LayerId>>>(), key) else { continue };
            let top = layers[layers.len() - added..].to_vec();
            let _ = self.store.index().remember(definition.as_ref(), &key, &top, &Snapshot { layers });
        }
    }
}

fn unpack(store: &Store, cached: &CachedLayer, below: &Snapshot) -> Result<LayerId, CacheError> {
    let missing = || CacheError::Damaged(format!("the blob {} is gone", cached.blob));
    let file = store.blobs().open(&cached.blob)?.ok_or_else(missing)?;
    let plain = Decompressor::detect(BufReader::new(file))
        .map_err(|cause| CacheError::Decompress { blob: cached.blob, cause })?;
    let format = match plain.format() {
        kiln_cache::Format::None => Some(CompressionFormat::Uncompressed),
        kiln_cache::Format::Gzip => Some(CompressionFormat::Gzip),
        kiln_cache::Format::Zstd => Some(CompressionFormat::Zstd),
        kiln_cache::Format::Bzip2 | kiln_cache::Format::Xz => None,
    };
    let unpacked = store.layers().unpack(plain, Limits::default())?;
    if unpacked.diff_id != cached.diff_id {
        return Err(CacheError::Damaged(format!("the blob {} is not the layer it should be", cached.blob)));
    }
    let tar_size = unpacked.tar_size;
    let layer = unpacked.commit(below)?.id;
    // Keys were made of what the document said.
    if store.layers().content_id(&layer)? != cached.content {
        return Err(CacheError::Damaged(format!("the blob {} has other files than it should", cached.blob)));
    }
    store.index().set_diff_id(&layer, &cached.diff_id)?;
    if let Some(format) = format {
        let packed = PackedLayer { diff_id: cached.diff_id, blob: cached.blob, size: cached.size, tar_size };
        store.index().set_packed(&layer, Compression { format, level: None }, &packed)?;
    }
    Ok(layer)
}

/// Shared by the steps of a build.
pub(crate) type SharedImports = Option<Arc<Imported>>;
