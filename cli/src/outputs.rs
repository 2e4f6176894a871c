//! What a build ends in: names in the store, archives, directories, registries.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use kiln_cache::{ImageRecord, Store};
use kiln_core::{Digest, Progress, Reference};
use kiln_exporter::{
    AssembleOptions, AttestationForm, ExportError, Exported, Image, Index, MediaTypes, Naming, PushTo,
    assemble, assemble_index, to_file, write_directory, write_docker_tar, write_layout, write_oci_tar,
    write_rootfs_tar,
};
use serde_json::{Value, json};

use crate::annotations::Level;
use crate::attest;
use crate::build::Built;
use crate::engine::Engine;
use crate::environment::{now, now_seconds};
use crate::error::CommandError;
use crate::explain::Explained;
use crate::local;
use crate::output::{Destination, Output, OutputKind};
use crate::pack::pack;
use crate::progress::InternalStep;
use crate::remote_cache::{self, Place};
use crate::request::BuildRequest;
use crate::stored::{StoreBlobs, StoreTree};
use crate::uplink::{Uplink, places_of};
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
        Ok(local::image_id(&services.store, &record(&self.built[0]))?)
    }
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
        let written = one(request, output, &names, &finished.built, services, &step).await;
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

async fn one(
    request: &BuildRequest,
    output: &Output,
    names: &[Reference],
    built: &[Built],
    services: &Services,
    step: &InternalStep,
) -> Result<Option<Value>, CommandError> {
    match &output.kind {
        OutputKind::CacheOnly => Ok(None),
        OutputKind::Image { push: false, store: true, .. } | OutputKind::Docker { destination: None } => {
            name_in_store(&services.store, built, names, step)?;
            Ok(None)
        }
        OutputKind::Image { push, by_digest, store } => {
            if *store {
                name_in_store(&services.store, built, names, step)?;
            }
            let packaged = match names.first() {
                Some(first) if *push => {
                    let _pushing = step.part("pushing layers");
                    let registries = names.iter().map(|name| name.registry().to_owned());
                    let client = match output.insecure {
                        true => services.insecure_client(registries),
                        false => services.client().clone(),
                    };
                    let (client, watch) = (client.watched(step.watch()), step.pushes());
                    let store = services.store.clone();
                    let uplink = Arc::new(Uplink::new(
                        client.clone(),
                        store.clone(),
                        first.clone(),
                        Arc::clone(&watch),
                    ));
                    let packed = packaged(request, output, names, built, services, step, Some(&uplink)).await;
                    let (packaged, sent) = uplink.finish(packed).await?;
                    let from = places_of(&store, packaged.exported().layers());
                    let to = PushTo { names: names.to_vec(), by_digest: *by_digest, from, sent };
                    let blobs: Arc<dyn kiln_exporter::BlobRead> = Arc::new(StoreBlobs::new(store));
                    kiln_exporter::push(&client, packaged.exported(), &to, &blobs, &*watch).await?;
                    packaged
                }
                _ => packaged(request, output, names, built, services, step, None).await?,
            };
            Ok(Some(descriptor(packaged.exported())))
        }
        OutputKind::Oci { destination, tar } => {
            let packaged = packaged(request, output, names, built, services, step, None).await?;
            let naming = naming(names, built);
            let value = descriptor(packaged.exported());
            let (store, destination, tar) = (services.store.clone(), destination.clone(), *tar);
            let _writing = step.part("sending tarball");
            blocking(move || {
                let blobs = StoreBlobs::new(store);
                match &destination {
                    Destination::File(path) if !tar => {
                        write_layout(path, packaged.exported(), &naming, &blobs)
                    }
                    destination => to_destination(destination, |out| {
                        write_oci_tar(out, packaged.exported(), &naming, &blobs)
                    }),
                }
            })
            .await?;
            Ok(Some(value))
        }
        OutputKind::Docker { destination: Some(destination) } => {
            let packaged = packaged(request, output, names, built, services, step, None).await?;
            let naming = naming(names, built);
            let value = descriptor(packaged.exported());
            let (store, destination) = (services.store.clone(), destination.clone());
            let _writing = step.part("sending tarball");
            blocking(move || {
                let blobs = StoreBlobs::new(store);
                to_destination(&destination, |out| {
                    write_docker_tar(out, packaged.exported(), &naming, &blobs)
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
            let packaged = packaged(request, output, names, built, services, step, None).await?;
            let naming = naming(names, built);
            let store = services.store.clone();
            let _loading = step.part("loading layers");
            let load = move || engine.take(packaged.exported(), &naming, &StoreBlobs::new(store));
            tokio::task::spawn_blocking(load).await.map_err(|_| CommandError::Panic)??;
            Ok(None)
        }
        OutputKind::Local { directory, split } => {
            let _copying = step.part("copying files");
            for built in built {
                let tree = StoreTree::new(services.store.layers().view(&built.snapshot)?);
                let (directory, epoch) = (platform_directory(directory, built, request, *split), built.epoch);
                let statements = attest::predicates(request, built, Value::Null, &services.store)?;
                let prefix = output.attestation_prefix.clone();
                blocking(move || {
                    write_directory(&directory, &tree, epoch)?;
                    write_predicates(&directory, &prefix, &statements)
                })
                .await?;
            }
            Ok(None)
        }
        OutputKind::Tar { destination } => {
            if built.len() > 1 {
                let problem = "a tar holds the files of one platform: give one --platform, or use type=local";
                return Err(CommandError::Usage(problem.to_owned()));
            }
            let _writing = step.part("sending tarball");
            let tree = StoreTree::new(services.store.layers().view(&built[0].snapshot)?);
            let (destination, epoch) = (destination.clone(), built[0].epoch);
            blocking(move || to_destination(&destination, |out| write_rootfs_tar(out, &tree, epoch))).await?;
            Ok(None)
        }
    }
}

/// Writes `provenance.json` and `sbom.spdx.json` beside the files of an image, as BuildKit does.
fn write_predicates(
    directory: &Path,
    prefix: &str,
    predicates: &[kiln_exporter::Predicate],
) -> Result<(), ExportError> {
    for predicate in predicates {
        let name = if predicate.kind.contains("spdx") { "sbom.spdx.json" } else { "provenance.json" };
        let path = directory.join(format!("{prefix}{name}"));
        let text = format!("{:#}\n", predicate.value);
        to_file(&path, |out| {
            out.write_all(text.as_bytes()).map_err(|cause| ExportError::Output { path: path.clone(), cause })
        })?;
    }
    Ok(())
}

/// `linux_arm64` below the directory when there are several platforms.
fn platform_directory(
    directory: &Path,
    built: &Built,
    request: &BuildRequest,
    split: Option<bool>,
) -> std::path::PathBuf {
    if split.unwrap_or(request.platforms.len() > 1) {
        directory.join(built.platform.to_string().replace('/', "_"))
    } else {
        directory.to_owned()
    }
}

fn name_in_store(
    store: &Store,
    built: &[Built],
    names: &[Reference],
    step: &InternalStep,
) -> Result<(), CommandError> {
    // The store keeps one image a name: of several platforms, this machine's.
    let host = kiln_core::Platform::host();
    let own = built.iter().find(|built| host.runs(&built.platform)).unwrap_or(&built[0]);
    let record = record(own);
    if names.is_empty() {
        store.index().set_image(None, &record)?;
    }
    for name in names {
        let _naming = step.part(&format!("naming to {name}"));
        store.index().set_image(Some(name), &record)?;
    }
    Ok(())
}

/// An image, or an index of images.
pub(crate) enum Packaged {
    /// One platform.
    Image(Box<Image>),
    /// Several.
    Index(Box<Index>),
}

impl Packaged {
    /// For the exporters.
    pub(crate) fn exported(&self) -> Exported<'_> {
        match self {
            Self::Image(image) => Exported::Image(image),
            Self::Index(index) => Exported::Index(index),
        }
    }
}

async fn packaged(
    request: &BuildRequest,
    output: &Output,
    names: &[Reference],
    built: &[Built],
    services: &Services,
    step: &InternalStep,
    uplink: Option<&Arc<Uplink>>,
) -> Result<Packaged, CommandError> {
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
                let document = remote_cache::inline_document(&store, &built.exportable, layers.compression);
                let document = document.map_err(|error| CommandError::Usage(crate::report::chain(&error)))?;
                config.other.insert(remote_cache::INLINE_KEY.to_owned(), serde_json::to_value(document)?);
            }
            pack(&store, &built.snapshot, built.base_layers, &layers, built.epoch, uplink.as_deref())
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
    match images.len() {
        1 if attestations.is_empty() => Ok(Packaged::Image(Box::new(images.remove(0)))),
        _ => {
            let mut index = assemble_index(images, attestations, media_types, &of_index);
            if !of_index_descriptor.is_empty() {
                index.document.descriptor.set_annotations(Some(of_index_descriptor.into_iter().collect()));
            }
            Ok(Packaged::Index(Box::new(index)))
        }
    }
}

fn nanoseconds() -> i128 {
    let since = now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    i128::try_from(since.as_nanos()).unwrap_or(i128::MAX)
}

fn naming(names: &[Reference], built: &[Built]) -> Naming {
    Naming { names: names.to_vec(), created: built[0].epoch.unwrap_or_else(now_seconds) }
}

fn descriptor(exported: Exported<'_>) -> Value {
    let root = &exported.root().descriptor;
    json!({
        "mediaType": root.media_type().to_string(),
        "digest": root.digest().to_string(),
        "size": root.size(),
    })
}

/// Writes to a file that is in its place only when it is whole, or to standard output.
pub(crate) fn to_destination(
    destination: &Destination,
    write: impl FnOnce(&mut dyn Write) -> Result<(), ExportError>,
) -> Result<(), ExportError> {
    match destination {
        Destination::File(path) => to_file(path, |out| write(out)),
        Destination::Stdout => {
            let mut out = std::io::BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
            write(&mut out)?;
            out.flush().map_err(|cause| ExportError::Output { path: "-".into(), cause })
        }
    }
}

/// Runs what blocks on a thread that may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ExportError> + Send + 'static,
) -> Result<T, CommandError> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(|_| CommandError::Panic)??)
}

/// Writes `--iidfile` and `--metadata-file`.
///
/// # Errors
/// If they cannot be written.
pub(crate) fn write_files(
    request: &BuildRequest,
    finished: &Finished,
    explained: &[Explained],
    services: &Services,
) -> Result<(), CommandError> {
    let write = |what: &'static str, path: &Path, text: String| {
        let fail = |cause| CommandError::File { verb: "write", what, path: path.to_owned(), cause };
        to_file(path, |out| {
            out.write_all(text.as_bytes())
                .map_err(|cause| ExportError::Output { path: path.to_owned(), cause })
        })
        .map_err(|error| fail(std::io::Error::other(error)))
    };
    if let Some(path) = &request.iidfile {
        write("image id file", path, finished.id(services)?.to_string())?;
    }
    if let Some(path) = &request.metadata_file {
        let mut metadata = json!({ "containerimage.config.digest": finished.id(services)?.to_string() });
        if let Some(descriptor) = &finished.exported {
            metadata["containerimage.descriptor"] = descriptor.clone();
            metadata["containerimage.digest"] = descriptor["digest"].clone();
        }
        if !finished.names.is_empty() {
            metadata["image.name"] = finished.names.join(",").into();
        }
        if request.explain {
            metadata["kiln.explanation"] = serde_json::to_value(explained)?;
        }
        write("metadata file", path, format!("{}\n", serde_json::to_string_pretty(&metadata)?))?;
    }
    Ok(())
}
