//! The list of results: the configuration of an OCI artifact whose layers are the cache's layers.
//!
//! ```text
//! manifest   application/vnd.oci.image.manifest.v1+json
//!   config   application/vnd.kiln.cache.config.v1+json     this document
//!   layers   application/vnd.oci.image.layer.v1.tar+…       in the order of the document's own list
//! ```
//!
//! An inline cache is the same document under `kiln.cache.v1` in an image's configuration, where BuildKit has
//! `moby.buildkit.cache.v0`: its layers are the image's.

use std::collections::HashMap;

use kiln_core::oci_spec::image::Descriptor;
use kiln_core::{ContentHash, ContentId, DiffId, Digest, LayerId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The media type of the document.
pub(super) const MEDIA_TYPE: &str = "application/vnd.kiln.cache.config.v1+json";

/// Where an image's configuration has it.
pub(crate) const INLINE_KEY: &str = "kiln.cache.v1";

/// Results, and the layers they consist of.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Document {
    /// A document of another version is not read.
    pub(crate) version: u32,
    /// Each once.
    pub(crate) layers: Vec<CachedLayer>,
    /// What steps made.
    pub(crate) results: Vec<CachedResult>,
    /// Cache mounts, as `kiln cache export` takes them along.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(crate) mounts: Vec<CachedMount>,
}

/// A layer, and the blob that it is unpacked from.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CachedLayer {
    /// On the machine that made it.
    pub(crate) layer: LayerId,
    /// What it means to a build, so that keys are known without its files.
    pub(crate) content: ContentId,
    /// Its tar.
    pub(crate) diff_id: DiffId,
    /// Its tar, compressed.
    pub(crate) blob: Digest,
    /// Of the blob.
    pub(crate) size: u64,
    /// Of the blob.
    pub(crate) media_type: String,
}

/// What a step made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CachedResult {
    /// By what was asked. Without, the layers are those that were added, alone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) definition: Option<ContentHash>,
    /// By the contents that it was made from.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) key: Option<ContentHash>,
    /// All its layers, bottom first, as numbers of the document's list.
    pub(crate) layers: Vec<usize>,
    /// How many of them, at the top, the step itself added.
    pub(crate) added: usize,
}

/// A `RUN --mount=type=cache` directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CachedMount {
    /// What people call it.
    pub(crate) about: String,
    /// Whose content and form it is.
    pub(crate) key: ContentHash,
    /// The layers that show it below `data`, bottom first: each is what changed since the last export.
    pub(crate) layers: Vec<usize>,
}

impl Document {
    /// No results.
    pub(crate) fn new() -> Self {
        Self { version: 1, ..Self::default() }
    }

    /// Reads a document; `None` if it is of another version, or its numbers lead nowhere.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let document: Self = serde_json::from_slice(bytes).ok()?;
        let sound = |result: &CachedResult| {
            result.layers.iter().all(|at| *at < document.layers.len()) && result.added <= result.layers.len()
        };
        let mounts =
            document.mounts.iter().flat_map(|mount| &mount.layers).all(|at| *at < document.layers.len());
        (document.version == 1 && mounts && document.results.iter().all(sound)).then_some(document)
    }

    /// The manifest of the artifact: an image manifest, or an index as BuildKit's caches once were.
    pub(super) fn manifest(&self, config: &[u8], image_manifest: bool) -> (&'static str, Vec<u8>) {
        let config = json!({
            "mediaType": MEDIA_TYPE, "digest": Digest::of(config).to_string(), "size": config.len(),
        });
        let mut seen = HashMap::new();
        let blobs: Vec<Value> = self
            .layers
            .iter()
            .filter(|layer| seen.insert(layer.blob, ()).is_none())
            .map(|layer| {
                json!({
                    "mediaType": layer.media_type, "digest": layer.blob.to_string(), "size": layer.size,
                })
            })
            .collect();
        let (kind, manifest) = if image_manifest {
            let kind = "application/vnd.oci.image.manifest.v1+json";
            (kind, json!({ "schemaVersion": 2, "mediaType": kind, "config": config, "layers": blobs }))
        } else {
            let kind = "application/vnd.oci.image.index.v1+json";
            let all: Vec<Value> = blobs.into_iter().chain([config]).collect();
            (kind, json!({ "schemaVersion": 2, "mediaType": kind, "manifests": all }))
        };
        (kind, manifest.to_string().into_bytes())
    }
}

/// The descriptor of the document in a cache's manifest or index. `None` if there is none: an image, perhaps.
pub(super) fn config_of(manifest: &[u8]) -> Option<Descriptor> {
    let value: Value = serde_json::from_slice(manifest).ok()?;
    let listed = value["manifests"].as_array().into_iter().flatten();
    let found = std::iter::once(&value["config"]).chain(listed).find(|d| d["mediaType"] == MEDIA_TYPE)?;
    serde_json::from_value(found.clone()).ok()
}
