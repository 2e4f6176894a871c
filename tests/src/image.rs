//! An image read back from an OCI layout, by nothing but the image specification.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::layer::hex;
use crate::{Entry, merge, read_layer};

/// An image whose every digest and size has been checked.
pub struct Image {
    /// `sha256:…` of the manifest.
    pub digest: String,
    /// The manifest.
    pub manifest: Value,
    /// The configuration.
    pub config: Value,
    /// Entries of each layer, the base's first.
    pub layers: Vec<Arc<[Entry]>>,
}

impl Image {
    /// Reads a layout directory.
    #[track_caller]
    pub fn layout(dir: &Path) -> Self {
        let layout = read_json(&dir.join("oci-layout"));
        assert_eq!(layout["imageLayoutVersion"], "1.0.0");
        let index = read_json(&dir.join("index.json"));
        let manifests = index["manifests"].as_array().expect("index.json lists manifests");
        assert_eq!(manifests.len(), 1, "one image was exported: {index}");
        Self::read(dir, &manifests[0])
    }

    /// Reads an OCI layout in a tar.
    #[track_caller]
    pub fn tar(file: &Path) -> Self {
        let dir = TempDir::new().expect("mkdir");
        let tar = File::open(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        tar::Archive::new(tar).unpack(dir.path()).expect("unpack the layout");
        Self::layout(dir.path())
    }

    fn read(dir: &Path, descriptor: &Value) -> Self {
        let manifest: Value = serde_json::from_slice(&blob(dir, descriptor)).expect("the manifest is JSON");
        assert_eq!(manifest["schemaVersion"], 2);
        let config: Value =
            serde_json::from_slice(&blob(dir, &manifest["config"])).expect("the configuration is JSON");
        let none = Vec::new();
        let layers = manifest["layers"].as_array().unwrap_or(&none);
        let diff_ids = config["rootfs"]["diff_ids"].as_array().unwrap_or(&none);
        assert_eq!(layers.len(), diff_ids.len(), "a diff id for each layer");
        let filled = config["history"].as_array().unwrap_or(&none);
        let filled = filled.iter().filter(|entry| entry["empty_layer"] != true).count();
        assert_eq!(layers.len(), filled, "a history entry for each layer");
        let layers = layers.iter().zip(diff_ids).map(|(layer, diff_id)| read_blob_layer(dir, layer, diff_id));
        let layers = layers.collect();
        Self { digest: text(&descriptor["digest"]).to_owned(), manifest, config, layers }
    }

    /// The files of all layers together, a line each: `f 0644 /out 5`.
    pub fn listing(&self) -> String {
        merge(self.layers.iter().map(|layer| &**layer)).values().map(|entry| format!("{entry}\n")).collect()
    }

    /// The entries of the layers above the first `below`, a line each, layers apart by a line `--`.
    pub fn added(&self, below: usize) -> String {
        let layer =
            |entries: &Arc<[Entry]>| entries.iter().map(|entry| format!("{entry}\n")).collect::<String>();
        self.layers.iter().skip(below).map(layer).collect::<Vec<_>>().join("--\n")
    }

    /// The content of a file (its first 16 KiB), by its path without a leading slash.
    #[track_caller]
    pub fn content(&self, path: &str) -> String {
        let merged = merge(self.layers.iter().map(|layer| &**layer));
        let Some(entry) = merged.get(path) else { panic!("no /{path} in\n{}", self.listing()) };
        String::from_utf8_lossy(&entry.content).into_owned()
    }

    /// Whether a path exists.
    pub fn has(&self, path: &str) -> bool {
        merge(self.layers.iter().map(|layer| &**layer)).contains_key(path)
    }

    /// The part of the configuration that a container starts from.
    pub fn container(&self) -> &Value {
        &self.config["config"]
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a string: {value}"))
}

fn read_json(path: &Path) -> Value {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn blob_path(dir: &Path, descriptor: &Value) -> PathBuf {
    let digest = text(&descriptor["digest"]);
    dir.join("blobs").join(digest.replacen(':', "/", 1))
}

/// A blob's bytes, checked against its descriptor.
fn blob(dir: &Path, descriptor: &Value) -> Vec<u8> {
    let bytes = fs::read(blob_path(dir, descriptor)).expect("a blob that a descriptor names");
    assert_eq!(descriptor["size"], bytes.len(), "size of {descriptor}");
    assert_eq!(text(&descriptor["digest"]), format!("sha256:{}", hex(&Sha256::digest(&bytes))));
    bytes
}

/// A layer's entries; blob digest, size and diff id are checked on the way. A layer that was read before, as that of a
/// large base image in hundreds of results, is only checked for its size.
fn read_blob_layer(dir: &Path, descriptor: &Value, diff_id: &Value) -> Arc<[Entry]> {
    static READ: Mutex<Option<HashMap<String, Arc<[Entry]>>>> = Mutex::new(None);
    let file = File::open(blob_path(dir, descriptor)).expect("a blob that a descriptor names");
    assert_eq!(descriptor["size"], file.metadata().expect("stat").len(), "size of {descriptor}");
    let key = format!("{} {diff_id}", descriptor["digest"]);
    let known = || READ.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(entries) = known().as_ref().and_then(|read| read.get(&key)) {
        return Arc::clone(entries);
    }
    let entries: Arc<[Entry]> = read_blob(file, descriptor, diff_id).into();
    known().get_or_insert_default().insert(key, Arc::clone(&entries));
    entries
}

fn read_blob(file: File, descriptor: &Value, diff_id: &Value) -> Vec<Entry> {
    let mut blob = Hashed::new(BufReader::new(file));
    let media_type = text(&descriptor["mediaType"]);
    let entries = {
        let raw: Box<dyn Read + '_> = match media_type.rsplit(['+', '.']).next() {
            Some("gzip") => Box::new(flate2::read::MultiGzDecoder::new(&mut blob)),
            Some("zstd") => Box::new(zstd::stream::read::Decoder::new(&mut blob).expect("zstd")),
            Some("tar") => Box::new(&mut blob),
            _ => panic!("layer of type {media_type}"),
        };
        let mut tar = Hashed::new(raw);
        let entries = read_layer(&mut tar).expect("the layer is a tar");
        assert_eq!(text(diff_id), tar.finish(), "diff id of {descriptor}");
        entries
    };
    assert_eq!(text(&descriptor["digest"]), blob.finish(), "digest of {descriptor}");
    entries
}

/// A reader that hashes what goes through it.
struct Hashed<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: Read> Hashed<R> {
    fn new(inner: R) -> Self {
        Self { inner, hasher: Sha256::new() }
    }

    /// Reads what is left and gives the digest of all.
    fn finish(mut self) -> String {
        std::io::copy(&mut self, &mut std::io::sink()).expect("read to the end");
        format!("sha256:{}", hex(&self.hasher.finalize()))
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        Ok(n)
    }
}
