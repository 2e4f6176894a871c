//! Pull: manifests by tag or digest, images for a platform, blobs from the first source that has them whole.

use std::io;

use kiln_core::oci_spec::image::Descriptor;
use kiln_core::{Digest, ImageConfig, Platform, Reference};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode};

use crate::client::not_html;
use crate::download::{BlobSink, Download, Stop, write_pieces};
use crate::error::Fault;
use crate::manifest::{
    ACCEPTED_MANIFESTS, MAX_DEPTH, MAX_MANIFEST, digest_of, is_index, media_type, offered,
};
use crate::retry::Patience;
use crate::session::Session;
use crate::transport::Answer;
use crate::{Client, Document, Fetched, RegistryError, RemoteImage, choose_platform};

impl Client {
    /// What a tag or digest points to: a manifest or an index, checked against the digest that was asked for or that
    /// the registry announced.
    ///
    /// # Errors
    /// See [`Fault`]; [`RegistryError::is_not_found`] if there is no such image.
    pub async fn resolve(&self, reference: &Reference) -> Result<Fetched, RegistryError> {
        self.fetch_manifest(reference, reference.digest()).await
    }

    /// The manifest or index with `digest` in the repository of `reference`.
    ///
    /// # Errors
    /// As for [`Client::resolve`].
    pub async fn manifest(&self, reference: &Reference, digest: &Digest) -> Result<Fetched, RegistryError> {
        self.fetch_manifest(reference, Some(digest)).await
    }

    /// The digest that a tag points to, without its content: what rate limits do not count.
    ///
    /// # Errors
    /// As for [`Client::resolve`].
    pub async fn digest(&self, reference: &Reference) -> Result<Digest, RegistryError> {
        if let Some(digest) = reference.digest() {
            return Ok(*digest);
        }
        let attempt = format!("resolve {reference}");
        let failed = |fault| RegistryError::new(attempt.clone(), fault);
        let tag = reference.tag_or_latest().unwrap_or("latest");
        let mut last = None;
        let mut digest = None;
        for session in self.sources(reference, true).await.map_err(failed)? {
            let policy = self.source_policy(&session);
            let mut patience = Patience::new(&policy, &**self.watch(), &attempt);
            match head_manifest(&session, tag, &mut patience).await {
                Ok(found) => {
                    digest = found;
                    last = None;
                    break;
                }
                Err(fault) => last = Some(fault),
            }
        }
        if let Some(fault) = last {
            return Err(failed(fault));
        }
        match digest {
            Some(digest) => Ok(digest),
            // Registries need not say the digest in answer to HEAD.
            None => Ok(self.resolve(reference).await?.digest()),
        }
    }

    /// The image for `platform`: from a tag or digest over indexes to the manifest and the configuration.
    ///
    /// # Errors
    /// As for [`Client::resolve`], and [`Fault::NoPlatform`], and what is wrong with the documents.
    pub async fn image(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<RemoteImage, RegistryError> {
        let attempt = format!("resolve {reference} for {platform}");
        let failed = |fault| RegistryError::new(attempt.clone(), fault);
        let mut manifest = self.resolve(reference).await?;
        let resolved = manifest.digest();
        let mut index: Option<Fetched> = None;
        let mut unnamed = false;
        for _ in 0..=MAX_DEPTH {
            match manifest.document().map_err(failed)? {
                Document::Image(image) => {
                    let config_bytes = self.image_config(reference, image.config()).await?;
                    let malformed =
                        |what: String| failed(Fault::Malformed { document: "image configuration", what });
                    let config: ImageConfig =
                        serde_json::from_slice(&config_bytes).map_err(|e| malformed(e.to_string()))?;
                    let (layers, diff_ids) = (image.layers().len(), config.rootfs.diff_ids.len());
                    if layers != diff_ids {
                        return Err(malformed(format!("it lists {diff_ids} layers, the manifest {layers}")));
                    }
                    // The index did not say what it is for; the configuration does.
                    if unnamed && !platform.runs(&config.platform()) {
                        let offered = vec![config.platform().to_string()];
                        return Err(failed(Fault::NoPlatform { wanted: platform.clone(), offered }));
                    }
                    return Ok(RemoteImage { resolved, index, manifest, image, config_bytes, config });
                }
                Document::Index(list) => {
                    let Some(entry) = choose_platform(&list, platform) else {
                        let offered = offered(&list);
                        return Err(failed(Fault::NoPlatform { wanted: platform.clone(), offered }));
                    };
                    unnamed = entry.platform().is_none() && !is_index(&entry);
                    let digest = digest_of(&entry).map_err(failed)?;
                    let next = self.manifest(reference, &digest).await?;
                    let (expected, found) = (entry.size(), next.bytes.len() as u64);
                    if expected != found {
                        let host = reference.registry().to_owned();
                        return Err(failed(Fault::SizeMismatch { host, expected, found }));
                    }
                    if is_index(&next.descriptor) != is_index(&entry) {
                        let found = next.descriptor.media_type().to_string();
                        let wanted = "the index announced another kind of manifest";
                        return Err(failed(Fault::MediaType { found, wanted }));
                    }
                    index.get_or_insert(std::mem::replace(&mut manifest, next));
                }
            }
        }
        Err(failed(Fault::TooDeep(MAX_DEPTH)))
    }

    async fn image_config(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
    ) -> Result<Vec<u8>, RegistryError> {
        let kind = descriptor.media_type().as_ref();
        if !matches!(kind, media_type::OCI_CONFIG | media_type::DOCKER_CONFIG) {
            let wanted = "this is an artifact of another kind, not a container image";
            let fault = Fault::MediaType { found: kind.to_owned(), wanted };
            return Err(RegistryError::new(format!("pull {reference}"), fault));
        }
        self.small_blob(reference, descriptor).await
    }

    /// A blob in memory, verified; at most [`MAX_MANIFEST`] bytes.
    ///
    /// # Errors
    /// [`Fault::TooLarge`], and as for [`Client::blob`].
    pub async fn small_blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
    ) -> Result<Vec<u8>, RegistryError> {
        if descriptor.size() > MAX_MANIFEST {
            let fault = Fault::TooLarge { limit: MAX_MANIFEST };
            return Err(RegistryError::new(blob_attempt("pull", reference, descriptor), fault));
        }
        self.blob(reference, descriptor, Vec::new()).await
    }

    /// Streams a blob into `sink` and hands it back when digest and size are right. A broken transfer goes on where
    /// it broke, from the next mirror if need be; the sink sees nothing of it.
    ///
    /// # Errors
    /// [`Fault::DigestMismatch`], [`Fault::SizeMismatch`], [`Fault::Sink`], and what connections and registries do.
    /// The sink is dropped then.
    pub async fn blob<S: BlobSink>(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        sink: S,
    ) -> Result<S, RegistryError> {
        let attempt = blob_attempt("pull", reference, descriptor);
        let digest = digest_of(descriptor).map_err(|fault| RegistryError::new(attempt.clone(), fault))?;
        let _turn = self.transfer().await;
        let failed = |fault| RegistryError::new(attempt.clone(), fault);
        let sources = self.sources(reference, false).await.map_err(failed)?;
        let (mut download, pieces) = Download::new(digest, descriptor.size());
        let writer = tokio::task::spawn_blocking(move || write_pieces(sink, pieces, digest));
        let mut outcome = Ok(());
        for session in &sources {
            let policy = self.source_policy(session);
            let mut patience = Patience::new(&policy, &**self.watch(), &attempt);
            outcome = download.run(session, &mut patience, &**self.watch()).await;
            if matches!(outcome, Ok(()) | Err(Stop::WriterGone)) {
                break;
            }
        }
        drop(download);
        let written = writer.await.unwrap_or_else(|panicked| Err(io::Error::other(panicked)));
        match outcome {
            Ok(()) => written.map_err(|cause| failed(Fault::Sink(cause))),
            Err(Stop::Fault(fault)) => Err(failed(fault)),
            Err(Stop::WriterGone) => match written {
                Err(cause) => Err(failed(Fault::Sink(cause))),
                Ok(_) => Err(failed(Fault::Sink(io::ErrorKind::BrokenPipe.into()))),
            },
        }
    }

    async fn fetch_manifest(
        &self,
        reference: &Reference,
        digest: Option<&Digest>,
    ) -> Result<Fetched, RegistryError> {
        let attempt = match digest {
            Some(digest) => format!("pull manifest {digest} of {}", reference.name()),
            None => format!("pull manifest of {reference}"),
        };
        let failed = |fault| RegistryError::new(attempt.clone(), fault);
        let wanted = match digest {
            Some(digest) => digest.to_string(),
            None => reference.tag_or_latest().unwrap_or("latest").to_owned(),
        };
        let sources = self.sources(reference, digest.is_none()).await.map_err(failed)?;
        let mut last = None;
        for session in &sources {
            let policy = self.source_policy(session);
            let mut patience = Patience::new(&policy, &**self.watch(), &attempt);
            loop {
                match get_manifest(session, &wanted, digest).await {
                    Ok(fetched) => return Ok(fetched),
                    Err(fault) => match patience.after(fault).await {
                        Ok(()) => {}
                        Err(fault) => {
                            last = Some(fault);
                            break;
                        }
                    },
                }
            }
        }
        let nobody = || Fault::NotFound { detail: "no mirror answers for tags".to_owned() };
        Err(failed(last.unwrap_or_else(nobody)))
    }
}

pub(crate) async fn get_manifest(
    session: &Session,
    wanted: &str,
    digest: Option<&Digest>,
) -> Result<Fetched, Fault> {
    let mut request = session.request(Method::GET, &format!("manifests/{wanted}"));
    request.headers.insert(ACCEPT, HeaderValue::from_static(ACCEPTED_MANIFESTS));
    let mut answer = session.send(request).await?;
    if answer.response.status() != StatusCode::OK {
        return Err(session.refused(answer).await);
    }
    not_html(&answer)?;
    let patience = session.transport.options().stall_timeout;
    let announced = announced_digest(&answer)?;
    let content_type = answer.header(CONTENT_TYPE.as_str()).unwrap_or_default().to_owned();
    let bytes = answer.body(MAX_MANIFEST, patience).await?;
    let fetched = Fetched::from_answer(&content_type, bytes);
    let found = fetched.digest();
    // A registry that announces the digest of other bytes has them mixed up, even if nobody asked by digest.
    match digest.copied().or(announced) {
        Some(expected) if expected != found => {
            Err(Fault::DigestMismatch { host: answer.host(), expected, found })
        }
        _ => Ok(fetched),
    }
}

async fn head_manifest(
    session: &Session,
    tag: &str,
    patience: &mut Patience<'_>,
) -> Result<Option<Digest>, Fault> {
    loop {
        let mut request = session.request(Method::HEAD, &format!("manifests/{tag}"));
        request.headers.insert(ACCEPT, HeaderValue::from_static(ACCEPTED_MANIFESTS));
        let fault = match session.send(request).await {
            Ok(answer) if answer.response.status() == StatusCode::OK => {
                not_html(&answer)?;
                return announced_digest(&answer);
            }
            Ok(answer) => session.refused(answer).await,
            Err(fault) => fault,
        };
        patience.after(fault).await?;
    }
}

fn announced_digest(answer: &Answer) -> Result<Option<Digest>, Fault> {
    let Some(text) = answer.header("docker-content-digest") else { return Ok(None) };
    match text.parse() {
        Ok(digest) => Ok(Some(digest)),
        // Announced in an algorithm that kiln does not compute: as if nothing were announced.
        Err(kiln_core::DigestError::Algorithm(_)) => Ok(None),
        Err(e) => Err(Fault::Protocol { host: answer.host(), what: e.to_string() }),
    }
}

fn blob_attempt(verb: &str, reference: &Reference, descriptor: &Descriptor) -> String {
    format!("{verb} {} of {}", descriptor.digest(), reference.name())
}
