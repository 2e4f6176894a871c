//! OCI layout directories: finding an image in one (image-spec, image-layout.md).

use std::path::PathBuf;

use kiln_cache::Store;
use kiln_core::oci_spec::image::{Descriptor, ImageIndex, ImageManifest};
use kiln_core::{Digest, ImageConfig, Platform};
use kiln_registry::choose_platform;

use super::SourceError;

/// An OCI layout directory.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The directory that has `oci-layout`.
    pub directory: PathBuf,
}

/// An image of a layout.
#[derive(Debug, Clone)]
pub struct LayoutImage {
    /// The digest of the platform's own manifest.
    pub manifest: Digest,
    /// The digest of its configuration.
    pub config_digest: Digest,
    /// Its configuration.
    pub config: ImageConfig,
}

/// How deep an index may refer to indexes.
const DEPTH: usize = 4;
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const FULL_NAME: &str = "io.containerd.image.name";

impl Layout {
    /// The image called `reference` (a tag or a digest; empty for the only one, or the one called `latest`).
    ///
    /// # Errors
    /// If there is none, none for `platform`, or a document is not what its digest says.
    pub fn resolve(&self, reference: &str, platform: &Platform) -> Result<LayoutImage, SourceError> {
        let path = self.directory.join("index.json");
        let bytes =
            std::fs::read(&path).map_err(|cause| SourceError::Layout { path: path.clone(), cause })?;
        let index: ImageIndex = serde_json::from_slice(&bytes).map_err(self.document("index"))?;
        let entry = match entry(&index, reference) {
            Some(entry) => entry.clone(),
            None => {
                return Err(SourceError::NotInLayout { name: self.name(reference), offered: names(&index) });
            }
        };
        self.descend(&|digest| self.read(digest), self.digest(&entry)?, reference, platform)
    }

    /// The image behind the digest of a manifest or an index whose documents are in the layout or in `store`.
    ///
    /// # Errors
    /// As for [`Layout::resolve`].
    pub fn image(
        &self,
        store: &Store,
        digest: &Digest,
        platform: &Platform,
    ) -> Result<LayoutImage, SourceError> {
        let read = |digest: &Digest| match store.blobs().read(digest)? {
            Some(bytes) => Ok(bytes),
            None => self.read(digest),
        };
        self.descend(&read, *digest, "", platform)
    }

    fn descend(
        &self,
        read: &dyn Fn(&Digest) -> Result<Vec<u8>, SourceError>,
        mut digest: Digest,
        reference: &str,
        platform: &Platform,
    ) -> Result<LayoutImage, SourceError> {
        for _ in 0..DEPTH {
            let bytes = read(&digest)?;
            if !is_index(&bytes) {
                let manifest: ImageManifest =
                    serde_json::from_slice(&bytes).map_err(self.document("manifest"))?;
                let config_digest = self.digest(manifest.config())?;
                let config =
                    serde_json::from_slice(&read(&config_digest)?).map_err(self.document("configuration"))?;
                return Ok(LayoutImage { manifest: digest, config_digest, config });
            }
            let index: ImageIndex = serde_json::from_slice(&bytes).map_err(self.document("index"))?;
            let chosen = choose_platform(&index, platform).ok_or_else(|| SourceError::NotInLayout {
                name: format!("{} for {platform}", self.name(reference)),
                offered: platforms(&index),
            })?;
            digest = self.digest(&chosen)?;
        }
        Err(SourceError::NotInLayout {
            name: self.name(reference),
            offered: vec!["indexes of indexes".to_owned()],
        })
    }

    /// Where a blob lies.
    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        self.directory.join("blobs/sha256").join(digest.hex())
    }

    /// A small document, checked.
    pub(super) fn read(&self, digest: &Digest) -> Result<Vec<u8>, SourceError> {
        let path = self.blob(digest);
        let bytes =
            std::fs::read(&path).map_err(|cause| SourceError::Layout { path: path.clone(), cause })?;
        let found = Digest::of(&bytes);
        if found == *digest { Ok(bytes) } else { Err(SourceError::Damaged { path, found }) }
    }

    fn digest(&self, descriptor: &Descriptor) -> Result<Digest, SourceError> {
        let text = descriptor.digest().to_string();
        text.parse().map_err(|_| SourceError::Digest { name: self.name(""), digest: text })
    }

    fn document(&self, document: &'static str) -> impl Fn(serde_json::Error) -> SourceError {
        let name = self.name("");
        move |cause| SourceError::Document { document, name: name.clone(), cause }
    }

    fn name(&self, reference: &str) -> String {
        let path = self.directory.display();
        if reference.is_empty() { path.to_string() } else { format!("{path}:{reference}") }
    }
}

/// Whether a document lists manifests: an image's manifest has a `config` instead.
fn is_index(bytes: &[u8]) -> bool {
    serde_json::from_slice::<ImageIndex>(bytes).is_ok()
}

/// The entry of an index that `reference` means.
fn entry<'a>(index: &'a ImageIndex, reference: &str) -> Option<&'a Descriptor> {
    let annotation =
        |entry: &'a Descriptor, key: &str| entry.annotations().as_ref()?.get(key).map(String::as_str);
    let called = |entry: &&'a Descriptor, tag: &str| {
        annotation(entry, REF_NAME) == Some(tag)
            || annotation(entry, FULL_NAME)
                .is_some_and(|name| name == tag || name.ends_with(&format!(":{tag}")))
            || entry.digest().to_string() == tag
    };
    let entries = index.manifests();
    match (reference, entries.as_slice()) {
        ("", [only]) => Some(only),
        ("", _) => entries.iter().find(|entry| called(entry, "latest")),
        (tag, _) => entries.iter().find(|entry| called(entry, tag)),
    }
}

fn names(index: &ImageIndex) -> Vec<String> {
    let name = |entry: &Descriptor| {
        let tag = entry.annotations().as_ref().and_then(|all| all.get(REF_NAME).cloned());
        tag.unwrap_or_else(|| entry.digest().to_string())
    };
    index.manifests().iter().map(name).collect()
}

fn platforms(index: &ImageIndex) -> Vec<String> {
    let platforms = index.manifests().iter().filter_map(|entry| entry.platform().as_ref());
    platforms.map(|p| format!("{}/{}", p.os(), p.architecture())).collect()
}
