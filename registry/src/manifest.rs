//! What a registry answers about an image: manifests and indexes, checked for what they claim to be.

use kiln_core::oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType};
use kiln_core::{Digest, ImageConfig, Platform};
use serde_json::Value;

use crate::error::Fault;

/// The media types of manifests and of the configuration and layers in them (image-spec, media-types.md; Docker's
/// image manifest version 2, schema 2).
pub mod media_type {
    /// OCI image manifest.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI image index.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// OCI image configuration.
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// Docker image manifest, schema 2.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker manifest list.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker image configuration.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// Docker layer, gzip.
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// Docker image manifest, schema 1, signed or not: refused.
    pub(crate) const DOCKER_SCHEMA1: [&str; 2] = [
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/vnd.docker.distribution.manifest.v1+json",
    ];
}

/// The value of the `Accept` header for manifests.
pub const ACCEPTED_MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json, */*;q=0.1";

/// The largest manifest or index that is read, in bytes (distribution-spec: registries need take no more).
pub const MAX_MANIFEST: u64 = 4 << 20;

/// How many indexes may stand inside each other.
pub const MAX_DEPTH: usize = 4;

/// A manifest or index as the registry has it: its bytes match its descriptor.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Media type, digest and size of `bytes`.
    pub descriptor: Descriptor,
    /// The document, byte for byte.
    pub bytes: Vec<u8>,
}

/// What a manifest's bytes mean.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "made once an image, and taken apart at once")]
pub enum Document {
    /// One image.
    Image(ImageManifest),
    /// Several, one a platform.
    Index(ImageIndex),
}

/// An image of one platform, without its layers.
#[derive(Debug, Clone)]
pub struct RemoteImage {
    /// The digest that the tag pointed to: of `index` if there is one, else of `manifest`.
    pub resolved: Digest,
    /// The outermost index that led to the image, if there was one.
    pub index: Option<Fetched>,
    /// The image's own manifest.
    pub manifest: Fetched,
    /// `manifest`, parsed.
    pub image: ImageManifest,
    /// The image's configuration as it stands at the registry.
    pub config_bytes: Vec<u8>,
    /// The same, parsed.
    pub config: ImageConfig,
}

impl Fetched {
    /// Describes `bytes` by their own digest.
    pub fn new(media_type: &str, bytes: Vec<u8>) -> Self {
        let digest = oci_digest(&Digest::of(&bytes));
        Self { descriptor: Descriptor::new(MediaType::from(media_type), bytes.len() as u64, digest), bytes }
    }

    /// Describes an answer. Registries that keep no media types send a general one; then the document itself says.
    pub(crate) fn from_answer(content_type: &str, bytes: Vec<u8>) -> Self {
        let content_type = content_type.split(';').next().unwrap_or_default().trim();
        if Kind::of(content_type).is_some() || media_type::DOCKER_SCHEMA1.contains(&content_type) {
            return Self::new(content_type, bytes);
        }
        let document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let said = match document["mediaType"].as_str() {
            Some(inner) => inner,
            None if document["manifests"].is_array() => media_type::OCI_INDEX,
            None if document["config"].is_object() => media_type::OCI_MANIFEST,
            None => content_type,
        };
        Self::new(said, bytes)
    }

    /// The digest of the bytes.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }

    /// The document, after checks: its structure, the media type inside and the one it came with must agree, so that
    /// no two readers see two images in it.
    ///
    /// # Errors
    /// Schema 1, no JSON, a document that is both or neither of manifest and index, digests that kiln cannot verify.
    pub fn document(&self) -> Result<Document, Fault> {
        let outer = self.descriptor.media_type().to_string();
        if media_type::DOCKER_SCHEMA1.contains(&outer.as_str()) {
            return Err(Fault::Schema1);
        }
        let malformed = |document, what: String| Fault::Malformed { document, what };
        let mut value: Value =
            serde_json::from_slice(&self.bytes).map_err(|e| malformed("manifest", e.to_string()))?;
        if value["schemaVersion"] == 1 {
            return Err(Fault::Schema1);
        }
        if value["schemaVersion"] != 2 {
            return Err(malformed("manifest", "its schemaVersion is not 2".to_owned()));
        }
        let inner = value["mediaType"].as_str().map(str::to_owned);
        let is_index = !value["manifests"].is_null();
        let is_image = !value["config"].is_null() || !value["layers"].is_null();
        let kind = match (is_index, is_image) {
            (true, true) => {
                return Err(malformed("manifest", "it has both layers and manifests".to_owned()));
            }
            (true, false) => Kind::Index,
            (false, true) => Kind::Image,
            // Go writes an empty list as null, so an index without manifests is known by its type alone.
            (false, false) => match inner.as_deref().or(Some(&outer)).and_then(Kind::of) {
                Some(Kind::Index) => Kind::Index,
                _ => return Err(malformed("manifest", "it has neither layers nor manifests".to_owned())),
            },
        };
        for claimed in [inner.as_deref(), Some(outer.as_str())].into_iter().flatten() {
            // Registries that keep no types answer with a general one; the structure decides then.
            if claimed.starts_with("application/json") || claimed == "application/octet-stream" {
                continue;
            }
            if Kind::of(claimed) != Some(kind) {
                return Err(Fault::MediaType { found: claimed.to_owned(), wanted: kind.wanted() });
            }
        }
        match kind {
            Kind::Index => {
                null_to_list(&mut value, "manifests");
                let index: ImageIndex =
                    serde_json::from_value(value).map_err(|e| malformed("index", e.to_string()))?;
                Ok(Document::Index(index))
            }
            Kind::Image => {
                null_to_list(&mut value, "layers");
                let image: ImageManifest =
                    serde_json::from_value(value).map_err(|e| malformed("manifest", e.to_string()))?;
                for descriptor in image.layers().iter().chain([image.config()]) {
                    digest_of(descriptor)?;
                }
                Ok(Document::Image(image))
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Image,
    Index,
}

impl Kind {
    fn of(media_type: &str) -> Option<Self> {
        match media_type {
            media_type::OCI_MANIFEST | media_type::DOCKER_MANIFEST => Some(Self::Image),
            media_type::OCI_INDEX | media_type::DOCKER_LIST => Some(Self::Index),
            _ => None,
        }
    }

    fn wanted(self) -> &'static str {
        match self {
            Self::Image => "the document is an image manifest",
            Self::Index => "the document is an image index",
        }
    }
}

/// Whether the media type is that of an index.
pub(crate) fn is_index(descriptor: &Descriptor) -> bool {
    Kind::of(descriptor.media_type().as_ref()) == Some(Kind::Index)
}

fn null_to_list(value: &mut Value, field: &str) {
    if value[field].is_null() {
        value[field] = Value::Array(Vec::new());
    }
}

/// The digest of a descriptor, if kiln can verify it.
pub(crate) fn digest_of(descriptor: &Descriptor) -> Result<Digest, Fault> {
    Ok(descriptor.digest().to_string().parse()?)
}

/// A digest as oci-spec has it.
pub(crate) fn oci_digest(digest: &Digest) -> kiln_core::oci_spec::image::Digest {
    digest.to_string().parse().expect("sha256: and 64 hex digits are a digest")
}

/// The entry of `index` that fits `platform` best, by [`Platform::rank`]; the first of equals.
///
/// Attestations (`unknown/unknown`, or annotated as referring to another manifest) and artifacts are no images.
/// Entries that name no platform come last: their configuration alone says what they are for. A nested index counts
/// by its platform as an image does.
pub fn choose_platform(index: &ImageIndex, platform: &Platform) -> Option<Descriptor> {
    index
        .manifests()
        .iter()
        .filter(|entry| is_image_entry(entry))
        .filter_map(|entry| {
            let rank = match entry_platform(entry) {
                Some(offered) => platform.rank(&offered)?,
                None => u32::MAX,
            };
            Some((rank, entry))
        })
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, entry)| entry.clone())
}

/// The platforms that an index offers, as text.
pub(crate) fn offered(index: &ImageIndex) -> Vec<String> {
    let entries = index.manifests().iter().filter(|entry| is_image_entry(entry));
    let mut names: Vec<String> =
        entries.filter_map(entry_platform).map(|platform| platform.to_string()).collect();
    names.sort();
    names.dedup();
    names
}

fn is_image_entry(entry: &Descriptor) -> bool {
    let refers = entry
        .annotations()
        .as_ref()
        .is_some_and(|annotations| annotations.contains_key("vnd.docker.reference.type"));
    let unknown = entry_platform(entry).is_some_and(|platform| platform.os == "unknown");
    Kind::of(entry.media_type().as_ref()).is_some() && !refers && !unknown
}

fn entry_platform(entry: &Descriptor) -> Option<Platform> {
    let platform = entry.platform().as_ref()?;
    let variant = platform.variant().as_deref().unwrap_or_default();
    Some(Platform::new(&platform.os().to_string(), &platform.architecture().to_string(), variant))
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
