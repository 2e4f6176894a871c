//! Locks between processes: `flock` on files under `locks/`.
//!
//! A lock belongs to the open file, so it goes with its owner, however that ends. The file is removed by the last one
//! who held it; an acquirer that finds its file gone from the directory begins again.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use kiln_core::ContentHash;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Who may hold a lock at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// Any number of holders, none of them exclusive.
    Shared,
    /// One holder.
    Exclusive,
}

/// A lock that is held until it is dropped. Not for handing to another process: a forked child shares it.
#[derive(Debug)]
#[must_use]
pub struct FileLock {
    file: File,
    path: PathBuf,
    mode: LockMode,
}

impl FileLock {
    /// Waits until the lock at `path` is free and takes it.
    pub(crate) fn acquire(path: &Path, mode: LockMode) -> io::Result<Self> {
        let operation = match mode {
            LockMode::Shared => FlockOperation::LockShared,
            LockMode::Exclusive => FlockOperation::LockExclusive,
        };
        Ok(Self::take(path, mode, operation)?.expect("a waiting flock ends with the lock or an error"))
    }

    /// Takes the lock at `path` if it is free.
    pub(crate) fn try_acquire(path: &Path, mode: LockMode) -> io::Result<Option<Self>> {
        let operation = match mode {
            LockMode::Shared => FlockOperation::NonBlockingLockShared,
            LockMode::Exclusive => FlockOperation::NonBlockingLockExclusive,
        };
        Self::take(path, mode, operation)
    }

    fn take(path: &Path, mode: LockMode, operation: FlockOperation) -> io::Result<Option<Self>> {
        loop {
            let file = open(path)?;
            match flock(&file, operation) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            if is_at(&file, path)? {
                return Ok(Some(Self { file, path: path.to_owned(), mode }));
            }
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        let last = self.mode == LockMode::Exclusive
            || flock(&self.file, FlockOperation::NonBlockingLockExclusive).is_ok();
        // Still locked here, so that nobody can hold a lock on the file that goes.
        if last && is_at(&self.file, &self.path).unwrap_or(false) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Opens or makes a lock file.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)
}

/// Whether `file` is what stands at `path`.
pub(crate) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match std::fs::symlink_metadata(path) {
        Ok(there) => Ok((held.dev(), held.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The file name of the lock `name`: itself where it is a plain word, its hash otherwise. A leading dot is the store's own.
pub(crate) fn file_name(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let is_plain = !name.is_empty() && name.len() <= 100 && !name.starts_with('.') && name.bytes().all(plain);
    if is_plain { name.to_owned() } else { format!(".{}", ContentHash::of(name.as_bytes())) }
}
