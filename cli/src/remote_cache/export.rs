//! A build's results, into caches.

use std::collections::{BTreeMap, HashMap, HashSet};

use kiln_cache::Store;
use kiln_core::{Compression, ContentHash, Graph, LayerId, Op, Snapshot, Source, VertexId};
use kiln_solver::How;

use super::backend::{Backend, CacheError, gave_up};
use super::document::{CachedLayer, CachedResult, Document};
use super::spec::{CacheSpec, Mode};
use crate::explain::Decisions;
use crate::output::LayerOptions;
use crate::pack::pack;
use crate::wiring::Services;

/// The results of one build, inputs first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Exportable {
    results: Vec<Known>,
}

#[derive(Debug, Clone)]
struct Known {
    definition: ContentHash,
    key: Option<ContentHash>,
    layers: Vec<LayerId>,
    added: usize,
    /// Whether it is on the way of the image's own layers.
    in_image: bool,
    /// Whether its layers came from outside, packed.
    foreign: bool,
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
                definition: decision.definition,
                key: decision.key.or_else(|| keys.get(&decision.definition).copied()),
                added: whole.layers.len().saturating_sub(below),
                layers: whole.layers,
                in_image: in_image.contains(&id),
                foreign: matches!(vertex.op, Op::Source(Source::Image(_))),
            });
        }
        Self { results }
    }

    /// The document, its layers packed; layers that are in `before` are as they stand there.
    fn document(
        &self,
        store: &Store,
        mode: Mode,
        compression: Option<Compression>,
        before: &Document,
    ) -> Result<Document, CacheError> {
        let there: HashMap<LayerId, &CachedLayer> = before.layers.iter().map(|l| (l.layer, l)).collect();
        let wanted: Vec<&Known> =
            self.results.iter().filter(|known| mode == Mode::Max || known.in_image).collect();
        let mut document = Document::new();
        let mut numbers: HashMap<LayerId, usize> = HashMap::new();
        let (mut foreign, mut own) = (Vec::new(), Vec::new());
        for known in &wanted {
            for layer in &known.layers {
                if numbers.contains_key(layer) {
                    continue;
                }
                numbers.insert(*layer, usize::MAX);
                match there.get(layer) {
                    Some(known) => {
                        numbers.insert(*layer, document.layers.len());
                        document.layers.push((*known).clone());
                    }
                    None if known.foreign => foreign.push(*layer),
                    None => own.push(*layer),
                }
            }
        }
        let count = foreign.len();
        let layers: Vec<LayerId> = foreign.into_iter().chain(own).collect();
        let options = LayerOptions { compression, ..LayerOptions::default() };
        let snapshot = Snapshot { layers };
        let packed = pack(store, &snapshot, count, &options, None, None);
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
        for known in wanted {
            document.results.push(CachedResult {
                definition: known.definition,
                key: known.key,
                layers: known.layers.iter().map(|layer| numbers[layer]).collect(),
                added: known.added,
            });
        }
        Ok(document)
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
    let Some(backend) = Backend::open(&spec.place, services) else { return Ok(()) };
    // What cannot be read is written anew.
    let before = backend.load().await.ok().flatten().unwrap_or_default();
    let all = Exportable { results: builds.iter().flat_map(|build| build.results.clone()).collect() };
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
