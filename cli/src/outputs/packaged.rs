//! The layers of a build as blobs, with configurations, manifests and what is stated about them.

use std::sync::Arc;

use kiln_exporter::{
    AssembleOptions, AttestationForm, Exported, Image, Index, MediaTypes, Naming, assemble, assemble_index,
};
use serde_json::{Value, json};

use super::Ending;
use crate::annotations::Level;
use crate::attest;
use crate::environment::{now, now_seconds};
use crate::error::CommandError;
use crate::output::OutputKind;
use crate::pack::pack;
use crate::remote_cache::{self, Place};
use crate::uplink::Uplink;

/// An image, or an index of images.
pub(super) enum Packaged {
    /// One platform.
    Image(Box<Image>),
    /// Several.
    Index(Box<Index>),
}

impl Packaged {
    /// Packs what an output ends in; `uplink` sends layers while they are packed.
    pub(super) async fn of(ending: &Ending<'_>, uplink: Option<&Arc<Uplink>>) -> Result<Self, CommandError> {
        let Ending { request, output, names, built, services, step } = ending;
        let docker = matches!(output.kind, OutputKind::Docker { .. } | OutputKind::Engine);
        let media_types =
            if output.oci_media_types.unwrap_or(!docker) { MediaTypes::Oci } else { MediaTypes::Docker };
        let annotations = request.annotations.with(&output.annotations);
        let of_index = annotations.at(Level::Index, None);
        let of_index_descriptor = annotations.at(Level::IndexDescriptor, None);
        if built.len() < 2 && !(of_index.is_empty() && of_index_descriptor.is_empty()) {
            let problem = "annotations of an index are for images of several platforms";
            return Err(CommandError::Usage(problem.to_owned()));
        }
        let inline = request.cache_to.iter().any(|spec| spec.place == Place::Inline);
        let mut images = Vec::new();
        for built in built.iter().cloned() {
            let options = AssembleOptions {
                now: nanoseconds(),
                epoch: built.epoch,
                media_types,
                annotations: annotations.at(Level::Manifest, Some(&built.platform)),
                descriptor_annotations: annotations.at(Level::ManifestDescriptor, Some(&built.platform)),
            };
            let (store, layers, uplink) = (services.store.clone(), output.layers, uplink.cloned());
            let _packing = step.part("exporting layers");
            let packed = tokio::task::spawn_blocking(move || {
                let mut config = built.config;
                if inline {
                    let document =
                        remote_cache::inline_document(&store, &built.exportable, layers.compression);
                    let document =
                        document.map_err(|error| CommandError::Usage(crate::report::chain(&error)))?;
                    config.other.insert(remote_cache::INLINE_KEY.to_owned(), serde_json::to_value(document)?);
                }
                pack(
                    &store,
                    &built.snapshot,
                    built.base_layers,
                    &layers,
                    built.epoch,
                    uplink.as_deref(),
                    built.ahead.as_ref(),
                )
                .map(|layers| (config, layers))
            });
            let (config, layers) = packed.await.map_err(|_| CommandError::Panic)??;
            images.push(assemble(config, layers, &options)?);
        }
        // `docker load` takes one image and nothing beside it.
        let attestations = match docker {
            true => Vec::new(),
            false => {
                let form = match output.artifacts {
                    true => AttestationForm::Artifact,
                    false => AttestationForm::Image,
                };
                attest::attestations(request, built, &images, names, form, &services.store)?
            }
        };
        if images.len() == 1 && attestations.is_empty() {
            return Ok(Self::Image(Box::new(images.remove(0))));
        }
        let mut index = assemble_index(images, attestations, media_types, &of_index);
        if !of_index_descriptor.is_empty() {
            index.document.descriptor.set_annotations(Some(of_index_descriptor.into_iter().collect()));
        }
        Ok(Self::Index(Box::new(index)))
    }

    /// For the exporters.
    pub(super) fn exported(&self) -> Exported<'_> {
        match self {
            Self::Image(image) => Exported::Image(image),
            Self::Index(index) => Exported::Index(index),
        }
    }

    /// What `--metadata-file` says of it.
    pub(super) fn descriptor(&self) -> Value {
        let root = &self.exported().root().descriptor;
        json!({
            "mediaType": root.media_type().to_string(),
            "digest": root.digest().to_string(),
            "size": root.size(),
        })
    }
}

/// What an archive calls its images.
pub(super) fn naming(ending: &Ending<'_>) -> Naming {
    Naming { names: ending.names.to_vec(), created: ending.built[0].epoch.unwrap_or_else(now_seconds) }
}

fn nanoseconds() -> i128 {
    let since = now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    i128::try_from(since.as_nanos()).unwrap_or(i128::MAX)
}
