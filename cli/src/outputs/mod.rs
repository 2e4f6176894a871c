//! What a build ends in: names in the store, archives, directories, registries.
//!
//! | module | nouns |
//! | --- | --- |
//! | `packaged` | an image or an index with its layers as blobs |
//! | `registry` | a push |
//! | `directory` | the files of images |
//! | `destination` | a file or standard output |
//! | `metadata` | `--iidfile`, `--metadata-file` |

mod destination;
mod directory;
mod metadata;
mod packaged;
mod registry;

use std::sync::Arc;

use kiln_cache::ImageRecord;
use kiln_core::{Digest, Progress, Reference};
use kiln_exporter::{write_docker_tar, write_layout, write_oci_tar, write_rootfs_tar};
use serde_json::Value;

use self::destination::blocking;
pub(crate) use self::destination::to_destination;
pub(crate) use self::metadata::write_files;
use self::packaged::{Packaged, naming};
use crate::build::Built;
use crate::engine::Engine;
use crate::environment::now_seconds;
use crate::error::CommandError;
use crate::local;
use crate::output::{Destination, Output, OutputKind};
use crate::progress::InternalStep;
use crate::remote_cache::{self, Place};
use crate::request::BuildRequest;
use crate::stored::{StoreBlobs, StoreTree};
use crate::wiring::Services;

/// A build with its outputs written.
#[derive(Debug)]
pub(crate) struct Finished {
    built: Vec<Built>,
    /// The descriptor of what was exported last, if an output was an image with a manifest.
    exported: Option<Value>,
    names: Vec<String>,
}

impl Finished {
    /// The digest of the first image's configuration.
    pub(crate) fn id(&self, services: &Services) -> Result<Digest, CommandError> {
        let built = &self.built[0];
        if let Some(ahead) = &built.ahead {
            built.snapshot.layers.iter().for_each(|layer| ahead.hand_over(layer));
        }
        Ok(local::image_id(&services.store, &record(built))?)
    }
}

/// One output of a build, and what it is made of.
#[derive(Clone, Copy)]
struct Ending<'a> {
    request: &'a BuildRequest,
    output: &'a Output,
    /// Those of `--tag` and its own.
    names: &'a [Reference],
    /// A build a platform.
    built: &'a [Built],
    services: &'a Services,
    step: &'a InternalStep,
}

fn record(built: &Built) -> ImageRecord {
    let (config, snapshot) = (built.config.clone(), built.snapshot.clone());
    ImageRecord { config, snapshot, origin: None, created: now_seconds() }
}

/// Writes all outputs, one after the other.
///
/// # Errors
/// The first output that cannot be written.
pub(crate) async fn export(
    request: &BuildRequest,
    built: Vec<Built>,
    services: &Services,
    progress: &Arc<dyn Progress>,
) -> Result<Finished, CommandError> {
    let mut finished = Finished { built, exported: None, names: Vec::new() };
    for output in &request.outputs {
        let names: Vec<Reference> = request.names.iter().chain(&output.names).cloned().collect();
        let step = InternalStep::begin(progress, title(&output.kind));
        let ending = Ending { request, output, names: &names, built: &finished.built, services, step: &step };
        let written = one(&ending).await;
        let exported = step.end(written)?;
        finished.exported = exported.or(finished.exported);
        finished.names.extend(names.iter().map(ToString::to_string));
    }
    for spec in request.cache_to.iter().filter(|spec| spec.place != Place::Inline) {
        let step = InternalStep::begin(progress, &format!("exporting cache to {}", spec.name()));
        let builds: Vec<_> = finished.built.iter().map(|built| built.exportable.clone()).collect();
        let exported = remote_cache::export(spec, &builds, services).await;
        if let Err(error) = &exported
            && !spec.ignore_error
        {
            crate::build::warn(progress, &spec.name(), error);
        }
        // Its failure is no error of the build: the warning has told it.
        let _ = step.end(Ok::<(), CommandError>(()));
    }
    Ok(finished)
}

fn title(kind: &OutputKind) -> &'static str {
    match kind {
        OutputKind::Image { .. } => "exporting to image",
        OutputKind::Oci { .. } => "exporting to oci image format",
        OutputKind::Docker { .. } => "exporting to docker image format",
        OutputKind::Engine => "loading into a container engine",
        OutputKind::Local { .. } => "exporting to client directory",
        OutputKind::Tar { .. } => "exporting to client tarball",
        OutputKind::CacheOnly => "exporting nothing",
    }
}

/// Writes one output; gives its descriptor if it is an image with a manifest.
async fn one(ending: &Ending<'_>) -> Result<Option<Value>, CommandError> {
    let Ending { output, built, services, step, .. } = ending;
    let store = services.store.clone();
    match &output.kind {
        OutputKind::CacheOnly => Ok(None),
        OutputKind::Image { push: false, store: true, .. } | OutputKind::Docker { destination: None } => {
            name_in_store(ending)?;
            Ok(None)
        }
        OutputKind::Image { push, by_digest, store } => {
            if *store {
                name_in_store(ending)?;
            }
            let packaged = match push {
                true => registry::push(ending, *by_digest).await?,
                false => Packaged::of(ending, None).await?,
            };
            Ok(Some(packaged.descriptor()))
        }
        OutputKind::Oci { destination, tar } => {
            let packaged = Packaged::of(ending, None).await?;
            let (naming, value) = (naming(ending), packaged.descriptor());
            let (destination, tar) = (destination.clone(), *tar);
            let _writing = step.part("sending tarball");
            blocking(move || {
                let blobs = StoreBlobs::new(store);
                match &destination {
                    Destination::File(path) if !tar => {
                        write_layout(path, packaged.exported(), &naming, &blobs)
                    }
                    destination => to_destination(destination, |out| {
                        write_oci_tar(out, &[(packaged.exported(), &naming)], &blobs)
                    }),
                }
            })
            .await?;
            Ok(Some(value))
        }
        OutputKind::Docker { destination: Some(destination) } => {
            let packaged = Packaged::of(ending, None).await?;
            let (naming, value) = (naming(ending), packaged.descriptor());
            let destination = destination.clone();
            let _writing = step.part("sending tarball");
            blocking(move || {
                let blobs = StoreBlobs::new(store);
                to_destination(&destination, |out| {
                    write_docker_tar(out, &[(packaged.exported(), &naming)], &blobs)
                })
            })
            .await?;
            Ok(Some(value))
        }
        OutputKind::Engine => {
            let engine = tokio::task::spawn_blocking(Engine::find).await.map_err(|_| CommandError::Panic)?;
            let Some(engine) = engine else {
                let _told = step.part("there is no docker or podman here: the image is in kiln's store");
                return Ok(None);
            };
            let packaged = Packaged::of(ending, None).await?;
            let naming = naming(ending);
            let _loading = step.part("loading layers");
            let load = move || engine.take(packaged.exported(), &naming, &StoreBlobs::new(store));
            tokio::task::spawn_blocking(load).await.map_err(|_| CommandError::Panic)??;
            Ok(None)
        }
        OutputKind::Local { directory, split } => {
            let _copying = step.part("copying files");
            directory::write(ending, directory, *split).await?;
            Ok(None)
        }
        OutputKind::Tar { destination } => {
            let [built] = built else {
                let problem = "a tar holds the files of one platform: give one --platform, or use type=local";
                return Err(CommandError::Usage(problem.to_owned()));
            };
            let _writing = step.part("sending tarball");
            let tree = StoreTree::new(store.layers().view(&built.snapshot)?);
            let (destination, epoch) = (destination.clone(), built.epoch);
            blocking(move || to_destination(&destination, |out| write_rootfs_tar(out, &tree, epoch))).await?;
            Ok(None)
        }
    }
}

fn name_in_store(ending: &Ending<'_>) -> Result<(), CommandError> {
    // The store keeps one image a name: of several platforms, this machine's.
    let host = kiln_core::Platform::host();
    let own = ending.built.iter().find(|built| host.runs(&built.platform)).unwrap_or(&ending.built[0]);
    let record = record(own);
    let index = ending.services.store.index();
    if ending.names.is_empty() {
        index.set_image(None, &record)?;
    }
    for name in ending.names {
        let _naming = ending.step.part(&format!("naming to {name}"));
        index.set_image(Some(name), &record)?;
    }
    Ok(())
}
