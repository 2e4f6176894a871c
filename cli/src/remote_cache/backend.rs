//! Where documents and blobs are kept.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use kiln_cache::{BlobError, BlobWriter, Store};
use kiln_core::{Digest, Reference};
use kiln_exporter::BlobRead as _;
use kiln_registry::{BlobSink, BlobSource, FetchOutcome, FetchRequest, Http, RegistryError, Validators};

use super::actions::ActionsCache;
use super::bucket::BucketCache;
use super::directory::Directory;
use super::document::{CachedLayer, Document};
use super::repository::Repository;
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
    /// A bucket or a service that cannot be used so: why not, and what to do.
    #[error("{0}")]
    Unusable(String),
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
    Directory(Directory),
    Repository(Repository),
    Bucket(Box<BucketCache>),
    Actions(ActionsCache),
}

/// As many layers as are sent at a time: BuildKit's number.
const AT_ONCE: usize = 4;

impl Backend {
    /// Opens what was meant. An inline cache is none of its own.
    ///
    /// # Errors
    /// If there are no credentials for it.
    pub(super) fn open(place: &Place, services: &Services) -> Result<Option<Self>, CacheError> {
        let http = || services.client().http();
        let environment = &services.environment;
        Ok(Some(match place {
            Place::Local { directory, tag, digest } => Self::Directory(Directory {
                root: directory.clone(),
                tag: tag.clone(),
                digest: digest.clone(),
            }),
            Place::Registry { reference } => Self::repository(reference, services),
            Place::Bucket(place) => Self::Bucket(Box::new(BucketCache::open(place, http(), environment)?)),
            Place::Actions(place) => Self::Actions(ActionsCache::open(place, http(), environment)?),
            Place::Inline => return Ok(None),
        }))
    }

    fn repository(reference: &Reference, services: &Services) -> Self {
        Self::Repository(Repository { client: services.client().clone(), reference: reference.clone() })
    }

    /// The document; `None` if nothing was ever kept there.
    pub(super) async fn load(&self) -> Result<Option<Document>, CacheError> {
        let bytes = match self {
            Self::Directory(directory) => directory.document()?,
            Self::Repository(repository) => repository.document().await?,
            Self::Bucket(bucket) => bucket.document().await?,
            Self::Actions(actions) => actions.document().await?,
        };
        let unreadable = || CacheError::Damaged("its document cannot be read".to_owned());
        bytes.map(|bytes| Document::parse(&bytes).ok_or_else(unreadable)).transpose()
    }

    /// Whether the blob is there.
    pub(super) async fn has(&self, blob: &Digest) -> Result<bool, CacheError> {
        match self {
            Self::Directory(directory) => Ok(directory.blob_path(blob).is_file()),
            Self::Repository(repository) => repository.has(blob).await,
            Self::Bucket(bucket) => bucket.has(blob).await,
            Self::Actions(actions) => actions.has(blob).await,
        }
    }

    /// Brings a layer's blob into the store, verified.
    pub(super) async fn fetch(&self, layer: &CachedLayer, store: &Store) -> Result<(), CacheError> {
        if store.blobs().contains(&layer.blob)? {
            return Ok(());
        }
        match self {
            Self::Directory(directory) => directory.fetch(layer, store).await,
            Self::Repository(repository) => repository.fetch(layer, store).await,
            Self::Bucket(bucket) => bucket.fetch(layer, store).await,
            Self::Actions(actions) => actions.fetch(layer, store).await,
        }
    }

    /// Keeps the document, and those blobs of its layers that are not in `known`. The document comes last: what it lists
    /// is there.
    pub(super) async fn save(
        &self,
        document: &Document,
        known: &HashSet<Digest>,
        store: &Store,
        image_manifest: bool,
    ) -> Result<(), CacheError> {
        use futures_util::TryStreamExt as _;
        let config = serde_json::to_vec(document).map_err(|error| CacheError::Damaged(error.to_string()))?;
        let (kind, manifest) = document.manifest(&config, image_manifest);
        let blobs = Arc::new(StoreBlobs::new(store.clone()));
        let new = document.layers.iter().filter(|layer| !known.contains(&layer.blob));
        let puts = new.map(|layer| {
            let source = FromStore { blobs: Arc::clone(&blobs), digest: layer.blob };
            Ok(async move {
                match self {
                    Self::Directory(directory) => directory.copy_in(layer, store),
                    Self::Repository(repository) => repository.put(layer, source).await,
                    Self::Bucket(bucket) => bucket.put(layer, source).await,
                    Self::Actions(actions) => actions.put(layer, source).await,
                }
            })
        });
        let puts: Vec<Result<_, CacheError>> = puts.collect();
        futures_util::stream::iter(puts).try_buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        match self {
            Self::Directory(directory) => directory.write_document(&config, &manifest, kind),
            Self::Repository(repository) => repository.finish(config, kind, &manifest).await,
            Self::Bucket(bucket) => bucket.finish(config).await,
            Self::Actions(actions) => actions.finish(config).await,
        }
    }
}

pub(super) fn gave_up() -> CacheError {
    CacheError::Damaged("the thread that read it gave up".to_owned())
}

/// A document at an address.
pub(super) async fn fetch_document(http: &Http, url: String) -> Result<Vec<u8>, CacheError> {
    const LARGEST: u64 = 256 << 20;
    let request = FetchRequest { url, known: Validators::default(), limit: LARGEST, authorization: None };
    match http.fetch(&request, Vec::new()).await? {
        FetchOutcome::Fetched { sink, .. } | FetchOutcome::NotModified(sink) => Ok(sink),
    }
}

/// A layer's blob at an address, into the store.
pub(super) async fn fetch_blob(
    http: &Http,
    url: String,
    layer: &CachedLayer,
    sink: Sink,
) -> Result<(), CacheError> {
    let request = FetchRequest { url, known: Validators::default(), limit: layer.size, authorization: None };
    match http.fetch(&request, sink).await? {
        FetchOutcome::Fetched { sink, .. } | FetchOutcome::NotModified(sink) => sink.commit(&layer.blob),
    }
}

/// A blob on its way into the store.
pub(super) struct Sink {
    store: Store,
    writer: BlobWriter,
}

impl Sink {
    pub(super) fn new(store: &Store) -> Result<Self, CacheError> {
        Ok(Self { writer: store.blobs().writer()?, store: store.clone() })
    }

    /// Keeps it, if it is what it should be.
    pub(super) fn commit(self, expected: &Digest) -> Result<(), CacheError> {
        self.writer.commit(Some(expected))?;
        Ok(())
    }
}

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl BlobSink for Sink {
    fn restart(&mut self) -> io::Result<()> {
        self.writer = self.store.blobs().writer().map_err(io::Error::other)?;
        Ok(())
    }
}

/// A blob of the store on its way out.
pub(super) struct FromStore {
    blobs: Arc<StoreBlobs>,
    digest: Digest,
}

impl BlobSource for FromStore {
    fn open(&self, offset: u64) -> io::Result<Box<dyn io::Read + Send>> {
        self.blobs.open_at(&self.digest, offset).map_err(io::Error::other)
    }
}
