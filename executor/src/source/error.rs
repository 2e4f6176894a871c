//! What fails with images and downloads.

use std::io;
use std::path::PathBuf;

use kiln_cache::{BlobError, IndexError, LayerError, StoreError};
use kiln_core::{ContentHash, DiffId, Digest};
use kiln_registry::RegistryError;

/// Why a source could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The store has no such image any more.
    #[error("image {0} is not in the store")]
    NoImage(ContentHash),
    /// A registry or web server.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The manifest or configuration is no image that kiln can read.
    #[error("the {document} of image {name} cannot be read")]
    Document {
        /// `manifest` or `configuration`.
        document: &'static str,
        /// The image.
        name: String,
        /// Why.
        #[source]
        cause: serde_json::Error,
    },
    /// A layout has no such image.
    #[error("image {name} not found in the OCI layout; it has {}", if offered.is_empty() { "none".to_owned() } else { offered.join(", ") })]
    NotInLayout {
        /// What was asked for.
        name: String,
        /// What is there.
        offered: Vec<String>,
    },
    /// The manifest and the configuration disagree.
    #[error("image {name} has {layers} layers, but its configuration lists {diff_ids}")]
    Count {
        /// The image.
        name: String,
        /// In the manifest.
        layers: usize,
        /// In the configuration.
        diff_ids: usize,
    },
    /// A descriptor's digest is of a kind that kiln cannot verify.
    #[error("image {name}: digest `{digest}` is not supported")]
    Digest {
        /// The image.
        name: String,
        /// As written.
        digest: String,
    },
    /// A layer's content is not what the configuration says.
    #[error("layer {blob} of {name} unpacks to {}, but the image's configuration says {}", .found.0, .expected.0)]
    DiffId {
        /// The image.
        name: String,
        /// The blob.
        blob: Digest,
        /// In the configuration.
        expected: DiffId,
        /// What was unpacked.
        found: DiffId,
    },
    /// A layer cannot be unpacked.
    #[error("unpack layer {layer}")]
    Unpack {
        /// The blob and its image.
        layer: String,
        /// Why.
        #[source]
        cause: LayerError,
    },
    /// A file of an OCI layout.
    #[error("read {path}")]
    Layout {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A blob of an OCI layout is not what its name says.
    #[error("{path} is damaged: it has the digest {found}")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Of its content.
        found: Digest,
    },
    /// A download is not what was asked for.
    #[error("digest mismatch {found}: {expected}")]
    Checksum {
        /// `--checksum`.
        expected: Digest,
        /// Of what came.
        found: Digest,
    },
    /// The store's blobs.
    #[error("store a blob")]
    Blob(#[from] BlobError),
    /// The store's index.
    #[error("ask the store's index")]
    Index(#[from] IndexError),
    /// The store's layers.
    #[error("write a layer")]
    Layer(#[from] LayerError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A thread of ours ended early.
    #[error("the unpacking of a layer was given up")]
    GivenUp,
}
