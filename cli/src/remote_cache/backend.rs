//! Where documents and blobs are kept.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use kiln_cache::{BlobError, Store};
use kiln_core::oci_spec::image::{Descriptor, DescriptorBuilder, MediaType};
use kiln_core::{Digest, Platform, Reference};
use kiln_exporter::BlobRead as _;
use kiln_registry::{BlobSink, BlobSource, Client, Fault, RegistryError};

use super::document::{CachedLayer, Document, INLINE_KEY, config_of};
use super::spec::Place;
use crate::stored::StoreBlobs;
use crate::wiring::Services;

/// Why a cache could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CacheError {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The directory.
    #[error("{action} `{path}`")]
    Directory {
        /// The verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The store's blobs.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The store's directories.
    #[error(transparent)]
    Store(#[from] kiln_cache::StoreError),
    /// The store's layers.
    #[error(transparent)]
    Layer(#[from] kiln_cache::LayerError),
    /// The store's index.
    #[error(transparent)]
    Index(#[from] kiln_cache::IndexError),
    /// A layer's compression.
    #[error("decompress the layer {blob}")]
    Decompress {
        /// Which blob.
        blob: Digest,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// It is no cache.
    #[error("{0} has no cache of kiln in it")]
    NoCache(String),
    /// Something of it is not what it should be.
    #[error("the cache is damaged: {0}")]
    Damaged(String),
    /// Packing the layers.
    #[error("{0}")]
    Pack(String),
}

/// One cache.
pub(super) enum Backend {
    /// An OCI layout.
    Directory { directory: PathBuf, tag: String, digest: Option<String> },
    /// A repository.
    Registry { client: Client, reference: Reference },
}

impl Backend {
    /// Opens what was meant. An inline cache is none of its own.
    pub(super) fn open(place: &Place, services: &Services) -> Option<Self> {
        match place {
            Place::Local { directory, tag, digest } => Some(Self::Directory {
                directory: directory.clone(),
                tag: tag.clone(),
                digest: digest.clone(),
            }),
            Place::Registry { reference } => {
                Some(Self::Registry { client: services.client().clone(), reference: reference.clone() })
            }
            Place::Inline => None,
        }
    }

    /// The document; `None` if nothing was ever kept there.
    pub(super) async fn load(&self) -> Result<Option<Document>, CacheError> {
        let unreadable = || CacheError::Damaged("its document cannot be read".to_owned());
        match self {
            Self::Directory { .. } => {
                let Some(bytes) = self.read_document()? else { return Ok(None) };
                Document::parse(&bytes).map(Some).ok_or_else(unreadable)
            }
            Self::Registry { client, reference } => {
                let manifest = match client.resolve(reference).await {
                    Ok(manifest) => manifest,
                    Err(error) if matches!(error.fault.root(), Fault::NotFound { .. }) => return Ok(None),
                    Err(error) => return Err(error.into()),
                };
                if let Some(config) = config_of(&manifest.bytes) {
                    let bytes = client.blob(reference, &config, Vec::new()).await?;
                    return Document::parse(&bytes).map(Some).ok_or_else(unreadable);
                }
                let image = client.image(reference, &Platform::host()).await?;
                let inline = image.config.other.get(INLINE_KEY);
                let text = inline.ok_or_else(|| CacheError::NoCache(reference.to_string()))?.to_string();
                Document::parse(text.as_bytes()).map(Some).ok_or_else(unreadable)
            }
        }
    }

    /// Whether the blob is there.
    pub(super) async fn has(&self, blob: &Digest) -> Result<bool, CacheError> {
        match self {
            Self::Directory { .. } => Ok(self.blob_path(blob).is_file()),
            Self::Registry { client, reference } => Ok(client.has_blob(reference, blob).await?),
        }
    }

    /// Brings a layer's blob into the store, verified.
    pub(super) async fn fetch(&self, layer: &CachedLayer, store: &Store) -> Result<(), CacheError> {
        if store.blobs().contains(&layer.blob)? {
            return Ok(());
        }
        let mut writer = store.blobs().writer()?;
        match self {
            Self::Directory { .. } => {
                let path = self.blob_path(&layer.blob);
                let expected = layer.blob;
                let copy = move || {
                    let failed = |cause| CacheError::Directory { action: "read", path: path.clone(), cause };
                    let mut file = std::fs::File::open(&path).map_err(failed)?;
                    io::copy(&mut file, &mut writer).map_err(failed)?;
                    writer.commit(Some(&expected))?;
                    Ok(())
                };
                tokio::task::spawn_blocking(copy).await.map_err(|_| gave_up())?
            }
            Self::Registry { client, reference } => {
                let sink = Sink(writer);
                let sink = client.blob(reference, &descriptor(layer)?, sink).await?;
                sink.0.commit(Some(&layer.blob))?;
                Ok(())
            }
        }
    }

    /// Keeps the document, and those blobs of its layers that are not in `known`.
    pub(super) async fn save(
        &self,
        document: &Document,
        known: &HashSet<Digest>,
        store: &Store,
        image_manifest: bool,
    ) -> Result<(), CacheError> {
        let config = serde_json::to_vec(document).map_err(|error| CacheError::Damaged(error.to_string()))?;
        let (kind, manifest) = document.manifest(&config, image_manifest);
        let new = document.layers.iter().filter(|layer| !known.contains(&layer.blob));
        match self {
            Self::Directory { .. } => {
                for layer in new {
                    self.copy_in(layer, store)?;
                }
                self.write_document(&config, &manifest, kind)
            }
            Self::Registry { client, reference } => {
                let blobs: Arc<StoreBlobs> = Arc::new(StoreBlobs::new(store.clone()));
                let pushes = new.map(|layer| {
                    let source = Arc::new(FromStore { blobs: Arc::clone(&blobs), digest: layer.blob });
                    async move {
                        client.push_blob(reference, &descriptor(layer)?, source, &[]).await?;
                        Ok::<(), CacheError>(())
                    }
                });
                futures_util::future::try_join_all(pushes).await?;
                let described = DescriptorBuilder::default()
                    .media_type(MediaType::Other(super::document::MEDIA_TYPE.to_owned()))
                    .digest(oci_digest(&Digest::of(&config))?)
                    .size(config.len() as u64)
                    .build()
                    .map_err(|error| CacheError::Damaged(error.to_string()))?;
                client.push_blob(reference, &described, Arc::new(config), &[]).await?;
                client.push_manifest(reference, kind, &manifest).await?;
                Ok(())
            }
        }
    }
}

pub(super) fn gave_up() -> CacheError {
    CacheError::Damaged("the thread that read it gave up".to_owned())
}

fn oci_digest(digest: &Digest) -> Result<kiln_core::oci_spec::image::Digest, CacheError> {
    digest.to_string().parse().map_err(|_| CacheError::Damaged(digest.to_string()))
}

fn descriptor(layer: &CachedLayer) -> Result<Descriptor, CacheError> {
    DescriptorBuilder::default()
        .media_type(MediaType::from(&*layer.media_type))
        .digest(oci_digest(&layer.blob)?)
        .size(layer.size)
        .build()
        .map_err(|error| CacheError::Damaged(error.to_string()))
}

/// A blob on its way into the store.
struct Sink(kiln_cache::BlobWriter);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl BlobSink for Sink {}

/// A blob of the store on its way out.
struct FromStore {
    blobs: Arc<StoreBlobs>,
    digest: Digest,
}

impl BlobSource for FromStore {
    fn open(&self, offset: u64) -> io::Result<Box<dyn io::Read + Send>> {
        self.blobs.open_at(&self.digest, offset).map_err(io::Error::other)
    }
}
