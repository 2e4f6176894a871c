//! A file's bytes into a new file, hashed on the way.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use kiln_core::ContentHash;
use rustix::fs::ioctl_ficlone;

use super::super::entry::FileContent;

/// Below this, sharing extents costs more than copying.
const WORTH_SHARING: u64 = 64 * 1024;
const BUFFER: usize = 128 * 1024;

thread_local! {
    static BYTES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Copies all of `from`.
pub(crate) fn stream(from: &mut dyn Read, mut into: &File) -> io::Result<FileContent> {
    let mut hasher = blake3::Hasher::new();
    let size = each(from, |bytes| {
        hasher.update(bytes);
        into.write_all(bytes)
    })?;
    Ok(content(size, &hasher))
}

/// Shares the bytes of `from` if both files are on a file system that can, copies them otherwise.
pub(super) fn file(mut from: &File, into: &File, no_reflink: &AtomicBool) -> io::Result<FileContent> {
    if !no_reflink.load(Ordering::Relaxed) && from.metadata()?.len() >= WORTH_SHARING {
        match ioctl_ficlone(into, from) {
            // What is hashed is what was shared, even if `from` is written meanwhile.
            Ok(()) => return hash(into),
            Err(_) => no_reflink.store(true, Ordering::Relaxed),
        }
    }
    stream(&mut from, into)
}

/// Reads all of `from` and hashes it.
pub(crate) fn hash(mut from: &File) -> io::Result<FileContent> {
    let mut hasher = blake3::Hasher::new();
    let size = each(&mut from, |bytes| {
        hasher.update(bytes);
        Ok(())
    })?;
    Ok(content(size, &hasher))
}

fn content(size: u64, hasher: &blake3::Hasher) -> FileContent {
    FileContent { size, hash: ContentHash::from_bytes(*hasher.finalize().as_bytes()) }
}

/// Hands over all bytes through this thread's buffer, which is not made anew for each of ten thousand files.
fn each(from: &mut dyn Read, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<u64> {
    // Taken, not borrowed: `from` may itself copy something.
    let mut buffer = BYTES.take();
    buffer.resize(BUFFER, 0);
    let mut total = 0;
    let done = loop {
        match from.read(&mut buffer) {
            Ok(0) => break Ok(total),
            Ok(count) => {
                if let Err(error) = take(&buffer[..count]) {
                    break Err(error);
                }
                total += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    BYTES.set(buffer);
    done
}
