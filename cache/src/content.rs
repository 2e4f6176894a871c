//! Blobs by digest: `blobs/sha256/<hex>`, as in an OCI layout.
//!
//! **Invariant:** a file in `blobs/` had the digest of its name when it was put there. It is written in `tmp/` and comes
//! to its place by one rename.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use kiln_core::{Digest, DigestWriter};

use crate::session::{Held, Session};

/// The blobs of a store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Blobs {
    session: Arc<Session>,
}

/// What failed with a blob.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The bytes have another digest than was promised.
    #[error("blob {expected}: the content has digest {actual}")]
    Mismatch {
        /// As promised.
        expected: Digest,
        /// As hashed.
        actual: Digest,
    },
    /// A file could not be read, written or moved.
    #[error("{action} a blob at `{path}`")]
    Io {
        /// The verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
}

impl BlobError {
    fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |cause| Self::Io { action, path, cause }
    }
}

impl Blobs {
    pub(crate) fn new(session: Arc<Session>) -> Self {
        Self { session }
    }

    /// Where the blob is, if it is there.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.session.root().join("blobs/sha256").join(digest.hex())
    }

    /// Whether the blob is there. If so it stays for the life of this process.
    pub fn contains(&self, digest: &Digest) -> Result<bool, BlobError> {
        Ok(self.size(digest)?.is_some())
    }

    /// The blob's size in bytes, if it is there. If so it stays for the life of this process.
    pub fn size(&self, digest: &Digest) -> Result<Option<u64>, BlobError> {
        let path = self.path(digest);
        self.session.hold([Held::Blob(*digest)]).map_err(BlobError::io("hold", &path))?;
        match fs::metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(BlobError::io("look for", path)(error)),
        }
    }

    /// Opens the blob, if it is there.
    pub fn open(&self, digest: &Digest) -> Result<Option<File>, BlobError> {
        let path = self.path(digest);
        self.session.hold([Held::Blob(*digest)]).map_err(BlobError::io("hold", &path))?;
        match File::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(BlobError::io("open", path)(error)),
        }
    }

    /// Reads a small blob, if it is there as it was put there: a manifest, an index, a config.
    pub fn read(&self, digest: &Digest) -> Result<Option<Vec<u8>>, BlobError> {
        let Some(mut file) = self.open(digest)? else { return Ok(None) };
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut file, &mut bytes).map_err(BlobError::io("read", self.path(digest)))?;
        // Small enough to be sure of: what is damaged is not there.
        Ok((Digest::of(&bytes) == *digest).then_some(bytes))
    }

    /// Begins a blob. Dropping the writer forgets it.
    pub fn writer(&self) -> Result<BlobWriter, BlobError> {
        let root = self.session.root().join("tmp");
        let path = self.session.scratch_path().map_err(BlobError::io("begin", root))?;
        let file = File::create_new(&path).map_err(BlobError::io("create", &path))?;
        let out = DigestWriter::new(BufWriter::with_capacity(128 << 10, file));
        Ok(BlobWriter { out: Some(out), path, blobs: self.clone() })
    }

    /// Stores a small blob.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, BlobError> {
        let digest = Digest::of(bytes);
        if self.size(&digest)? != Some(bytes.len() as u64) {
            let mut writer = self.writer()?;
            let path = writer.path.clone();
            writer.write_all(bytes).map_err(BlobError::io("write", path))?;
            writer.commit(Some(&digest))?;
        }
        Ok(digest)
    }

    /// Removes the blob. What is not there is no error.
    pub fn remove(&self, digest: &Digest) -> Result<(), BlobError> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(BlobError::io("remove", path)(error))
            }
            _ => Ok(()),
        }
    }
}

/// A blob that is being written. It is hashed on the way and becomes visible with [`BlobWriter::commit`] alone.
#[derive(Debug)]
#[must_use]
pub struct BlobWriter {
    /// `None` once it is committed.
    out: Option<DigestWriter<BufWriter<File>>>,
    path: PathBuf,
    blobs: Blobs,
}

impl BlobWriter {
    /// The bytes written so far.
    pub fn written(&self) -> u64 {
        self.out.as_ref().map_or(0, DigestWriter::written)
    }

    /// The file for reading, while it is written and after it was put into its place. What was written is in it after a
    /// flush.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn reader(&self) -> Result<File, BlobError> {
        File::open(&self.path).map_err(BlobError::io("open", &self.path))
    }

    /// Puts the blob into its place and returns its digest and size.
    ///
    /// # Errors
    /// If the digest is not the `expected` one, or the file could not be written.
    pub fn commit(mut self, expected: Option<&Digest>) -> Result<(Digest, u64), BlobError> {
        let out = self.out.take().expect("a writer is committed once");
        let (mut file, digest, size) = out.finish();
        let moved = file
            .flush()
            .map_err(BlobError::io("write", &self.path))
            .and_then(|()| self.place(file.get_ref(), &digest, expected));
        if moved.is_err() {
            let _ = fs::remove_file(&self.path);
        }
        moved.map(|()| (digest, size))
    }

    fn place(&self, file: &File, digest: &Digest, expected: Option<&Digest>) -> Result<(), BlobError> {
        if let Some(expected) = expected
            && expected != digest
        {
            return Err(BlobError::Mismatch { expected: *expected, actual: *digest });
        }
        let place = self.blobs.path(digest);
        self.blobs.session.hold([Held::Blob(*digest)]).map_err(BlobError::io("hold", &place))?;
        file.set_permissions(fs::Permissions::from_mode(0o644))
            .map_err(BlobError::io("write", &self.path))?;
        // Over one that is there: the new bytes were verified just now, those on the disk some time ago. But rows that were
        // synced may speak of those, so a power cut must not find the new ones half written.
        if place.exists() {
            file.sync_data().map_err(BlobError::io("write", &self.path))?;
        }
        fs::rename(&self.path, &place).map_err(BlobError::io("move", place))
    }
}

impl Write for BlobWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.out.as_mut().expect("a writer is not used after its commit").write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.as_mut().expect("a writer is not used after its commit").flush()
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if self.out.is_some() {
            let _ = fs::remove_file(&self.path);
        }
    }
}
