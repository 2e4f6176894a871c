//! All that a store knows, to a cache and back: its results, and its cache mounts as layers. A machine that lives for one build
//! begins with what the one before it has left.

use kiln_cache::{LockMode, Store, Taken, UsedMount};
use kiln_core::{ContentHash, LayerId, Snapshot};
use serde::{Deserialize, Serialize};

use super::backend::{Backend, CacheError, gave_up};
use super::document::Document;
use super::export::{Exportable, Known, KnownMount};
use super::import::Imported;
use super::spec::{CacheSpec, Mode};
use crate::wiring::Services;

/// What is to be moved.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    /// Results of steps.
    pub(crate) results: bool,
    /// Cache mounts whose name is one of these; all of them without.
    pub(crate) mounts: Option<Vec<String>>,
    /// Whether a cache mount that is here already is replaced.
    pub(crate) replace: bool,
}

impl Selection {
    fn wants(&self, mount: &str) -> bool {
        self.mounts.as_ref().is_none_or(|names| names.iter().any(|name| name == mount))
    }
}

/// What was moved.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    pub(crate) results: usize,
    pub(crate) layers: usize,
    /// Of the layers, those that were not there before, and the bytes of their blobs.
    pub(crate) new: (usize, u64),
    pub(crate) mounts: Vec<(String, Fate)>,
}

/// What became of a cache mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was moved.
    Moved,
    /// It is as it was there.
    Unchanged,
    /// There is one here already.
    Kept,
    /// It holds the changes of a content that came from a stage or image, and means nothing without.
    Depends,
}

/// So many layers show a cache at most: then it goes as a whole again, and what was overwritten meanwhile is left behind.
const CHAIN: usize = 16;

/// Which layers of this store are which of a document, for a cache mount.
const NAMESPACE: &str = "moved-mount";

#[derive(Debug, Default, Serialize, Deserialize)]
struct Chain {
    document: Vec<LayerId>,
    local: Vec<LayerId>,
}

impl Chain {
    /// What the document's layers of a mount are here, if all are.
    fn find(store: &Store, known: &KnownMount) -> Option<Self> {
        let fact = store.index().fact(NAMESPACE, known.key.as_bytes()).ok()??;
        let chain: Self = serde_json::from_slice(&fact.value).ok()?;
        let here = chain.local.iter().all(|id| store.layers().contains(id).unwrap_or(false));
        (here && chain.document == known.layers && chain.local.len() < CHAIN).then_some(chain)
    }

    fn note(&self, store: &Store, key: &ContentHash) -> Result<(), CacheError> {
        let value = serde_json::to_vec(self).map_err(|error| CacheError::Damaged(error.to_string()))?;
        Ok(store.index().set_fact(NAMESPACE, key.as_bytes(), &value, None)?)
    }
}

/// Writes what the store knows into a cache. What is there already is neither packed nor sent.
///
/// # Errors
/// If the store cannot be read, or the cache not be written.
pub(crate) async fn export_all(
    spec: &CacheSpec,
    selection: &Selection,
    services: &Services,
) -> Result<Moved, CacheError> {
    let Some(backend) = Backend::open(&spec.place, services)? else { return Ok(Moved::default()) };
    // What cannot be read is written anew.
    let before = backend.load().await.ok().flatten().unwrap_or_default();
    let known: std::collections::HashSet<_> = before.layers.iter().map(|layer| layer.blob).collect();
    let (store, selection, compression) = (services.store.clone(), selection.clone(), spec.compression);
    let collecting = move || {
        let mut moved = Moved::default();
        let Mounts { mounts, chains } = collect_mounts(&store, &selection, &before, &mut moved)?;
        let results = if selection.results { collect_results(&store)? } else { Vec::new() };
        let all = Exportable { results, mounts };
        let document = all.document(&store, Mode::Max, compression, &before)?;
        Ok::<_, CacheError>((document, chains, moved))
    };
    let (document, chains, mut moved) =
        tokio::task::spawn_blocking(collecting).await.map_err(|_| gave_up())??;
    backend.save(&document, &known, &services.store, spec.image_manifest).await?;
    for (key, chain) in chains {
        chain.note(&services.store, &key)?;
    }
    let new = document.layers.iter().filter(|layer| !known.contains(&layer.blob));
    moved.new = new.fold((0, 0), |(count, bytes), layer| (count + 1, bytes + layer.size));
    (moved.results, moved.layers) = (document.results.len(), document.layers.len());
    Ok(moved)
}

fn collect_results(store: &Store) -> Result<Vec<Known>, CacheError> {
    let known = |definition, key, layers: Vec<LayerId>, added| {
        // A layer may have come packed, or been pushed: that blob is as good as another.
        Known { definition, key, layers, added, in_image: true, foreign: true }
    };
    let asked = store.index().all_asked()?.into_iter();
    let asked = asked.map(|(definition, whole)| known(Some(definition), None, whole.layers, 0));
    let made = store.index().all_made()?.into_iter();
    let made = made.map(|(key, added)| (key, added.len(), added));
    Ok(asked.chain(made.map(|(key, count, added)| known(None, Some(key), added, count))).collect())
}

/// The cache mounts of a document, and which of its layers are which of the store.
struct Mounts {
    mounts: Vec<KnownMount>,
    chains: Vec<(ContentHash, Chain)>,
}

/// The cache mounts of the store as layers over those of the document before, and those of the document that are not here.
fn collect_mounts(
    store: &Store,
    selection: &Selection,
    before: &Document,
    moved: &mut Moved,
) -> Result<Mounts, CacheError> {
    let (mut mounts, mut chains) = (KnownMount::of(before), Vec::new());
    for UsedMount { key, about } in store.cache_mounts()? {
        if !selection.wants(&about) {
            continue;
        }
        let at = mounts.iter().position(|mount| mount.key == key);
        let chain = at.and_then(|at| Chain::find(store, &mounts[at]));
        let mut chain = chain.unwrap_or_default();
        let alone = store.lock_cache_mount(&key, LockMode::Exclusive)?;
        let taken = store.take_cache_mount(&key, &Snapshot { layers: chain.local.clone() })?;
        drop(alone);
        let fate = match taken {
            Taken::Same => Fate::Unchanged,
            Taken::Hides => Fate::Depends,
            Taken::Layer(layer) => {
                chain.local.push(layer.id);
                chain.document.push(layer.id);
                let mount = KnownMount { about: about.clone(), key, layers: chain.document.clone() };
                match at {
                    Some(at) => mounts[at] = mount,
                    None => mounts.push(mount),
                }
                chains.push((key, chain));
                Fate::Moved
            }
        };
        moved.mounts.push((about, fate));
    }
    Ok(Mounts { mounts, chains })
}

/// Brings what a cache holds into the store. `None` if nothing was ever kept there.
///
/// # Errors
/// If the cache cannot be read or is damaged, or the store cannot be written.
pub(crate) async fn import_all(
    spec: &CacheSpec,
    selection: &Selection,
    services: &Services,
) -> Result<Option<Moved>, CacheError> {
    let (imported, problems) = Imported::load(std::slice::from_ref(spec), services).await;
    match problems.into_iter().next() {
        Some((_, CacheError::NoCache(_))) => return Ok(None),
        Some((_, error)) => return Err(error),
        None => {}
    }
    let Some(imported) = imported else { return Ok(None) };
    let mut moved = Moved::default();
    for (_, document) in &imported.sources {
        if selection.results {
            moved.results += import_results(&imported, document).await?;
        }
        import_mounts(&imported, document, selection, &mut moved).await?;
        moved.layers += document.layers.len();
    }
    Ok(Some(moved))
}

async fn import_results(imported: &Imported, document: &Document) -> Result<usize, CacheError> {
    let ids = |layers: &[usize]| layers.iter().map(|at| document.layers[*at].layer).collect();
    let (mut asked, mut made) = (Vec::new(), Vec::new());
    for result in &document.results {
        let Some(definition) = result.definition else { continue };
        let whole = imported.localise(&Snapshot { layers: ids(&result.layers) }).await?;
        if let Some(key) = result.key {
            made.push((key, whole.layers[whole.layers.len() - result.added..].to_vec()));
        }
        asked.push((definition, whole));
    }
    // A layer's directories are those of what it lies on: alone it cannot be unpacked, but by now most of them are here.
    for result in document.results.iter().filter(|result| result.definition.is_none()) {
        let Some(key) = result.key else { continue };
        let mut added = Vec::new();
        for id in ids(&result.layers) as Vec<LayerId> {
            added.extend(imported.local(&id).await);
        }
        if added.len() == result.layers.len() {
            made.push((key, added));
        }
    }
    imported.store.index().remember_all(&asked, &made)?;
    Ok(asked.len() + made.len())
}

async fn import_mounts(
    imported: &Imported,
    document: &Document,
    selection: &Selection,
    moved: &mut Moved,
) -> Result<(), CacheError> {
    let store = &imported.store;
    for KnownMount { about, key, layers } in KnownMount::of(document) {
        if !selection.wants(&about) {
            continue;
        }
        let fate = if store.has_cache_mount(&key) && !selection.replace {
            Fate::Kept
        } else {
            let local = imported.localise(&Snapshot { layers: layers.clone() }).await?;
            let (store, mount) = (store.clone(), UsedMount { key, about: about.clone() });
            let putting = move || {
                let _alone = store.lock_cache_mount(&mount.key, LockMode::Exclusive)?;
                store.put_cache_mount(&mount, &local)?;
                Chain { document: layers, local: local.layers }.note(&store, &mount.key)
            };
            tokio::task::spawn_blocking(putting).await.map_err(|_| gave_up())??;
            Fate::Moved
        };
        moved.mounts.push((about, fate));
    }
    Ok(())
}
