//! An image from one repository to others as it stands: blobs first, then manifests from the inside out, names last.

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::future::try_join_all;
use kiln_core::oci_spec::image::Descriptor;
use kiln_core::{Digest, Reference};
use kiln_registry::{Client, Fault, Fetched, MAX_DEPTH, RegistryError};
use serde_json::Value;

use crate::document::digest_of;
use crate::push::{PushError, by_digest};

/// Where a blob may lie between two registries: a file that is not there yet.
pub trait Room: Send + Sync {
    /// Its path. What is there is removed by the room when it goes.
    ///
    /// # Errors
    /// If there is no place for it.
    fn file(&self, digest: &Digest) -> io::Result<PathBuf>;
}

/// A document at a registry.
#[derive(Debug, Clone)]
pub struct Located {
    /// The repository that it and all it names are in.
    pub from: Reference,
    /// The document.
    pub document: Fetched,
}

/// Brings `found`, and all that it names, into the repository of `to`, without its tag: the documents keep their digests.
/// What is there stays; what the same registry has is taken over there; the rest goes through `room`, layer by layer, unopened.
///
/// # Errors
/// The first that any part meets. Nothing has got a name by then.
pub async fn copy_content(
    client: &Client,
    found: &Located,
    to: &Reference,
    room: &Arc<dyn Room>,
) -> Result<(), PushError> {
    let mut seen = BTreeSet::new();
    copy_document(client, &found.from, (&found.document, 0), to, room, &mut seen).await
}

type Copying<'a> = Pin<Box<dyn Future<Output = Result<(), PushError>> + Send + 'a>>;

fn copy_document<'a>(
    client: &'a Client,
    from: &'a Reference,
    (document, depth): (&'a Fetched, usize),
    to: &'a Reference,
    room: &'a Arc<dyn Room>,
    seen: &'a mut BTreeSet<Digest>,
) -> Copying<'a> {
    Box::pin(async move {
        let digest = document.digest();
        // A document may be named twice. That it names itself can only be a lie, which the digest of what comes tells; but
        // a registry may make up ever more of them.
        if !seen.insert(digest) {
            return Ok(());
        }
        if depth > MAX_DEPTH {
            let attempt = format!("copy {digest} of {}", from.name());
            return Err(RegistryError::new(attempt, Fault::TooDeep(MAX_DEPTH)).into());
        }
        let value: Value =
            serde_json::from_slice(&document.bytes).map_err(|error| malformed(from, &error))?;
        if client.has_manifest(to, &digest).await? && value["manifests"].is_null() {
            return Ok(());
        }
        for child in descriptors(from, &value["manifests"])? {
            let child = client.manifest(from, &digest_of(&child)?).await?;
            copy_document(client, from, (&child, depth + 1), to, room, seen).await?;
        }
        let mut blobs = descriptors(from, &value["layers"])?;
        blobs.extend(descriptors(from, &Value::Array(vec![value["config"].clone()]))?);
        // Layers that may not be distributed stay where their addresses point (image-spec, layer.md).
        blobs.retain(|blob| blob.urls().as_ref().is_none_or(Vec::is_empty));
        try_join_all(blobs.iter().map(|blob| copy_blob(client, from, blob, to, room))).await?;
        let name = by_digest(to, &digest)?;
        client.push_manifest(&name, document.descriptor.media_type().as_ref(), &document.bytes).await?;
        Ok(())
    })
}

async fn copy_blob(
    client: &Client,
    from: &Reference,
    blob: &Descriptor,
    to: &Reference,
    room: &Arc<dyn Room>,
) -> Result<(), PushError> {
    let digest = digest_of(blob)?;
    if client.has_blob(to, &digest).await? || client.mount_blob(to, &digest, from).await? {
        return Ok(());
    }
    let no_room = |cause| PushError::Room { blob: digest, cause };
    let path = room.file(&digest).map_err(no_room)?;
    let file = std::fs::File::create_new(&path).map_err(no_room)?;
    client.blob(from, blob, file).await?;
    client.upload_blob(to, blob, Arc::new(path.clone())).await?;
    // A room that is full would be a pity; one that stays a little longer is none.
    let _ = std::fs::remove_file(path);
    Ok(())
}

/// The descriptors of a list, each once.
fn descriptors(from: &Reference, list: &Value) -> Result<Vec<Descriptor>, PushError> {
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for value in list.as_array().into_iter().flatten().filter(|value| !value.is_null()) {
        let descriptor: Descriptor =
            serde_json::from_value(value.clone()).map_err(|error| malformed(from, &error))?;
        if seen.insert(descriptor.digest().to_string()) {
            all.push(descriptor);
        }
    }
    Ok(all)
}

fn malformed(from: &Reference, error: &serde_json::Error) -> PushError {
    let fault = Fault::Malformed { document: "manifest", what: error.to_string() };
    PushError::Registry(RegistryError::new(format!("read a manifest of {from}"), fault))
}
