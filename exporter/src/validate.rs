//! Whether an image is one that others can use: every document and layer is what its descriptor says.

use std::io::{self, BufReader, Read};

use kiln_core::oci_spec::image::Descriptor;
use kiln_core::{CompressionFormat, DiffId, Digest, DigestWriter, ImageConfig};
use serde_json::Value;

use crate::blob::{Blob, BlobRead, BlobReadError, Exported, Image, LayerBlob};
use crate::document;
use crate::media::{MediaTypes, layer_format};

/// What is wrong with an image.
#[derive(Debug, thiserror::Error)]
pub enum Flaw {
    /// A document has another digest or size than its descriptor.
    #[error("the descriptor of the {0} is not that of its bytes")]
    Descriptor(&'static str),
    /// A document is no JSON, or lacks a field.
    #[error("the {document} is malformed: {why}")]
    Malformed {
        /// Which.
        document: &'static str,
        /// How.
        why: String,
    },
    /// A manifest refers to something else than what comes with it.
    #[error("the manifest names other {0} than come with it")]
    Manifest(&'static str),
    /// OCI and Docker media types are mixed, or one is unknown.
    #[error("the media type `{0}` does not belong into this image")]
    MediaType(String),
    /// The configuration has other layers than the manifest.
    #[error("the configuration names {config} layers, the manifest {manifest}")]
    LayerCount {
        /// In `rootfs.diff_ids`.
        config: usize,
        /// In the manifest.
        manifest: usize,
    },
    /// The history has other layers than the image.
    #[error("the history tells of {history} layers, and there are {layers}")]
    History {
        /// Entries that are not empty.
        history: usize,
        /// Layers.
        layers: usize,
    },
    /// A layer cannot be read.
    #[error("a layer cannot be read")]
    Blob(#[from] BlobReadError),
    /// A layer cannot be decompressed.
    #[error("layer {digest} cannot be decompressed")]
    Compression {
        /// Of the blob.
        digest: Digest,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A layer has another digest or size than its descriptor.
    #[error("layer {expected} has the digest {actual} and {size} bytes")]
    Layer {
        /// As described.
        expected: Digest,
        /// As hashed.
        actual: Digest,
        /// As read.
        size: u64,
    },
    /// A layer's tar has another digest than the configuration says.
    #[error("the tar of layer {blob} has the digest {actual} and not {expected}", expected = expected.0)]
    DiffId {
        /// Of the blob.
        blob: Digest,
        /// In the configuration.
        expected: DiffId,
        /// As hashed.
        actual: Digest,
    },
}

/// Reads all of an image and checks it.
///
/// # Errors
/// The first thing that is wrong.
pub fn validate(exported: Exported<'_>, blobs: &dyn BlobRead) -> Result<(), Flaw> {
    if let Exported::Index(index) = exported {
        validate_document("index", &index.document)?;
        let listed = parse("index", &index.document.bytes)?;
        let listed: Vec<&str> =
            array(&listed["manifests"]).iter().filter_map(|entry| entry["digest"].as_str()).collect();
        let given = index.images.iter().map(|image| &image.manifest);
        let given = given.chain(index.attestations.iter().map(|attestation| &attestation.manifest));
        let given: Vec<String> = given.map(|manifest| manifest.digest().to_string()).collect();
        if listed != given {
            return Err(Flaw::Manifest("images"));
        }
    }
    exported.images().iter().try_for_each(validate_image)?;
    exported.layers().into_iter().try_for_each(|layer| validate_layer(layer, blobs))
}

fn validate_image(image: &Image) -> Result<(), Flaw> {
    validate_document("configuration", &image.config)?;
    validate_document("manifest", &image.manifest)?;
    let manifest = parse("manifest", &image.manifest.bytes)?;
    if manifest["schemaVersion"] != 2 {
        return Err(malformed("manifest", "schemaVersion is not 2"));
    }
    let kind = [MediaTypes::Oci, MediaTypes::Docker]
        .into_iter()
        .find(|kind| kind.manifest() == *image.manifest.descriptor.media_type());
    let kind = kind.ok_or_else(|| Flaw::MediaType(image.manifest.descriptor.media_type().to_string()))?;
    for (field, expected) in [("mediaType", kind.manifest()), ("config.mediaType", kind.config())] {
        let found = field.split('.').fold(&manifest, |value, name| &value[name]).as_str().unwrap_or_default();
        if found != expected.to_string() {
            return Err(Flaw::MediaType(found.to_owned()));
        }
    }
    if manifest["config"] != described(&image.config.descriptor) {
        return Err(Flaw::Manifest("configurations"));
    }
    let layers: Vec<Value> = image.layers.iter().map(|layer| described(&layer.descriptor)).collect();
    if array(&manifest["layers"]) != layers {
        return Err(Flaw::Manifest("layers"));
    }
    for layer in &image.layers {
        let media_type = layer.descriptor.media_type();
        if layer_format(media_type).is_none_or(|format| kind.layer(format) != *media_type) {
            return Err(Flaw::MediaType(media_type.to_string()));
        }
    }
    validate_config(image)
}

fn validate_config(image: &Image) -> Result<(), Flaw> {
    let config: ImageConfig = serde_json::from_slice(&image.config.bytes)
        .map_err(|error| malformed("configuration", error.to_string()))?;
    let diff_ids: Vec<DiffId> = image.layers.iter().map(|layer| layer.diff_id).collect();
    if config.rootfs.kind != "layers" || config.rootfs.diff_ids.len() != diff_ids.len() {
        let counts = (config.rootfs.diff_ids.len(), diff_ids.len());
        return Err(Flaw::LayerCount { config: counts.0, manifest: counts.1 });
    }
    if config.rootfs.diff_ids != diff_ids {
        return Err(Flaw::Manifest("diff ids"));
    }
    let history = config.history.iter().filter(|entry| !entry.empty_layer).count();
    if !config.history.is_empty() && history != diff_ids.len() {
        return Err(Flaw::History { history, layers: diff_ids.len() });
    }
    if config.os.is_empty() || config.architecture.is_empty() || config.platform() != image.platform {
        return Err(malformed("configuration", "it names another platform, or none"));
    }
    Ok(())
}

fn validate_document(what: &'static str, document: &Blob) -> Result<(), Flaw> {
    let digest = document::digest_of(&document.descriptor).map_err(|_| Flaw::Descriptor(what))?;
    let same = digest == document.digest() && document.descriptor.size() == document.bytes.len() as u64;
    if same { Ok(()) } else { Err(Flaw::Descriptor(what)) }
}

/// Hashes the blob and, on the way, its tar.
fn validate_layer(layer: &LayerBlob, blobs: &dyn BlobRead) -> Result<(), Flaw> {
    let described = document::digest_of(&layer.descriptor).map_err(|_| Flaw::Descriptor("layer"))?;
    let format = layer_format(layer.descriptor.media_type())
        .ok_or_else(|| Flaw::MediaType(layer.descriptor.media_type().to_string()))?;
    let broken = |cause| Flaw::Compression { digest: described, cause };
    let mut blob = Hashing { inner: blobs.open(&described)?, seen: DigestWriter::new(io::sink()) };
    let mut tar = DigestWriter::new(io::sink());
    let reader = BufReader::new(&mut blob);
    match format {
        CompressionFormat::Uncompressed => copy(reader, &mut tar),
        CompressionFormat::Gzip => copy(flate2::bufread::MultiGzDecoder::new(reader), &mut tar),
        CompressionFormat::Zstd => {
            zstd::Decoder::with_buffer(reader).and_then(|tarball| copy(tarball, &mut tar))
        }
    }
    .map_err(broken)?;
    io::copy(&mut blob, &mut io::sink()).map_err(broken)?;
    let (_, actual, size) = blob.seen.finish();
    if actual != described || size != layer.descriptor.size() {
        return Err(Flaw::Layer { expected: described, actual, size });
    }
    let (_, actual, _) = tar.finish();
    if DiffId(actual) != layer.diff_id {
        return Err(Flaw::DiffId { blob: described, expected: layer.diff_id, actual });
    }
    Ok(())
}

fn copy(mut from: impl Read, to: &mut DigestWriter<io::Sink>) -> io::Result<()> {
    io::copy(&mut from, to).map(|_| ())
}

/// Hashes what is read through it.
struct Hashing {
    inner: Box<dyn Read + Send>,
    seen: DigestWriter<io::Sink>,
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        io::Write::write_all(&mut self.seen, &buffer[..n])?;
        Ok(n)
    }
}

fn described(descriptor: &Descriptor) -> Value {
    document::descriptor_value(descriptor)
}

fn parse(document: &'static str, bytes: &[u8]) -> Result<Value, Flaw> {
    serde_json::from_slice(bytes).map_err(|error| malformed(document, error.to_string()))
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn malformed(document: &'static str, why: impl Into<String>) -> Flaw {
    Flaw::Malformed { document, why: why.into() }
}
