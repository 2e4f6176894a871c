//! A cache in a registry: an artifact of its own, or the configuration of an image.

use std::sync::Arc;

use kiln_cache::Store;
use kiln_core::oci_spec::image::{Descriptor, DescriptorBuilder, MediaType};
use kiln_core::{Digest, Platform, Reference};
use kiln_registry::{Client, Fault};

use super::backend::{CacheError, FromStore, Sink};
use super::document::{CachedLayer, INLINE_KEY, MEDIA_TYPE, config_of};

/// A repository, and the tag of the document in it.
pub(super) struct Repository {
    pub(super) client: Client,
    pub(super) reference: Reference,
}

impl Repository {
    /// The bytes of the document, if there is something under the tag.
    pub(super) async fn document(&self) -> Result<Option<Vec<u8>>, CacheError> {
        let Self { client, reference } = self;
        let manifest = match client.resolve(reference).await {
            Ok(manifest) => manifest,
            Err(error) if matches!(error.fault.root(), Fault::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if let Some(config) = config_of(&manifest.bytes) {
            return Ok(Some(client.blob(reference, &config, Vec::new()).await?));
        }
        let image = client.image(reference, &Platform::host()).await?;
        let inline = image.config.other.get(INLINE_KEY);
        let text = inline.ok_or_else(|| CacheError::NoCache(reference.to_string()))?.to_string();
        Ok(Some(text.into_bytes()))
    }

    pub(super) async fn has(&self, blob: &Digest) -> Result<bool, CacheError> {
        Ok(self.client.has_blob(&self.reference, blob).await?)
    }

    pub(super) async fn fetch(&self, layer: &CachedLayer, store: &Store) -> Result<(), CacheError> {
        let sink = Sink::new(store)?;
        let sink = self.client.blob(&self.reference, &descriptor(layer)?, sink).await?;
        sink.commit(&layer.blob)
    }

    pub(super) async fn put(&self, layer: &CachedLayer, source: FromStore) -> Result<(), CacheError> {
        let source = Arc::new(source);
        self.client.push_blob(&self.reference, &descriptor(layer)?, source, &[]).await?;
        Ok(())
    }

    /// Puts the document in place of the one under the tag.
    pub(super) async fn finish(
        &self,
        document: Vec<u8>,
        kind: &str,
        manifest: &[u8],
    ) -> Result<(), CacheError> {
        let described = DescriptorBuilder::default()
            .media_type(MediaType::Other(MEDIA_TYPE.to_owned()))
            .digest(oci_digest(&Digest::of(&document))?)
            .size(document.len() as u64)
            .build()
            .map_err(|error| CacheError::Damaged(error.to_string()))?;
        self.client.push_blob(&self.reference, &described, Arc::new(document), &[]).await?;
        self.client.push_manifest(&self.reference, kind, manifest).await?;
        Ok(())
    }
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
