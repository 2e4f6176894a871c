//! What is said of an image beside it: in-toto statements in an attestation manifest, as BuildKit stores them
//! (docs/attestations/attestation-storage.md of BuildKit).

mod provenance;
mod spdx;

use std::collections::BTreeMap;

use kiln_core::oci_spec::image::{Descriptor, MediaType};
use kiln_core::{Digest, Platform, Reference};
use serde_json::{Value, json};

use crate::blob::{Blob, Image};
use crate::document;

pub use provenance::{BuiltStep, Material, Mode, Provenance, ProvenanceVersion};
pub use spdx::sbom;

const STATEMENT: &str = "application/vnd.in-toto+json";
const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";
const ARTIFACT: &str = "application/vnd.docker.attestation.manifest.v1+json";

/// A claim about an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Predicate {
    /// `https://slsa.dev/provenance/v1`, `https://spdx.dev/Document`.
    pub kind: String,
    /// The claim.
    pub value: Value,
}

/// How attestations are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AttestationForm {
    /// An image manifest with a configuration for an unknown platform, which every registry takes.
    #[default]
    Image,
    /// An OCI 1.1 artifact whose subject is the image.
    Artifact,
}

/// The attestations of one image: a manifest, and the documents that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    /// Its descriptor says which image it is about.
    pub manifest: Blob,
    /// The configuration and the statements.
    pub blobs: Vec<Blob>,
}

/// States `predicates` of `image`, which is known by `names`.
pub fn attest(
    image: &Image,
    names: &[Reference],
    predicates: &[Predicate],
    form: AttestationForm,
) -> Attestation {
    let statements: Vec<Blob> =
        predicates.iter().map(|predicate| statement(image, names, predicate)).collect();
    let layers: Vec<Value> =
        statements.iter().map(|blob| document::descriptor_value(&blob.descriptor)).collect();
    let config = match form {
        AttestationForm::Image => config(&statements),
        AttestationForm::Artifact => {
            Blob::new(MediaType::Other("application/vnd.oci.empty.v1+json".into()), b"{}".to_vec())
        }
    };
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::ImageManifest.to_string(),
        "config": document::descriptor_value(&config.descriptor),
        "layers": layers,
    });
    if form == AttestationForm::Artifact {
        let mut subject = image.manifest.descriptor.clone();
        subject.set_annotations(None);
        subject.set_platform(None);
        manifest["artifactType"] = ARTIFACT.into();
        manifest["subject"] = document::descriptor_value(&subject);
    }
    let mut manifest = Blob::new(MediaType::ImageManifest, document::indented(&manifest));
    describe(&mut manifest.descriptor, &image.manifest.digest());
    let mut blobs = vec![config];
    blobs.extend(statements);
    Attestation { manifest, blobs }
}

/// Marks a descriptor in an index as an attestation of the image with this digest.
fn describe(descriptor: &mut Descriptor, of: &Digest) {
    let annotations = [
        ("vnd.docker.reference.digest".to_owned(), of.to_string()),
        ("vnd.docker.reference.type".to_owned(), "attestation-manifest".to_owned()),
    ];
    descriptor.set_annotations(Some(annotations.into_iter().collect()));
    let mut unknown = kiln_core::oci_spec::image::Platform::default();
    unknown.set_os("unknown".into());
    unknown.set_architecture("unknown".into());
    unknown.set_variant(None);
    unknown.set_os_version(None);
    unknown.set_os_features(None);
    unknown.set_features(None);
    descriptor.set_platform(Some(unknown));
}

/// A configuration that no runtime takes for its own.
fn config(statements: &[Blob]) -> Blob {
    let diff_ids: Vec<String> = statements.iter().map(|blob| blob.digest().to_string()).collect();
    let config = json!({
        "architecture": "unknown",
        "os": "unknown",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    Blob::new(MediaType::ImageConfig, document::compact(&config))
}

fn statement(image: &Image, names: &[Reference], predicate: &Predicate) -> Blob {
    let digest = json!({ "sha256": image.manifest.digest().hex() });
    let mut subjects: Vec<Value> = names
        .iter()
        .map(|name| json!({ "name": package_url(name, &image.platform, None), "digest": digest }))
        .collect();
    if subjects.is_empty() {
        subjects.push(json!({ "name": "_", "digest": digest }));
    }
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": predicate.kind,
        "subject": subjects,
        "predicate": predicate.value,
    });
    let mut blob = Blob::new(MediaType::Other(STATEMENT.into()), document::compact(&statement));
    let annotations = BTreeMap::from([(PREDICATE_TYPE.to_owned(), predicate.kind.clone())]);
    blob.descriptor.set_annotations(Some(annotations.into_iter().collect()));
    blob
}

/// The package URL of an image (package-url specification, type `docker`): `pkg:docker/busybox@latest?platform=linux%2Famd64`.
pub fn package_url(name: &Reference, platform: &Platform, digest: Option<&Digest>) -> String {
    let (registry, repository) = (name.registry(), name.repository());
    let short = repository.strip_prefix("library/").filter(|_| registry == "docker.io");
    let path = match (short, registry) {
        (Some(short), _) => short.to_owned(),
        (None, "docker.io") => repository.to_owned(),
        (None, registry) => format!("{registry}/{repository}"),
    };
    let version = name.tag_or_latest().map(str::to_owned);
    let version = version.or_else(|| name.digest().map(ToString::to_string)).unwrap_or_default();
    let mut url = format!("pkg:docker/{}@{}?", escape(&path, "/"), escape(&version, ""));
    if let Some(digest) = digest.or(name.digest()) {
        url.push_str(&format!("digest={}&", escape(&digest.to_string(), ":")));
    }
    url + &format!("platform={}", escape(&platform.to_string(), ""))
}

/// Percent-encodes all but unreserved characters and those of `kept`.
fn escape(text: &str, kept: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        let c = char::from(byte);
        if c.is_ascii_alphanumeric() || "-._~".contains(c) || kept.contains(c) {
            escaped.push(c);
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_urls_are_those_that_buildkit_writes() {
        let check = |name: &str, expected: &str| {
            let platform = "linux/amd64".parse().unwrap();
            assert_eq!(package_url(&name.parse().unwrap(), &platform, None), expected);
        };
        check("busybox:latest", "pkg:docker/busybox@latest?platform=linux%2Famd64");
        check("user/app:1.2", "pkg:docker/user/app@1.2?platform=linux%2Famd64");
        check("localhost:5000/app", "pkg:docker/localhost%3A5000/app@latest?platform=linux%2Famd64");
    }
}
