//! Under which digest a registry has an image: what people pin it by (`repository@sha256:…`).

use kiln_cache::{ImageRecord, IndexError, Store, StoredImage};
use kiln_core::{Digest, Reference};

const NAMESPACE: &str = "pushed";

/// Remembers that the repository of `name` has the image, whose document there, a manifest or an index, has this digest.
///
/// # Errors
/// If the index cannot be written.
pub(crate) fn note(
    store: &Store,
    record: &ImageRecord,
    name: &Reference,
    digest: &Digest,
) -> Result<(), IndexError> {
    store.index().set_fact(NAMESPACE, &key(&record.id(), name), digest.as_bytes(), None)
}

/// The digest that the repository of `name` has the image under, if it was pushed there or came from there.
///
/// # Errors
/// If the index cannot be read.
pub(crate) fn digest(
    store: &Store,
    image: &StoredImage,
    name: &Reference,
) -> Result<Option<Digest>, IndexError> {
    let fact = store.index().fact(NAMESPACE, &key(&image.id, name))?;
    Ok(fact.and_then(|fact| Some(Digest::from_bytes(fact.value.try_into().ok()?))))
}

/// `repository@sha256:…` of all its names that a registry has.
///
/// # Errors
/// If the index cannot be read.
pub(crate) fn digests(store: &Store, image: &StoredImage) -> Result<Vec<String>, IndexError> {
    let mut all = Vec::new();
    for name in image.names.iter().filter_map(|name| name.parse::<Reference>().ok()) {
        if let Some(digest) = digest(store, image, &name)? {
            all.push(format!("{}@{digest}", name.familiar_name()));
        }
    }
    all.dedup();
    Ok(all)
}

fn key(image: &kiln_core::ContentHash, name: &Reference) -> Vec<u8> {
    format!("{} {}", image.hex(), name.name()).into_bytes()
}
