//! An image to registries: layers side by side, manifests after them, names last.

use std::io::{self, Read};
use std::sync::Arc;

use futures_util::future::try_join_all;
use kiln_core::{Digest, Reference};
use kiln_registry::{BlobSource, Client, RegistryError};

use crate::blob::{Blob, BlobRead, Exported};

/// What an image becomes at registries.
#[derive(Debug, Clone, Default)]
pub struct PushTo {
    /// Where it goes and what it is called there; several registries and repositories are allowed.
    pub names: Vec<Reference>,
    /// Whether it gets no tag (`push-by-digest=true`).
    pub by_digest: bool,
    /// Repositories that may have layers of the image already, such as the base image's: a registry takes them over.
    pub from: Vec<Reference>,
}

/// What failed with a push.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The registry, or the way to it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A descriptor whose digest kiln cannot verify.
    #[error("a layer has a digest of another kind")]
    Digest(#[from] kiln_core::DigestError),
    /// No place for a blob on its way from one registry to another.
    #[error("keep blob {blob} on its way")]
    Room {
        /// Which.
        blob: Digest,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// A name that cannot have a digest.
    #[error(transparent)]
    Reference(#[from] kiln_core::ReferenceError),
}

/// Sends an image. What a repository has already is not sent again; its tags are set when all else is there.
///
/// Returns the digest that the names then lead to.
///
/// # Errors
/// The first that any part meets. Tags are then as they were, but for those set before.
pub async fn push(
    client: &Client,
    exported: Exported<'_>,
    to: &PushTo,
    blobs: &Arc<dyn BlobRead>,
) -> Result<Digest, PushError> {
    let mut done: Vec<&Reference> = Vec::new();
    for name in &to.names {
        if !done.iter().any(|other| other.name() == name.name()) {
            // What went to another repository of the same registry is taken over from there.
            let from: Vec<Reference> = to.from.iter().chain(done.iter().copied()).cloned().collect();
            push_content(client, exported, name, &from, blobs).await?;
            done.push(name);
        }
    }
    let root = exported.root();
    for name in &to.names {
        let name = if to.by_digest { by_digest(name, &root.digest())? } else { name.clone() };
        push_manifest(client, &name, root).await?;
    }
    Ok(root.digest())
}

/// Layers, configurations and an index's manifests: all but what the tags name.
async fn push_content(
    client: &Client,
    exported: Exported<'_>,
    name: &Reference,
    from: &[Reference],
    blobs: &Arc<dyn BlobRead>,
) -> Result<(), PushError> {
    let layers = exported.layers().into_iter().map(|layer| async move {
        let digest = crate::document::digest_of(&layer.descriptor)?;
        let source = Arc::new(Stored { blobs: Arc::clone(blobs), digest });
        client.push_blob(name, &layer.descriptor, source, from).await?;
        Ok::<(), PushError>(())
    });
    let configs = exported.images().iter().map(|image| async move {
        let source = Arc::new(image.config.bytes.clone());
        client.push_blob(name, &image.config.descriptor, source, &[]).await?;
        Ok::<(), PushError>(())
    });
    futures_util::future::try_join(try_join_all(layers), try_join_all(configs)).await?;
    if let Exported::Index(index) = exported {
        for image in &index.images {
            push_manifest(client, &by_digest(name, &image.manifest.digest())?, &image.manifest).await?;
        }
    }
    Ok(())
}

async fn push_manifest(client: &Client, name: &Reference, manifest: &Blob) -> Result<(), PushError> {
    let media_type = manifest.descriptor.media_type().to_string();
    client.push_manifest(name, &media_type, &manifest.bytes).await?;
    Ok(())
}

/// The repository of `name` with a digest and no tag.
pub(crate) fn by_digest(name: &Reference, digest: &Digest) -> Result<Reference, PushError> {
    Ok(format!("{}@{digest}", name.name()).parse()?)
}

/// A blob that a push can read again from any byte.
struct Stored {
    blobs: Arc<dyn BlobRead>,
    digest: Digest,
}

impl BlobSource for Stored {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        self.blobs.open_at(&self.digest, offset).map_err(io::Error::other)
    }
}
