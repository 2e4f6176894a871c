//! A cache in a directory: an OCI layout, one tag a document.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kiln_cache::Store;
use kiln_core::Digest;
use serde_json::{Value, json};

use super::backend::{CacheError, Sink, gave_up};
use super::document::{CachedLayer, config_of};

/// image-spec, annotations.md.
const NAME: &str = "org.opencontainers.image.ref.name";

/// A layout, and the document in it: by its digest, or by its tag.
pub(super) struct Directory {
    pub(super) root: PathBuf,
    pub(super) tag: String,
    pub(super) digest: Option<String>,
}

impl Directory {
    pub(super) fn blob_path(&self, blob: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(blob.hex())
    }

    /// The bytes of the document, if there is one under the tag.
    pub(super) fn document(&self) -> Result<Option<Vec<u8>>, CacheError> {
        let Self { root, tag, digest: wanted } = self;
        let Some(index) = read(&root.join("index.json"))? else { return Ok(None) };
        let damaged = || CacheError::Damaged(format!("{}", root.join("index.json").display()));
        let index: Value = serde_json::from_slice(&index).map_err(|_| damaged())?;
        let mut listed = index["manifests"].as_array().into_iter().flatten();
        let found = listed.find(|entry| match wanted {
            Some(digest) => entry["digest"] == **digest,
            None => entry["annotations"][NAME] == **tag,
        });
        let Some(found) = found else { return Ok(None) };
        let manifest = self.verified(found["digest"].as_str().ok_or_else(damaged)?)?;
        let config = config_of(&manifest);
        let config = config.ok_or_else(|| CacheError::NoCache(root.display().to_string()))?;
        self.verified(config.digest().as_ref()).map(Some)
    }

    fn verified(&self, digest: &str) -> Result<Vec<u8>, CacheError> {
        let digest: Digest = digest.parse().map_err(|_| CacheError::Damaged(digest.to_owned()))?;
        let path = self.blob_path(&digest);
        let bytes = read(&path)?.unwrap_or_default();
        match Digest::of(&bytes) == digest {
            true => Ok(bytes),
            false => Err(CacheError::Damaged(format!("{} is not what its name says", path.display()))),
        }
    }

    /// Copies a layer's blob into the store.
    pub(super) async fn fetch(&self, layer: &CachedLayer, store: &Store) -> Result<(), CacheError> {
        let (path, expected, mut sink) = (self.blob_path(&layer.blob), layer.blob, Sink::new(store)?);
        let copy = move || {
            let failed = |cause| CacheError::Directory { action: "read", path: path.clone(), cause };
            let mut file = fs::File::open(&path).map_err(failed)?;
            io::copy(&mut file, &mut sink).map_err(failed)?;
            sink.commit(&expected)
        };
        tokio::task::spawn_blocking(copy).await.map_err(|_| gave_up())?
    }

    /// Copies a layer's blob out of the store, if it is not there.
    pub(super) fn copy_in(&self, layer: &CachedLayer, store: &Store) -> Result<(), CacheError> {
        let path = self.blob_path(&layer.blob);
        if path.is_file() {
            return Ok(());
        }
        let missing = || CacheError::Damaged(format!("the store has no blob {}", layer.blob));
        let mut blob = store.blobs().open(&layer.blob)?.ok_or_else(missing)?;
        place(&path, &mut blob)
    }

    /// Puts the document in place of the one under the tag.
    pub(super) fn write_document(
        &self,
        config: &[u8],
        manifest: &[u8],
        kind: &str,
    ) -> Result<(), CacheError> {
        let Self { root, tag, .. } = self;
        for bytes in [config, manifest] {
            let path = self.blob_path(&Digest::of(bytes));
            if !path.is_file() {
                place(&path, &mut &*bytes)?;
            }
        }
        place(&root.join("oci-layout"), &mut &br#"{"imageLayoutVersion":"1.0.0"}"#[..])?;
        let file = root.join("index.json");
        let before: Value =
            read(&file)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let others = before["manifests"].as_array().into_iter().flatten();
        let mut entries: Vec<Value> =
            others.filter(|entry| entry["annotations"][NAME] != **tag).cloned().collect();
        entries.push(json!({
            "mediaType": kind,
            "digest": Digest::of(manifest).to_string(),
            "size": manifest.len(),
            "annotations": { NAME: tag },
        }));
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": entries,
        });
        place(&file, &mut index.to_string().as_bytes())
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, CacheError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(CacheError::Directory { action: "read", path: path.to_owned(), cause }),
    }
}

/// Writes a file that is in its place only when it is whole.
fn place(path: &Path, from: &mut dyn io::Read) -> Result<(), CacheError> {
    let mut write = || {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let half = folder.join(format!(".{name}.{}", std::process::id()));
        let mut file = fs::File::create(&half)?;
        let written = io::copy(from, &mut file).and_then(|_| fs::rename(&half, path));
        if written.is_err() {
            let _ = fs::remove_file(&half);
        }
        written
    };
    write().map_err(|cause| CacheError::Directory { action: "write", path: path.to_owned(), cause })
}
