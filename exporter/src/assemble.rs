//! A configuration and packed layers become an image: pure, the same bytes for the same arguments.

use std::collections::{BTreeMap, HashMap};

use kiln_core::oci_spec::image::Descriptor;
use kiln_core::{ImageConfig, RootFs};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::attest::Attestation;
use crate::blob::{Blob, Image, Index, LayerBlob};
use crate::document;
use crate::media::{MediaTypes, layer_format};

/// How an image is put together.
#[derive(Debug, Clone)]
pub struct AssembleOptions {
    /// The time of new history entries and of the image, in nanoseconds since 1970.
    pub now: i128,
    /// `SOURCE_DATE_EPOCH`, in seconds since 1970: the time of all that is new, and the latest time of all that is not.
    pub epoch: Option<i64>,
    /// Whose media types.
    pub media_types: MediaTypes,
    /// Of the manifest.
    pub annotations: BTreeMap<String, String>,
    /// Of the manifest's descriptor, in an index or a layout.
    pub descriptor_annotations: BTreeMap<String, String>,
}

/// Arguments of which no image can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssembleError {
    /// The history has other layers than the image.
    #[error("the image has {layers} layers and its history {entries} entries with a layer")]
    History {
        /// How many layers were given.
        layers: usize,
        /// How many entries of the history are not empty.
        entries: usize,
    },
    /// A layer is no tar that a consumer would unpack.
    #[error("layer {digest} has the media type `{media_type}`, which is not that of a layer")]
    LayerType {
        /// The layer's blob.
        digest: String,
        /// As given.
        media_type: String,
    },
    /// A time that has no RFC 3339 form.
    #[error("the time {0} s since 1970 is out of range")]
    Time(i64),
}

/// Puts a configuration and its layers together: fills in `rootfs`, `created` and the times of the history, and makes
/// the manifest.
///
/// # Errors
/// If layers and history do not fit, or a layer's media type is unknown. An image without any history is let through.
pub fn assemble(
    config: ImageConfig,
    layers: Vec<LayerBlob>,
    options: &AssembleOptions,
) -> Result<Image, AssembleError> {
    let entries = config.history.iter().filter(|entry| !entry.empty_layer).count();
    if !config.history.is_empty() && entries != layers.len() {
        return Err(AssembleError::History { layers: layers.len(), entries });
    }
    let platform = config.platform();
    let config = finish(config, &layers, options)?;
    let config = Blob::new(options.media_types.config(), config_json(&config));
    let layers =
        layers.into_iter().map(|layer| convert(layer, options.media_types)).collect::<Result<Vec<_>, _>>()?;
    let descriptors: Vec<&Descriptor> = layers.iter().map(|layer| &layer.descriptor).collect();
    let manifest =
        manifest_bytes(options.media_types, &config.descriptor, &descriptors, &options.annotations);
    let mut manifest = Blob::new(options.media_types.manifest(), manifest);
    manifest.descriptor.set_platform(Some(document::oci_platform(&platform)));
    annotate(&mut manifest.descriptor, &options.descriptor_annotations);
    Ok(Image { config, manifest, layers, platform })
}

/// Puts images for several platforms, and what is said of them, under one document.
pub fn assemble_index(
    images: Vec<Image>,
    attestations: Vec<Attestation>,
    media_types: MediaTypes,
    annotations: &BTreeMap<String, String>,
) -> Index {
    let manifests = images.iter().map(|image| &image.manifest);
    let manifests = manifests.chain(attestations.iter().map(|attestation| &attestation.manifest));
    let manifests: Vec<Value> =
        manifests.map(|manifest| document::descriptor_value(&manifest.descriptor)).collect();
    let mut index =
        json!({ "schemaVersion": 2, "mediaType": media_types.index().to_string(), "manifests": manifests });
    if !annotations.is_empty() {
        index["annotations"] = document::strings(annotations);
    }
    Index { document: Blob::new(media_types.index(), document::indented(&index)), images, attestations }
}

/// The manifest document.
pub(crate) fn manifest_bytes(
    media_types: MediaTypes,
    config: &Descriptor,
    layers: &[&Descriptor],
    annotations: &BTreeMap<String, String>,
) -> Vec<u8> {
    let layers: Vec<Value> = layers.iter().map(|layer| document::descriptor_value(layer)).collect();
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_types.manifest().to_string(),
        "config": document::descriptor_value(config),
        "layers": layers,
    });
    if !annotations.is_empty() {
        manifest["annotations"] = document::strings(annotations);
    }
    document::indented(&manifest)
}

/// The configuration with its layers and times.
fn finish(
    mut config: ImageConfig,
    layers: &[LayerBlob],
    options: &AssembleOptions,
) -> Result<ImageConfig, AssembleError> {
    config.rootfs =
        RootFs { diff_ids: layers.iter().map(|layer| layer.diff_id).collect(), ..RootFs::default() };
    let (latest, now) = match options.epoch {
        Some(epoch) => (Some(moment(epoch)?), rfc3339(moment(epoch)?)),
        None => (None, rfc3339(moment_of_nanoseconds(options.now)?)),
    };
    let settle = |time: Option<String>| match (time, latest) {
        (None, _) => now.clone(),
        // A time that cannot be read cannot be known to be early enough.
        (Some(time), Some(latest)) => match OffsetDateTime::parse(&time, &Rfc3339) {
            Ok(moment) if moment <= latest => time,
            _ => now.clone(),
        },
        (Some(time), None) => time,
    };
    for entry in &mut config.history {
        entry.created = Some(settle(entry.created.take()));
    }
    config.created = Some(settle(config.created.take()));
    Ok(config)
}

/// The same layer with the media type of the image's kind.
fn convert(layer: LayerBlob, media_types: MediaTypes) -> Result<LayerBlob, AssembleError> {
    let LayerBlob { diff_id, mut descriptor } = layer;
    let Some(format) = layer_format(descriptor.media_type()) else {
        return Err(AssembleError::LayerType {
            digest: descriptor.digest().to_string(),
            media_type: descriptor.media_type().to_string(),
        });
    };
    descriptor.set_media_type(media_types.layer(format));
    Ok(LayerBlob { diff_id, descriptor })
}

/// A configuration as the document whose digest is the image's id.
pub fn config_json(config: &ImageConfig) -> Vec<u8> {
    document::compact(&sorted(config))
}

/// The configuration with its top-level names in order, as BuildKit writes it.
fn sorted(config: &ImageConfig) -> Value {
    let value = serde_json::to_value(config).expect("a configuration is a tree of strings and numbers");
    let Value::Object(map) = value else { unreachable!("a struct is an object") };
    Value::Object(map.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect::<Map<_, _>>())
}

fn annotate(descriptor: &mut Descriptor, annotations: &BTreeMap<String, String>) {
    if !annotations.is_empty() {
        let all: HashMap<_, _> = annotations.clone().into_iter().collect();
        descriptor.set_annotations(Some(all));
    }
}

fn moment(seconds: i64) -> Result<OffsetDateTime, AssembleError> {
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| AssembleError::Time(seconds))
}

fn moment_of_nanoseconds(nanoseconds: i128) -> Result<OffsetDateTime, AssembleError> {
    let seconds = || i64::try_from(nanoseconds / 1_000_000_000).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).map_err(|_| AssembleError::Time(seconds()))
}

fn rfc3339(moment: OffsetDateTime) -> String {
    moment.format(&Rfc3339).expect("the years of a timestamp have four digits")
}
