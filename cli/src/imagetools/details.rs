//! All that a name at a registry leads to, as `imagetools inspect --format` shows it.

use kiln_core::oci_spec::image::Descriptor;
use kiln_core::{Digest, Reference};
use kiln_registry::{Client, Document, Fetched};
use serde_json::{Map, Value, json};

use super::combine::platform;
use super::source::Source;
use crate::error::CommandError;

/// The kinds of artifact that hold in-toto statements: BuildKit's, and that of a statement alone.
const STATEMENTS: [&str; 2] =
    ["application/vnd.docker.attestation.manifest.v1+json", "application/vnd.in-toto+json"];

/// The fields of a template.
#[derive(Debug)]
pub(crate) struct Details<'a> {
    client: &'a Client,
    source: &'a Source,
}

impl<'a> Details<'a> {
    pub(crate) fn of(client: &'a Client, source: &'a Source) -> Self {
        Self { client, source }
    }

    /// The value that a template names: `.Manifest.Digest`, `.Image`, `.` for all. Only what it needs is fetched.
    ///
    /// # Errors
    /// If the registry cannot be asked.
    pub(crate) async fn field(&self, path: &str) -> Result<Value, CommandError> {
        let mut names = path.split('.').filter(|name| !name.is_empty());
        let first = names.next();
        let mut value = match first.map(str::to_ascii_lowercase).as_deref() {
            None => json!({
                "name": self.source.name.to_string(),
                "manifest": self.manifest()?,
                "image": self.image().await?,
                "provenance": self.attested("slsa.dev/provenance", "SLSA").await?,
                "sbom": self.attested("spdx.dev/Document", "SPDX").await?,
            }),
            Some("name") => self.source.name.to_string().into(),
            Some("manifest") => self.manifest()?,
            Some("image") => self.image().await?,
            Some("provenance") => self.attested("slsa.dev/provenance", "SLSA").await?,
            Some("sbom") => self.attested("spdx.dev/Document", "SPDX").await?,
            Some(other) => {
                return Err(CommandError::Usage(format!(
                    "unknown field `{other}` of --format: expected Name, Manifest, Image, Provenance or SBOM"
                )));
            }
        };
        for name in names {
            let found = value.as_object_mut().and_then(|object| {
                let key = object.keys().find(|key| key.eq_ignore_ascii_case(name))?.clone();
                object.remove(&key)
            });
            value = found.unwrap_or(Value::Null);
        }
        Ok(value)
    }

    fn manifest(&self) -> Result<Value, CommandError> {
        let document: Value = serde_json::from_slice(&self.source.document.bytes)?;
        let mut manifest = serde_json::to_value(&self.source.document.descriptor)?;
        manifest["schemaVersion"] = 2.into();
        for field in ["manifests", "config", "layers", "annotations"] {
            if !document[field].is_null() {
                manifest[field] = document[field].clone();
            }
        }
        Ok(manifest)
    }

    /// The configuration; of an index, one a platform.
    async fn image(&self) -> Result<Value, CommandError> {
        if !self.source.is_index {
            return self.config(&self.source.document).await;
        }
        let mut all = Map::new();
        for descriptor in self.source.manifests()? {
            if let Some(platform) = platform(&descriptor["platform"]) {
                all.insert(platform.to_string(), self.config(&self.child(&descriptor).await?).await?);
            }
        }
        Ok(Value::Object(all))
    }

    async fn config(&self, manifest: &Fetched) -> Result<Value, CommandError> {
        match manifest.document() {
            Ok(Document::Image(image)) => {
                let bytes = self.client.small_blob(&self.source.name, image.config()).await?;
                Ok(serde_json::from_slice(&bytes)?)
            }
            _ => Ok(Value::Null),
        }
    }

    async fn child(&self, descriptor: &Value) -> Result<Fetched, CommandError> {
        let digest: Digest = descriptor["digest"].as_str().unwrap_or_default().parse().map_err(|error| {
            CommandError::Usage(format!("{}: a manifest in it has no digest: {error}", self.source.name))
        })?;
        Ok(self.client.manifest(&self.source.name, &digest).await?)
    }

    /// The predicates of attestations of a kind, by platform; of a single image, without.
    async fn attested(&self, kind: &str, name: &str) -> Result<Value, CommandError> {
        let manifests = self.source.manifests()?;
        let mut all = Map::new();
        for attestation in &manifests {
            let annotation = |key: &str| attestation["annotations"][key].as_str();
            if annotation("vnd.docker.reference.type") != Some("attestation-manifest") {
                continue;
            }
            let subject = annotation("vnd.docker.reference.digest");
            let of = manifests.iter().find(|image| image["digest"].as_str() == subject);
            let Some(of) = of.and_then(|image| platform(&image["platform"])) else { continue };
            if let Some(predicate) = self.predicate(&self.child(attestation).await?, kind).await? {
                all.insert(of.to_string(), json!({ name: predicate }));
            }
        }
        if all.is_empty() {
            all = self.referred(&manifests, kind, name).await?;
        }
        let single = all.len() == 1;
        Ok(all.values().next().filter(|_| single).cloned().unwrap_or(Value::Object(all)))
    }

    /// The same of statements that no index names, but that name the image as their subject.
    async fn referred(
        &self,
        manifests: &[Value],
        kind: &str,
        name: &str,
    ) -> Result<Map<String, Value>, CommandError> {
        let mut all = Map::new();
        for image in manifests {
            let (Some(platform), Ok(digest)) = (
                platform(&image["platform"]),
                image["digest"].as_str().unwrap_or_default().parse::<Digest>(),
            ) else {
                continue;
            };
            for referrer in self.client.referrers(&self.source.name, &digest).await? {
                let artifact = referrer.artifact_type().as_ref().map(ToString::to_string);
                if !artifact.is_some_and(|kind| STATEMENTS.contains(&kind.as_str())) {
                    continue;
                }
                let statements = self.child(&serde_json::to_value(&referrer)?).await?;
                if let Some(predicate) = self.predicate(&statements, kind).await? {
                    all.insert(platform.to_string(), json!({ name: predicate }));
                }
            }
        }
        Ok(all)
    }

    async fn predicate(&self, manifest: &Fetched, kind: &str) -> Result<Option<Value>, CommandError> {
        let document: Value = serde_json::from_slice(&manifest.bytes)?;
        let layers = document["layers"].as_array().cloned().unwrap_or_default();
        let layer = layers.into_iter().find(|layer| {
            layer["annotations"]["in-toto.io/predicate-type"]
                .as_str()
                .is_some_and(|found| found.contains(kind))
        });
        let Some(layer) = layer else { return Ok(None) };
        let descriptor: Descriptor = serde_json::from_value(layer)?;
        let name: &Reference = &self.source.name;
        // A list of packages may be longer than a manifest.
        let bytes = self.client.blob(name, &descriptor, Vec::new()).await?;
        let mut statement: Value = serde_json::from_slice(&bytes)?;
        Ok(Some(statement["predicate"].take()))
    }
}
