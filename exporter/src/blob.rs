//! Where the bytes of layers come from, and the small documents that the exporter makes itself.

use std::collections::BTreeMap;
use std::io::{self, Read};

use kiln_core::oci_spec::image::{Descriptor, ImageManifest, MediaType};
use kiln_core::{DiffId, Digest, ImageConfig, Platform};

use crate::assemble::manifest_bytes;
use crate::attest::Attestation;
use crate::document;
use crate::media::MediaTypes;

/// A place that has blobs: the store, or a map in a test.
pub trait BlobRead: Send + Sync {
    /// Opens the blob from its first byte.
    ///
    /// # Errors
    /// If it is not there or cannot be read.
    fn open(&self, digest: &Digest) -> Result<Box<dyn Read + Send>, BlobReadError>;

    /// Opens the blob from the byte `offset` on. Whoever has files seeks.
    ///
    /// # Errors
    /// As [`BlobRead::open`].
    fn open_at(&self, digest: &Digest, offset: u64) -> Result<Box<dyn Read + Send>, BlobReadError> {
        let mut bytes = self.open(digest)?;
        io::copy(&mut bytes.by_ref().take(offset), &mut io::sink())
            .map_err(|cause| BlobReadError::Io { digest: *digest, cause })?;
        Ok(bytes)
    }
}

/// A blob that could not be had.
#[derive(Debug, thiserror::Error)]
pub enum BlobReadError {
    /// It is not there.
    #[error("blob {0} is not in the store")]
    Missing(Digest),
    /// It is there and cannot be read.
    #[error("read blob {digest}")]
    Io {
        /// Which.
        digest: Digest,
        /// Why.
        #[source]
        cause: io::Error,
    },
}

/// A layer as it is exported: its tar as a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerBlob {
    /// Of the tar.
    pub diff_id: DiffId,
    /// Of the blob. [`assemble`](crate::assemble) turns its media type into the image's kind.
    pub descriptor: Descriptor,
}

impl LayerBlob {
    /// A blob with this digest and size in bytes.
    pub fn new(diff_id: DiffId, blob: Digest, size: u64, media_type: MediaType) -> Self {
        Self { diff_id, descriptor: document::descriptor(media_type, blob, size) }
    }
}

/// A document of an image: its bytes and what others call it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// What is stored and sent, to the byte.
    pub bytes: Vec<u8>,
    /// Of these bytes.
    pub descriptor: Descriptor,
}

impl Blob {
    pub(crate) fn new(media_type: MediaType, bytes: Vec<u8>) -> Self {
        let descriptor = document::descriptor(media_type, Digest::of(&bytes), bytes.len() as u64);
        Self { bytes, descriptor }
    }

    /// The digest of its bytes.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }
}

/// An image for one platform, ready to be written or sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The configuration.
    pub config: Blob,
    /// The manifest. Its descriptor has the platform and the descriptor's annotations.
    pub manifest: Blob,
    /// The layers, bottom first.
    pub layers: Vec<LayerBlob>,
    /// What it runs on.
    pub platform: Platform,
}

impl Image {
    /// An image from outside, with its documents as they came: their bytes decide its digest.
    ///
    /// # Errors
    /// If the documents are not a manifest and a configuration, or disagree on how many layers there are.
    pub fn from_documents(manifest: Vec<u8>, config: Vec<u8>) -> Result<Self, DocumentError> {
        let parsed: ImageManifest = serde_json::from_slice(&manifest)?;
        let described: ImageConfig = serde_json::from_slice(&config)?;
        let diff_ids = &described.rootfs.diff_ids;
        if diff_ids.len() != parsed.layers().len() {
            return Err(DocumentError::Layers { manifest: parsed.layers().len(), config: diff_ids.len() });
        }
        let layers = parsed.layers().iter().zip(diff_ids);
        let layers =
            layers.map(|(layer, diff_id)| LayerBlob { diff_id: *diff_id, descriptor: layer.clone() });
        let platform = described.platform();
        let media_type = match parsed.media_type() {
            Some(media_type) => media_type.clone(),
            None if parsed.config().media_type().to_string().contains("docker") => {
                MediaTypes::Docker.manifest()
            }
            None => MediaType::ImageManifest,
        };
        let mut document = Blob::new(media_type, manifest);
        document.descriptor.set_platform(Some(document::oci_platform(&platform)));
        Ok(Self {
            config: Blob::new(parsed.config().media_type().clone(), config),
            layers: layers.collect(),
            manifest: document,
            platform,
        })
    }
}

impl Image {
    /// An image with this configuration, byte for byte, and a manifest made for it.
    ///
    /// # Errors
    /// If the configuration cannot be read, or lists another number of layers.
    pub fn with_config(
        config: Vec<u8>,
        layers: Vec<LayerBlob>,
        media_types: MediaTypes,
    ) -> Result<Self, DocumentError> {
        let described: ImageConfig = serde_json::from_slice(&config)?;
        if described.rootfs.diff_ids.len() != layers.len() {
            let (manifest, config) = (layers.len(), described.rootfs.diff_ids.len());
            return Err(DocumentError::Layers { manifest, config });
        }
        let platform = described.platform();
        let config = Blob::new(media_types.config(), config);
        let descriptors: Vec<&Descriptor> = layers.iter().map(|layer| &layer.descriptor).collect();
        let bytes = manifest_bytes(media_types, &config.descriptor, &descriptors, &BTreeMap::new());
        Ok(Self { config, manifest: Blob::new(media_types.manifest(), bytes), layers, platform })
    }
}

/// Documents that are no image's.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Not the JSON that they should be.
    #[error("the manifest or configuration of the image cannot be read")]
    Json(#[from] serde_json::Error),
    /// They speak of different images.
    #[error("the manifest lists {manifest} layers and the configuration {config}")]
    Layers {
        /// In the manifest.
        manifest: usize,
        /// In the configuration.
        config: usize,
    },
}

/// Several images under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// The index document.
    pub document: Blob,
    /// The images in it, in its order.
    pub images: Vec<Image>,
    /// What is said of them; in the index after all of them.
    pub attestations: Vec<Attestation>,
}

/// What has a name: an image, or an index of images.
#[derive(Debug, Clone, Copy)]
pub enum Exported<'a> {
    /// One image.
    Image(&'a Image),
    /// An index.
    Index(&'a Index),
}

impl<'a> Exported<'a> {
    /// The document that a name points to.
    pub fn root(self) -> &'a Blob {
        match self {
            Self::Image(image) => &image.manifest,
            Self::Index(index) => &index.document,
        }
    }

    /// The images, one or those of the index.
    pub fn images(self) -> &'a [Image] {
        match self {
            Self::Image(image) => std::slice::from_ref(image),
            Self::Index(index) => &index.images,
        }
    }

    /// All documents, each after those that it speaks of.
    pub fn documents(self) -> Vec<&'a Blob> {
        let mut documents: Vec<&Blob> =
            self.images().iter().flat_map(|image| [&image.config, &image.manifest]).collect();
        if let Self::Index(index) = self {
            for attestation in &index.attestations {
                documents.extend(&attestation.blobs);
                documents.push(&attestation.manifest);
            }
            documents.push(&index.document);
        }
        documents
    }

    /// All layers, each blob once, in order of first appearance.
    pub fn layers(self) -> Vec<&'a LayerBlob> {
        let mut seen = std::collections::HashSet::new();
        let layers = self.images().iter().flat_map(|image| &image.layers);
        layers.filter(|layer| seen.insert(layer.descriptor.digest().to_string())).collect()
    }
}
