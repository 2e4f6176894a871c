//! Push: blobs by the cheapest way, manifests under tags and digests.

use std::sync::Arc;

use kiln_core::oci_spec::image::Descriptor;
use kiln_core::{Digest, Reference};
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderValue};

use crate::error::Fault;
use crate::manifest::digest_of;
use crate::session::Session;
use crate::transport::{Answer, Payload};
use crate::upload::{Push, cancel, exists, mount};
use crate::{BlobSource, Client, Pushed, RegistryError, referrers};

impl Client {
    /// Whether the repository of `reference` has the blob.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn has_blob(&self, reference: &Reference, digest: &Digest) -> Result<bool, RegistryError> {
        let attempt = format!("look for {digest} in {}", reference.name());
        let failed = |fault| RegistryError::new(attempt.clone(), fault);
        let session = self.destination(reference, &[]).await.map_err(failed)?;
        let mut patience = self.patience(&attempt);
        loop {
            match exists(&session, &format!("blobs/{digest}")).await {
                Ok(there) => return Ok(there),
                Err(fault) => patience.after(fault).await.map_err(failed)?,
            }
        }
    }

    /// Brings a blob into the repository of `reference`, by the cheapest way: it is there, it is in one of the
    /// repositories `from` of the same registry, or it is uploaded. A broken upload goes on where it broke, if the
    /// registry keeps it.
    ///
    /// # Errors
    /// See [`Fault`]; [`Fault::Source`] and [`Fault::ShortSource`] if the content is not there.
    pub async fn push_blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        source: Arc<dyn BlobSource>,
        from: &[Reference],
    ) -> Result<Pushed, RegistryError> {
        let from: Vec<&Reference> = from
            .iter()
            .filter(|other| {
                other.registry() == reference.registry() && other.repository() != reference.repository()
            })
            .collect();
        self.send_blob(reference, descriptor, source, &from, false).await
    }

    /// Uploads a blob that is not there, as [`Client::has_blob`] or [`Client::mount_blob`] said: nobody asks again.
    ///
    /// # Errors
    /// As for [`Client::push_blob`].
    pub async fn upload_blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        source: Arc<dyn BlobSource>,
    ) -> Result<(), RegistryError> {
        self.send_blob(reference, descriptor, source, &[], true).await.map(|_| ())
    }

    async fn send_blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        source: Arc<dyn BlobSource>,
        from: &[&Reference],
        missing: bool,
    ) -> Result<Pushed, RegistryError> {
        let attempt = format!("push {} to {}", descriptor.digest(), reference.name());
        let failed = |fault| RegistryError::new(attempt.clone(), fault);
        let digest = digest_of(descriptor).map_err(failed)?;
        let _turn = self.transfer().await;
        let session = self.destination(reference, from).await.map_err(failed)?;
        let from = from.iter().map(|other| other.repository().to_owned()).collect();
        let size = descriptor.size();
        let mut push = Push::new(session, (digest, size), source, from, Arc::clone(self.watch()));
        if missing {
            push = push.missing();
        }
        let mut patience = self.patience(&attempt);
        loop {
            match push.run(&mut patience).await {
                Ok(pushed) => {
                    self.watch().bytes(size, size);
                    return Ok(pushed);
                }
                Err(fault) => patience.after(fault).await.map_err(failed)?,
            }
        }
    }

    /// Takes a blob over from another repository of the same registry, if the registry can. Says whether it did.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn mount_blob(
        &self,
        reference: &Reference,
        digest: &Digest,
        from: &Reference,
    ) -> Result<bool, RegistryError> {
        let attempt = format!("mount {digest} of {} to {}", from.name(), reference.name());
        let failed = |fault| RegistryError::new(attempt.clone(), fault);
        if from.registry() != reference.registry() {
            return Ok(false);
        }
        let session = self.destination(reference, &[from]).await.map_err(failed)?;
        let mut patience = self.patience(&attempt);
        loop {
            match mount(&session, digest, from.repository()).await {
                Ok(None) => return Ok(true),
                Ok(Some(begun)) => {
                    cancel(&session, begun).await;
                    return Ok(false);
                }
                Err(fault) => patience.after(fault).await.map_err(failed)?,
            }
        }
    }

    /// Puts a manifest or index under the tag of `reference`, or under its own digest if `reference` has no tag but a
    /// digest. What it refers to must be there. Returns its digest.
    ///
    /// # Errors
    /// See [`Fault`]; [`Fault::DigestMismatch`] if the registry, or `reference`, names another digest.
    pub async fn push_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Digest, RegistryError> {
        let attempt = format!("push manifest of {reference}");
        let failed = |fault| RegistryError::new(attempt.clone(), fault);
        let found = Digest::of(bytes);
        if let Some(expected) = reference.digest().filter(|digest| **digest != found) {
            let host = "this side".to_owned();
            return Err(failed(Fault::DigestMismatch { host, expected: *expected, found }));
        }
        let name = reference.tag_or_latest().map_or_else(|| found.to_string(), str::to_owned);
        let kind = HeaderValue::try_from(media_type).map_err(|_| {
            let wanted = "that is no media type";
            failed(Fault::MediaType { found: media_type.to_owned(), wanted })
        })?;
        let session = self.destination(reference, &[]).await.map_err(failed)?;
        let mut patience = self.patience(&attempt);
        let answer = loop {
            match put_manifest(&session, &name, &kind, bytes).await {
                Ok(answer) => break answer,
                Err(fault) => patience.after(fault).await.map_err(failed)?,
            }
        };
        let announced = answer.header("docker-content-digest").and_then(|text| text.parse().ok());
        if let Some(other) = announced.filter(|digest| *digest != found) {
            let host = answer.host();
            return Err(failed(Fault::DigestMismatch { host, expected: found, found: other }));
        }
        patience.progressed();
        referrers::note(&session, &answer, (&kind, bytes), &mut patience).await.map_err(failed)?;
        Ok(found)
    }

    /// Whether the repository has the manifest that `reference` names, by HEAD.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn has_manifest(&self, reference: &Reference, digest: &Digest) -> Result<bool, RegistryError> {
        let attempt = format!("look for manifest {digest} in {}", reference.name());
        let failed = |fault| RegistryError::new(attempt.clone(), fault);
        let session = self.destination(reference, &[]).await.map_err(failed)?;
        let mut patience = self.patience(&attempt);
        loop {
            match exists(&session, &format!("manifests/{digest}")).await {
                Ok(there) => return Ok(there),
                Err(fault) => patience.after(fault).await.map_err(failed)?,
            }
        }
    }
}

pub(crate) async fn put_manifest(
    session: &Session,
    name: &str,
    kind: &HeaderValue,
    bytes: &[u8],
) -> Result<Answer, Fault> {
    let mut request = session.request(Method::PUT, &format!("manifests/{name}"));
    request.headers.insert(CONTENT_TYPE, kind.clone());
    request.body = Payload::Bytes(bytes.to_vec());
    request.patience = session.transport.options().commit_timeout;
    let answer = session.send(request).await?;
    match answer.response.status().is_success() {
        true => Ok(answer),
        false => Err(session.refused(answer).await),
    }
}
