//! A build's results, into caches.

use std::collections::{BTreeMap, HashMap, HashSet};

use kiln_cache::Store;
use kiln_core::{Compression, ContentHash, Graph, LayerId, Op, Snapshot, Source, VertexId};
use kiln_solver::How;

use super::backend::{Backend, CacheError, gave_up};
use super::document::{CachedLayer, CachedMount, CachedResult, Document};
use super::spec::{CacheSpec, Mode};
use crate::explain::Decisions;
use crate::output::LayerOptions;
use crate::pack::pack;
use crate::wiring::Services;

/// What goes into a document: the results of one build, inputs first, or all that a store knows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Exportable {
    pub(super) results: Vec<Known>,
    pub(super) mounts: Vec<KnownMount>,
}

/// What a step made.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) definition: Option<ContentHash>,
    pub(super) key: Option<ContentHash>,
    pub(super) layers: Vec<LayerId>,
    pub(super) added: usize,
    /// Whether it is on the way of the image's own layers.
    pub(super) in_image: bool,
    /// Whether its layers came from outside, packed.
    pub(super) foreign: bool,
}

/// A cache mount as layers, of the store or of the document that is replaced.
#[derive(Debug, Clone)]
pub(super) struct KnownMount {
    pub(super) about: String,
    pub(super) key: ContentHash,
    pub(super) layers: Vec<LayerId>,
}

impl Exportable {
    /// What the store knows of a build that has ended. `keys` are of steps that this build did not look at.
    pub(crate) fn new(
        store: &Store,
        graph: &Graph,
        root: VertexId,
        decisions: &Decisions,
        keys: &HashMap<ContentHash, ContentHash>,
    ) -> Self {
        let mut in_image = HashSet::from([root]);
        let mut current = root;
        while let (Op::Exec(_) | Op::File(_), Some(&below)) =
            (&graph.vertex(current).op, graph.vertex(current).inputs.first())
        {
            in_image.insert(below);
            current = below;
        }
        let mut results = Vec::new();
        let mut heights: BTreeMap<VertexId, usize> = BTreeMap::new();
        for id in graph.needed(root) {
            let vertex = graph.vertex(id);
            let Some(decision) = decisions.get(&id).filter(|decision| decision.how != How::Runs) else {
                continue;
            };
            let Ok(Some(whole)) = store.index().asked(&decision.definition) else { continue };
            heights.insert(id, whole.layers.len());
            let below = match (&vertex.op, vertex.inputs.first()) {
                (Op::Source(_), _) | (_, None) => Some(0),
                (_, Some(below)) => heights.get(below).copied(),
            };
            // Below a step that nobody looked at may be one that the store has forgotten: at most one layer was added.
            let below = below.unwrap_or_else(|| whole.layers.len().saturating_sub(1));
            results.push(Known {
                definition: Some(decision.definition),
                key: decision.key.or_else(|| keys.get(&decision.definition).copied()),
                added: whole.layers.len().saturating_sub(below),
                layers: whole.layers,
                in_image: in_image.contains(&id),
                foreign: matches!(vertex.op, Op::Source(Source::Image(_))),
            });
        }
        Self { results, mounts: Vec::new() }
    }

    /// The document, its layers packed; layers that are in `before` are as they stand there.
    pub(super) fn document(
        &self,
        store: &Store,
        mode: Mode,
        compression: Option<Compression>,
        before: &Document,
    ) -> Result<Document, CacheError> {
        let there: HashMap<LayerId, &CachedLayer> = before.layers.iter().map(|l| (l.layer, l)).collect();
        let wanted: Vec<&Known> =
            self.results.iter().filter(|known| mode == Mode::Max || known.in_image).collect();
        let results = wanted.iter().map(|known| (&known.layers, known.foreign));
        let mounts = self.mounts.iter().map(|mount| (&mount.layers, false));
        let mut document = Document::new();
        let mut numbers: HashMap<LayerId, usize> = HashMap::new();
        let (mut foreign, mut own) = (Vec::new(), Vec::new());
        for (layers, is_foreign) in results.chain(mounts) {
            for layer in layers {
                if numbers.contains_key(layer) {
                    continue;
                }
                numbers.insert(*layer, usize::MAX);
                match there.get(layer) {
                    Some(known) => {
                        numbers.insert(*layer, document.layers.len());
                        document.layers.push((*known).clone());
                    }
                    None if is_foreign => foreign.push(*layer),
                    None => own.push(*layer),
                }
            }
        }
        let count = foreign.len();
        let layers: Vec<LayerId> = foreign.into_iter().chain(own).collect();
        let options = LayerOptions { compression, ..LayerOptions::default() };
        let snapshot = Snapshot { layers };
        let packed = pack(store, &snapshot, count, &options, None, None, None);
        let packed = packed.map_err(|error| CacheError::Pack(crate::report::chain(&error)))?;
        for (layer, blob) in snapshot.layers.iter().zip(packed) {
            numbers.insert(*layer, document.layers.len());
            let digest = blob.descriptor.digest().to_string();
            document.layers.push(CachedLayer {
                layer: *layer,
                content: store.layers().content_id(layer)?,
                diff_id: blob.diff_id,
                blob: digest.parse().map_err(|_| CacheError::Damaged(digest))?,
                size: blob.descriptor.size(),
                media_type: blob.descriptor.media_type().to_string(),
            });
        }
        let numbered = |layers: &[LayerId]| layers.iter().map(|layer| numbers[layer]).collect();
        for known in wanted {
            document.results.push(CachedResult {
                definition: known.definition,
                key: known.key,
                layers: numbered(&known.layers),
                added: known.added,
            });
        }
        for KnownMount { about, key, layers } in &self.mounts {
            let layers = numbered(layers);
            document.mounts.push(CachedMount { about: about.clone(), key: *key, layers });
        }
        Ok(document)
    }
}

impl KnownMount {
    /// Those of a document, by the ids of its layers.
    pub(super) fn of(document: &Document) -> Vec<Self> {
        let known = |mount: &CachedMount| {
            let layers = mount.layers.iter().map(|at| document.layers[*at].layer).collect();
            Self { about: mount.about.clone(), key: mount.key, layers }
        };
        document.mounts.iter().map(known).collect()
    }
}

/// Writes the results of builds (one a platform) into one cache.
///
/// # Errors
/// If the cache cannot be read or written.
pub(crate) async fn export(
    spec: &CacheSpec,
    builds: &[Exportable],
    services: &Services,
) -> Result<(), CacheError> {
    let Some(backend) = Backend::open(&spec.place, services)? else { return Ok(()) };
    // What cannot be read is written anew.
    let before = backend.load().await.ok().flatten().unwrap_or_default();
    let all = Exportable {
        results: builds.iter().flat_map(|build| build.results.clone()).collect(),
        // A build changes what it knows of: its results.
        mounts: KnownMount::of(&before),
    };
    let (store, mode, compression) = (services.store.clone(), spec.mode, spec.compression);
    let known = before.layers.iter().map(|layer| layer.blob).collect();
    let packing = move || all.document(&store, mode, compression, &before);
    let document = tokio::task::spawn_blocking(packing).await.map_err(|_| gave_up())??;
    backend.save(&document, &known, &services.store, spec.image_manifest).await
}

/// The document for an image's own configuration: results whose layers are the image's.
///
/// # Errors
/// If a layer cannot be packed.
pub(crate) fn inline_document(
    store: &Store,
    build: &Exportable,
    compression: Option<Compression>,
) -> Result<Document, CacheError> {
    build.document(store, Mode::Min, compression, &Document::new())
}
