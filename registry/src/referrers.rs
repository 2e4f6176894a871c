//! What refers to a manifest as its subject: the list that OCI 1.1 registries keep, and the tag that older ones have in its
//! place (distribution-spec, "Referrers Tag Schema").

use kiln_core::oci_spec::image::{Descriptor, ImageIndex};
use kiln_core::{Digest, Reference};
use reqwest::header::{HeaderValue, LINK};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::not_html;
use crate::error::Fault;
use crate::manifest::{MAX_MANIFEST, digest_of, media_type};
use crate::pull::get_manifest;
use crate::push::put_manifest;
use crate::retry::Patience;
use crate::session::Session;
use crate::transport::Answer;
use crate::{Client, RegistryError, redirect};

/// How many pages of a list are read: more than any image has to be said of it.
const MAX_PAGES: usize = 64;

/// The part of a manifest that makes it a referrer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Referring {
    subject: Option<Descriptor>,
    artifact_type: Option<Value>,
    config: Option<Descriptor>,
    annotations: Option<Value>,
}

impl Client {
    /// Descriptors of the manifests in the repository of `reference` whose subject is `digest`.
    ///
    /// # Errors
    /// See [`Fault`]. That a registry keeps no such list is none.
    pub async fn referrers(
        &self,
        reference: &Reference,
        digest: &Digest,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let attempt = format!("list what refers to {digest} in {}", reference.name());
        let failed = |fault| RegistryError::new(attempt.clone(), fault);
        let sources = self.sources(reference, false).await.map_err(failed)?;
        // The registry itself is the last: a mirror need not know who refers to what.
        let Some(session) = sources.last() else { return Ok(Vec::new()) };
        let mut patience = self.patience(&attempt);
        loop {
            match list(session, digest).await {
                Ok(found) => return Ok(found),
                Err(fault) => patience.after(fault).await.map_err(failed)?,
            }
        }
    }
}

async fn list(session: &Session, digest: &Digest) -> Result<Vec<Descriptor>, Fault> {
    let mut url = session.url(&format!("referrers/{digest}"));
    let mut all = Vec::new();
    for _ in 0..MAX_PAGES {
        let mut answer = session.send(session.transport.request(Method::GET, url)).await?;
        if answer.response.status() != StatusCode::OK {
            return match session.refused(answer).await {
                fault if is_unknown(&fault) => Ok(tagged(session, digest).await?.unwrap_or_default()),
                fault => Err(fault),
            };
        }
        not_html(&answer)?;
        let next = next_page(&answer)?;
        let patience = session.transport.options().stall_timeout;
        all.extend(manifests(&answer.body(MAX_MANIFEST, patience).await?)?);
        match next {
            Some(next) => url = next,
            None => break,
        }
    }
    Ok(all)
}

/// Whether a registry says, in one of the ways that there are, that it does not know the address.
fn is_unknown(fault: &Fault) -> bool {
    match fault {
        Fault::NotFound { .. } | Fault::NotARegistry { .. } => true,
        Fault::Status { status, .. } => matches!(status, 400 | 405 | 501),
        _ => false,
    }
}

/// `Link: </v2/…>; rel="next"` (RFC 8288).
fn next_page(answer: &Answer) -> Result<Option<reqwest::Url>, Fault> {
    let Some(link) = answer.header(LINK.as_str()) else { return Ok(None) };
    let Some((address, rest)) = link.trim().strip_prefix('<').and_then(|link| link.split_once('>')) else {
        return Ok(None);
    };
    if !rest.contains("rel=\"next\"") && !rest.contains("rel=next") {
        return Ok(None);
    }
    redirect::target(&answer.url, address).map(Some)
}

/// The tag that stands for the list.
fn tag(digest: &Digest) -> String {
    digest.to_string().replace(':', "-")
}

/// What stands under the tag; `None` if there is no such tag.
async fn tagged(session: &Session, digest: &Digest) -> Result<Option<Vec<Descriptor>>, Fault> {
    match get_manifest(session, &tag(digest), None).await {
        Ok(index) => manifests(&index.bytes).map(Some),
        Err(Fault::NotFound { .. }) => Ok(None),
        Err(fault) => Err(fault),
    }
}

fn manifests(bytes: &[u8]) -> Result<Vec<Descriptor>, Fault> {
    let malformed =
        |e: serde_json::Error| Fault::Malformed { document: "list of referrers", what: e.to_string() };
    let mut value: Value = serde_json::from_slice(bytes).map_err(malformed)?;
    // Go writes an empty list as null.
    if value["manifests"].is_null() {
        return Ok(Vec::new());
    }
    serde_json::from_value(value["manifests"].take()).map_err(malformed)
}

/// After a push of a manifest with a subject: a registry that does not say that it has noted it keeps no list, and the
/// client has to (distribution-spec, "Pushing Manifests with Subject"). Who does so at the same time may be forgotten;
/// the specification knows no way around that.
pub(crate) async fn note(
    session: &Session,
    pushed: &Answer,
    (media_type, bytes): (&HeaderValue, &[u8]),
    patience: &mut Patience<'_>,
) -> Result<(), Fault> {
    if pushed.header("oci-subject").is_some() {
        return Ok(());
    }
    let Ok(Referring { subject: Some(subject), artifact_type, config, annotations }) =
        serde_json::from_slice(bytes)
    else {
        return Ok(());
    };
    let subject = digest_of(&subject)?;
    let kind = artifact_type.or(config.map(|config| config.media_type().to_string().into()));
    let mut descriptor = json!({
        "mediaType": media_type.to_str().unwrap_or_default(),
        "digest": Digest::of(bytes).to_string(),
        "size": bytes.len(),
        "artifactType": kind,
    });
    if let Some(annotations) = annotations {
        descriptor["annotations"] = annotations;
    }
    let malformed = |e: serde_json::Error| Fault::Malformed { document: "manifest", what: e.to_string() };
    let descriptor: Descriptor = serde_json::from_value(descriptor).map_err(malformed)?;
    loop {
        let noted = add(session, &subject, &descriptor).await;
        match noted {
            Ok(()) => return Ok(()),
            Err(fault) => patience.after(fault).await?,
        }
    }
}

async fn add(session: &Session, subject: &Digest, descriptor: &Descriptor) -> Result<(), Fault> {
    let mut known = tagged(session, subject).await?.unwrap_or_default();
    if known.iter().any(|other| other.digest() == descriptor.digest()) {
        return Ok(());
    }
    known.push(descriptor.clone());
    let mut index = ImageIndex::default();
    index.set_media_type(Some(media_type::OCI_INDEX.into()));
    index.set_manifests(known);
    let bytes = serde_json::to_vec(&index).expect("an index is written to memory");
    let kind = HeaderValue::from_static(media_type::OCI_INDEX);
    put_manifest(session, &tag(subject), &kind, &bytes).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_go_writes_them() {
        assert!(manifests(br#"{"schemaVersion":2,"manifests":null}"#).unwrap().is_empty());
        assert!(manifests(br#"{"schemaVersion":2}"#).unwrap().is_empty());
        assert!(manifests(b"<html>").is_err());
        let digest = Digest::of(b"x");
        assert_eq!(tag(&digest), format!("sha256-{}", digest.hex()));
    }
}
