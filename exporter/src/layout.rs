//! An OCI layout in a directory: written to, and read from.

use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use kiln_core::Digest;
use serde_json::Value;

use crate::blob::{BlobRead, BlobReadError, Exported};
use crate::document;
use crate::error::ExportError;
use crate::file::to_file;
use crate::naming::{self, Naming, REF_NAME};

/// Writes an image into the OCI layout `directory`, which is made if it is not there. Blobs that it has already are
/// left alone; other images in it stay, but for those whose name the new one takes.
///
/// # Errors
/// If a blob is not to be had, or the directory cannot be written. `index.json` is then as it was.
pub fn write_layout(
    directory: &Path,
    exported: Exported<'_>,
    naming: &Naming,
    blobs: &dyn BlobRead,
) -> Result<(), ExportError> {
    let below = directory.join("blobs/sha256");
    fs::create_dir_all(&below).map_err(ExportError::output(&below))?;
    for layer in exported.layers() {
        let digest = document::digest_of(&layer.descriptor)?;
        let size = layer.descriptor.size();
        put(&below, &digest, size, |out| copy_blob(blobs, &digest, size, out, ExportError::output(&below)))?;
    }
    for document in exported.documents() {
        put(&below, &document.digest(), document.bytes.len() as u64, |out| {
            out.write_all(&document.bytes).map_err(ExportError::output(&below))
        })?;
    }
    let path = directory.join("index.json");
    let mut entries = other_entries(&path, naming)?;
    entries.extend(naming.entries(exported).iter().map(document::descriptor_value));
    let whole = [("oci-layout", naming::OCI_LAYOUT.to_vec()), ("index.json", naming::layout_index(&entries))];
    for (name, bytes) in whole {
        let path = directory.join(name);
        to_file(&path, |out| out.write_all(&bytes).map_err(ExportError::output(&path)))?;
    }
    Ok(())
}

/// Writes a blob unless one of that size is there.
fn put(
    below: &Path,
    digest: &Digest,
    size: u64,
    write: impl FnOnce(&mut (dyn io::Write + Send)) -> Result<(), ExportError>,
) -> Result<(), ExportError> {
    let path = below.join(digest.hex());
    match fs::metadata(&path) {
        Ok(there) if there.len() == size => Ok(()),
        _ => to_file(&path, write),
    }
}

/// Copies a blob and checks that it has `size` bytes.
pub(crate) fn copy_blob(
    blobs: &dyn BlobRead,
    digest: &Digest,
    size: u64,
    out: &mut (impl io::Write + ?Sized),
    failed: impl FnOnce(io::Error) -> ExportError,
) -> Result<(), ExportError> {
    let mut bytes = blobs.open(digest)?;
    let mut buffer = vec![0; 128 << 10];
    let mut actual = 0_u64;
    loop {
        let n = match bytes.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(cause) => return Err(BlobReadError::Io { digest: *digest, cause }.into()),
        };
        actual += n as u64;
        if actual > size {
            break;
        }
        match out.write_all(&buffer[..n]) {
            Ok(()) => {}
            Err(cause) => return Err(failed(cause)),
        }
    }
    if actual == size { Ok(()) } else { Err(ExportError::Size { digest: *digest, expected: size, actual }) }
}

/// The entries of an index that is there, without those whose names are taken now. An entry without a name gives way to
/// one without a name.
fn other_entries(path: &Path, naming: &Naming) -> Result<Vec<Value>, ExportError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(ExportError::output(path)(error)),
    };
    let index: Value = serde_json::from_slice(&text)
        .map_err(|cause| ExportError::Layout { path: path.to_owned(), cause })?;
    let names: Vec<String> =
        naming.names.iter().filter_map(|name| name.tag_or_latest().map(str::to_owned)).collect();
    let stays = |entry: &&Value| match entry["annotations"][REF_NAME].as_str() {
        Some(name) => !names.iter().any(|taken| taken == name),
        None => !names.is_empty(),
    };
    let entries = index["manifests"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(entries.iter().filter(stays).cloned().collect())
}

/// The blobs of an OCI layout.
#[derive(Debug, Clone)]
pub struct LayoutBlobs {
    directory: PathBuf,
}

impl LayoutBlobs {
    /// Those of the layout in `directory`.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }
}

impl BlobRead for LayoutBlobs {
    fn open(&self, digest: &Digest) -> Result<Box<dyn Read + Send>, BlobReadError> {
        self.open_at(digest, 0)
    }

    fn open_at(&self, digest: &Digest, offset: u64) -> Result<Box<dyn Read + Send>, BlobReadError> {
        let path = self.directory.join("blobs/sha256").join(digest.hex());
        let open = || {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(offset))?;
            Ok(file)
        };
        match open() {
            Ok(file) => Ok(Box::new(file)),
            Err(error) if io::Error::kind(&error) == io::ErrorKind::NotFound => {
                Err(BlobReadError::Missing(*digest))
            }
            Err(cause) => Err(BlobReadError::Io { digest: *digest, cause }),
        }
    }
}
