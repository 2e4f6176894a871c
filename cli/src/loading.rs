//! Reading images of archives and OCI layouts into the store: what `docker save` and `kiln save` write, OCI layouts as tars
//! and as directories.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_cache::{Decompressor, ImageRecord, Origin};
use kiln_core::oci_spec::image::ImageIndex;
use kiln_core::{Digest, DigestWriter, ImageConfig, Platform, Progress, Reference, StepId};
use kiln_executor::source::{ImageStore, Layout, LayoutImage, SourceError};
use kiln_exporter::{Image, LayerBlob, MediaTypes};
use serde::Deserialize;

use crate::environment::now_seconds;
use crate::error::CommandError;
use crate::wiring::Services;

/// Larger members are layers; documents are smaller.
const DOCUMENT: u64 = 8 << 20;

/// The images of an archive: what they are called, and the digest of each manifest.
pub(crate) struct Loaded {
    layout: Layout,
    images: Vec<(Vec<String>, Digest)>,
}

impl Loaded {
    /// Those of an archive, or of an OCI layout's directory.
    ///
    /// # Errors
    /// If it is neither, or cannot be read.
    pub(crate) fn open(path: &Path, services: &Services) -> Result<Self, CommandError> {
        if path.is_dir() {
            return of_layout(path);
        }
        let fail = |cause| CommandError::File { verb: "open", what: "archive", path: path.to_owned(), cause };
        Self::read(File::open(path).map_err(fail)?, services)
    }

    /// Those of an archive. Takes every blob of it into the store as it streams by, and keeps the documents.
    ///
    /// # Errors
    /// If it is none, or cannot be read.
    pub(crate) fn read(input: impl Read + Send, services: &Services) -> Result<Self, CommandError> {
        of_archive(input, services)
    }

    /// Stores all of them under their names; gives what they are called now.
    ///
    /// # Errors
    /// An image that is not what its digests say.
    pub(crate) async fn store(
        self,
        services: &Services,
        progress: &Arc<dyn Progress>,
    ) -> Result<Vec<String>, CommandError> {
        let mut stored = Vec::new();
        for (names, digest) in &self.images {
            let image = self.image(digest, &Platform::host(), services)?;
            let config = image.config_digest;
            let record = take(&self.layout, image, services, progress).await?;
            let mut named = false;
            for name in names {
                if let Ok(reference) = name.parse::<Reference>() {
                    services.store.index().set_image(Some(&reference), &record)?;
                    stored.push(reference.to_string());
                    named = true;
                }
            }
            if !named {
                services.store.index().set_image(None, &record)?;
                stored.push(config.to_string());
            }
        }
        Ok(stored)
    }

    /// Stores the one called `name`, or the only one, under no name: those of the store keep their meaning.
    ///
    /// # Errors
    /// If there is none or more than one, or it is not what its digests say.
    pub(crate) async fn store_one(
        self,
        name: Option<&str>,
        platform: &Platform,
        services: &Services,
        progress: &Arc<dyn Progress>,
    ) -> Result<ImageRecord, CommandError> {
        let digest = self.choose(name)?;
        let image = self.image(&digest, platform, services)?;
        let record = take(&self.layout, image, services, progress).await?;
        services.store.index().set_image(None, &record)?;
        Ok(record)
    }

    fn choose(&self, name: Option<&str>) -> Result<Digest, CommandError> {
        let offered = || {
            let names = self.images.iter().flat_map(|(names, _)| names).map(String::as_str);
            names.collect::<Vec<_>>().join(", ")
        };
        let found = match (name, self.images.as_slice()) {
            (None, [(_, only)]) => return Ok(*only),
            (None, []) => return Err(CommandError::Usage("there is no image in the archive".to_owned())),
            (None, _) => {
                let problem = format!("several images are in the archive; name one of them: {}", offered());
                return Err(CommandError::Usage(problem));
            }
            (Some(wanted), images) => {
                images.iter().find(|(names, _)| names.iter().any(|name| is_called(name, wanted)))
            }
        };
        found.map(|(_, digest)| *digest).ok_or_else(|| {
            CommandError::Usage(format!(
                "no image `{}` in the archive; it has: {}",
                name.unwrap_or_default(),
                offered()
            ))
        })
    }

    fn image(
        &self,
        digest: &Digest,
        platform: &Platform,
        services: &Services,
    ) -> Result<LayoutImage, CommandError> {
        self.layout.image(&services.store, digest, platform).map_err(executor)
    }
}

/// Whether a name in an archive, or the tag that stands there for one, is the one that is wanted.
fn is_called(name: &str, wanted: &str) -> bool {
    let whole = |text: &str| text.parse::<Reference>().map(|reference| reference.to_string()).ok();
    name == wanted || whole(name).is_some_and(|name| Some(name) == whole(wanted))
}

/// Stores the image called `reference` of an OCI layout, under no name.
///
/// # Errors
/// If there is none, or it is not what its digests say.
pub(crate) async fn store_from_layout(
    layout: &Layout,
    reference: &str,
    platform: &Platform,
    services: &Services,
    progress: &Arc<dyn Progress>,
) -> Result<ImageRecord, CommandError> {
    let image = layout.resolve(reference, platform).map_err(executor)?;
    let record = take(layout, image, services, progress).await?;
    services.store.index().set_image(None, &record)?;
    Ok(record)
}

/// Takes the layers of an image into the store.
async fn take(
    layout: &Layout,
    image: LayoutImage,
    services: &Services,
    progress: &Arc<dyn Progress>,
) -> Result<ImageRecord, CommandError> {
    let step = StepId::internal(&image.manifest.to_string());
    let images = ImageStore::new(services.store.clone()).watched(step, Arc::clone(progress));
    let snapshot = images.read_layout(layout, &image.manifest).await.map_err(executor)?;
    let origin = Some(Origin { manifest: image.manifest, config: image.config_digest });
    Ok(ImageRecord { config: image.config, snapshot, origin, created: now_seconds() })
}

fn executor(error: SourceError) -> CommandError {
    CommandError::Executor(kiln_executor::ExecutorError::from(error))
}

fn of_layout(path: &Path) -> Result<Loaded, CommandError> {
    let index = path.join("index.json");
    let fail = |cause| CommandError::File { verb: "read", what: "OCI layout", path: index.clone(), cause };
    let images = images_of(&std::fs::read(&index).map_err(fail)?)?;
    Ok(Loaded { layout: Layout { directory: path.to_owned() }, images })
}

/// The images of an `index.json`; those that are told apart only by name come once.
fn images_of(index: &[u8]) -> Result<Vec<(Vec<String>, Digest)>, CommandError> {
    let index: ImageIndex = serde_json::from_slice(index)?;
    let mut images: Vec<(Vec<String>, Digest)> = Vec::new();
    for entry in index.manifests() {
        let digest = entry.digest().to_string();
        let digest: Digest = digest.parse().map_err(|error| {
            CommandError::Usage(format!("the archive's index.json names an image `{digest}`: {error}"))
        })?;
        let annotations = entry.annotations().clone().unwrap_or_default();
        let full = annotations.get("io.containerd.image.name");
        let name = full.or_else(|| annotations.get("org.opencontainers.image.ref.name")).cloned();
        match images.iter_mut().find(|(_, known)| *known == digest) {
            Some((names, _)) => names.extend(name),
            None => images.push((name.into_iter().collect(), digest)),
        }
    }
    Ok(images)
}

/// An entry of the `manifest.json` of `docker save`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

fn of_archive(input: impl Read + Send, services: &Services) -> Result<Loaded, CommandError> {
    let tar = Decompressor::detect(BufReader::with_capacity(1 << 20, input)).map_err(CommandError::Input)?;
    let mut archive = tar::Archive::new(tar);
    let mut members: HashMap<PathBuf, (Digest, u64)> = HashMap::new();
    let mut documents: HashMap<PathBuf, Vec<u8>> = HashMap::new();
    let mut links: HashMap<PathBuf, PathBuf> = HashMap::new();
    for entry in archive.entries().map_err(CommandError::Input)? {
        let mut entry = entry.map_err(CommandError::Input)?;
        let path = clean(&entry.path().map_err(CommandError::Input)?);
        match entry.header().entry_type() {
            tar::EntryType::Symlink | tar::EntryType::Link => {
                if let Ok(Some(target)) = entry.link_name() {
                    let below = path.parent().unwrap_or(Path::new("")).join(target);
                    links.insert(path, clean(&below));
                }
            }
            tar::EntryType::Regular | tar::EntryType::Continuous => {
                let size = entry.size();
                if size <= DOCUMENT && path.extension().is_some_and(|e| e == "json") {
                    let mut bytes = Vec::new();
                    entry.read_to_end(&mut bytes).map_err(CommandError::Input)?;
                    let digest = services.store.blobs().put(&bytes)?;
                    members.insert(path.clone(), (digest, size));
                    documents.insert(path, bytes);
                    continue;
                }
                let mut writer = DigestWriter::new(services.store.blobs().writer()?);
                std::io::copy(&mut entry, &mut writer).map_err(CommandError::Input)?;
                let (blob, digest, size) = writer.finish();
                blob.commit(Some(&digest))?;
                members.insert(path, (digest, size));
            }
            _ => {}
        }
    }
    let layout = Layout { directory: PathBuf::from("archive") };
    if let Some(index) = documents.get(Path::new("index.json")) {
        return Ok(Loaded { layout, images: images_of(index)? });
    }
    let Some(manifest) = documents.get(Path::new("manifest.json")) else {
        let problem = "this is no archive of images: it has neither index.json nor manifest.json; \
                       `kiln import` makes an image of a root file system";
        return Err(CommandError::Usage(problem.to_owned()));
    };
    let described: Vec<DockerImage> = serde_json::from_slice(manifest)?;
    let images =
        described.into_iter().map(|image| docker_image(image, &members, &documents, &links, services));
    Ok(Loaded { layout, images: images.collect::<Result<_, _>>()? })
}

/// An image that has no manifest of its own gets one, kept in the store.
fn docker_image(
    image: DockerImage,
    members: &HashMap<PathBuf, (Digest, u64)>,
    documents: &HashMap<PathBuf, Vec<u8>>,
    links: &HashMap<PathBuf, PathBuf>,
    services: &Services,
) -> Result<(Vec<String>, Digest), CommandError> {
    let missing = |name: &str| {
        CommandError::Usage(format!("the archive's manifest speaks of {name}, which is not in it"))
    };
    let member = |name: &str| {
        let mut path = clean(Path::new(name));
        // Old archives link to a layer that another image has too.
        for _ in 0..8 {
            match links.get(&path) {
                Some(target) => path = target.clone(),
                None => break,
            }
        }
        members.get(&path).copied().ok_or_else(|| missing(name))
    };
    let config_bytes = match documents.get(&clean(Path::new(&image.config))) {
        Some(bytes) => bytes.clone(),
        None => {
            services.store.blobs().read(&member(&image.config)?.0)?.ok_or_else(|| missing(&image.config))?
        }
    };
    let config: ImageConfig = serde_json::from_slice(&config_bytes)?;
    let mut layers = Vec::new();
    for (name, diff_id) in image.layers.iter().zip(&config.rootfs.diff_ids) {
        let (digest, size) = member(name)?;
        let format = kiln_core::CompressionFormat::Uncompressed;
        layers.push(LayerBlob::new(*diff_id, digest, size, MediaTypes::Docker.layer(format)));
    }
    let assembled = Image::with_config(config_bytes, layers, MediaTypes::Docker)?;
    services.store.blobs().put(&assembled.config.bytes)?;
    let manifest = services.store.blobs().put(&assembled.manifest.bytes)?;
    Ok((image.repo_tags.unwrap_or_default(), manifest))
}

/// A member's path without `.`, `..` and a leading slash.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::Normal(name) => clean.push(name),
            std::path::Component::ParentDir => drop(clean.pop()),
            _ => {}
        }
    }
    clean
}
