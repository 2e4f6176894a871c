//! Images of the local store, by whatever people call them.

use kiln_cache::{ImageRecord, IndexError, LayerError, Store, StoredImage};
use kiln_core::{Digest, ImageConfig, LayerId, Reference};

/// What cannot be found in the local store.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LocalError {
    /// Neither a name nor an id.
    #[error("no such image in the store: {0}")]
    Missing(String),
    /// An id that begins more than one.
    #[error("`{0}` begins the ids of several images: give more of it")]
    Ambiguous(String),
    /// The index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A layer whose digest was needed.
    #[error("compute the digest of a layer")]
    Layer(#[from] LayerError),
}

/// Finds an image by name, by id (with or without `sha256:`, or its beginning), or by the digest of its manifest.
///
/// # Errors
/// If there is none, or more than one.
pub(crate) fn find(store: &Store, text: &str) -> Result<StoredImage, LocalError> {
    if let Ok(name) = text.parse::<Reference>()
        && let Some(record) = named(store, &name)?
    {
        return Ok(StoredImage { id: record.id(), names: vec![name.to_string()], record });
    }
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    if digits.len() < 4 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(LocalError::Missing(text.to_owned()));
    }
    let mut found = Vec::new();
    for image in store.index().images()? {
        if image_id(store, &image.record)?.hex().starts_with(digits) {
            found.push(image);
        }
    }
    match (found.pop(), found.is_empty()) {
        (None, _) => Err(LocalError::Missing(text.to_owned())),
        (Some(image), true) => Ok(image),
        (Some(_), false) => Err(LocalError::Ambiguous(text.to_owned())),
    }
}

/// The image of a name; a name with a digest is the image that came under it.
///
/// # Errors
/// The index's.
pub(crate) fn named(store: &Store, name: &Reference) -> Result<Option<ImageRecord>, IndexError> {
    let Some(digest) = name.digest() else { return store.index().image(name) };
    let images = store.index().images()?;
    let is_it =
        |image: &StoredImage| image.record.origin.as_ref().is_some_and(|origin| origin.manifest == *digest);
    Ok(images.into_iter().find(is_it).map(|image| image.record))
}

/// The configuration of an image with the digests of its layers, computed now if nobody asked before.
///
/// # Errors
/// If a layer cannot be read.
pub(crate) fn full_config(store: &Store, record: &ImageRecord) -> Result<ImageConfig, LocalError> {
    let mut config = record.config.clone();
    if config.rootfs.diff_ids.len() != record.snapshot.layers.len() {
        config.rootfs.diff_ids =
            record.snapshot.layers.iter().map(|layer| diff_id(store, layer)).collect::<Result<_, _>>()?;
    }
    Ok(config)
}

/// The id that Docker shows: the digest of the configuration.
///
/// # Errors
/// If a layer cannot be read.
pub(crate) fn image_id(store: &Store, record: &ImageRecord) -> Result<Digest, LocalError> {
    if let Some(origin) = &record.origin {
        return Ok(origin.config);
    }
    Ok(Digest::of(&kiln_exporter::config_json(&full_config(store, record)?)))
}

/// The digest of a layer's tar: remembered, or computed by hashing the tar without writing it.
fn diff_id(store: &Store, layer: &LayerId) -> Result<kiln_core::DiffId, LocalError> {
    if let Some(known) = store.index().diff_id(layer)? {
        return Ok(known);
    }
    let computed = store.layers().diff_id(layer, None)?;
    store.index().note_diff_id(layer, &computed)?;
    Ok(computed)
}
