//! A layer as a tar, compressed: the same bytes for the same manifest, whatever the machine.
//!
//! ```text
//! tree ─tar─▶ blocks of 1 MiB ─┬─▶ SHA-256: the diff id
//!                              └─▶ compressing threads ─in order─▶ SHA-256: the digest ─▶ the caller's writer
//! ```
//!
//! Only a few blocks are on their way at any time. The threads are the pack's own, not rayon's: they wait for each
//! other, which workers of a shared pool must not.

mod estargz;
mod gzip;
mod tar;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use kiln_core::{Compression, CompressionFormat, DiffId, Digest, DigestWriter};

use super::error::LayerError;
use super::layers::Layer;
use crate::index::PackedLayer;

/// Bytes of a block. It is part of what the digest of a gzip layer depends on.
const BLOCK: usize = 1024 * 1024;
const GZIP_LEVEL: i32 = 6;
const ZSTD_LEVEL: i32 = 3;

type Block = Arc<Vec<u8>>;
type Tar = Result<(), LayerError>;

pub(crate) fn pack(
    layer: &Layer,
    compression: Compression,
    epoch: Option<i64>,
    into: impl Write + Send,
) -> Result<PackedLayer, LayerError> {
    let into = DigestWriter::new(into);
    match compression.format {
        CompressionFormat::Uncompressed => plain(layer, epoch, into),
        CompressionFormat::Gzip => {
            let level = compression.level.unwrap_or(GZIP_LEVEL);
            gzip(layer, epoch, level, into)
        }
        CompressionFormat::Zstd => {
            let level = compression.level.unwrap_or(ZSTD_LEVEL);
            zstd(layer, epoch, level, into)
        }
    }
}

/// The layer as an eStargz blob, and the digest of its table of contents.
pub(crate) fn pack_estargz(
    layer: &Layer,
    level: Option<i32>,
    epoch: Option<i64>,
    into: impl Write,
) -> Result<(PackedLayer, Digest), LayerError> {
    estargz::pack(layer, epoch, gzip::level(level.unwrap_or(GZIP_LEVEL)), into)
}

pub(crate) fn diff_id(layer: &Layer, epoch: Option<i64>) -> Result<DiffId, LayerError> {
    Ok(plain(layer, epoch, DigestWriter::new(io::sink()))?.diff_id)
}

/// The tar is the blob: one digest.
fn plain(
    layer: &Layer,
    epoch: Option<i64>,
    mut into: DigestWriter<impl Write + Send>,
) -> Result<PackedLayer, LayerError> {
    let (sender, blocks) = sync_channel::<Block>(2);
    let (tar, written) = thread::scope(|scope| {
        let tar = scope
            .spawn(move || tar::write(layer, epoch, &mut Blocks::new(|block| sender.send(block).is_ok())));
        let written = blocks.iter().try_for_each(|block| into.write_all(&block));
        drop(blocks);
        (join(tar), written)
    });
    finish(tar, written)?;
    let (_, digest, size) = into.finish();
    Ok(PackedLayer { diff_id: DiffId(digest), blob: digest, size, tar_size: size })
}

fn zstd(
    layer: &Layer,
    epoch: Option<i64>,
    level: i32,
    into: DigestWriter<impl Write + Send>,
) -> Result<PackedLayer, LayerError> {
    let (to_hash, to_hash_blocks) = sync_channel::<Block>(2);
    let (to_pack, blocks) = sync_channel::<Block>(2);
    let (tar, hashed, written) = thread::scope(|scope| {
        let hashed = scope.spawn(move || hash(&to_hash_blocks));
        let tar = scope.spawn(move || {
            let mut blocks =
                Blocks::new(|block| to_hash.send(Arc::clone(&block)).is_ok() && to_pack.send(block).is_ok());
            tar::write(layer, epoch, &mut blocks)
        });
        let written = compress_zstd(level, blocks, into);
        (join(tar), join(hashed), written)
    });
    let (written, hashed) = (finish(tar, written)?, hashed);
    packed(hashed, written)
}

/// Jobs of a megabyte with an eighth of the window before each: what is written depends on the level alone as long as
/// there is at least one worker.
fn compress_zstd<W: Write>(
    level: i32,
    blocks: Receiver<Block>,
    into: DigestWriter<W>,
) -> io::Result<DigestWriter<W>> {
    use zstd::zstd_safe::CParameter;
    let mut encoder = zstd::Encoder::new(into, level)?;
    encoder.set_parameter(CParameter::NbWorkers(workers() as u32))?;
    encoder.set_parameter(CParameter::JobSize(BLOCK as u32))?;
    encoder.include_checksum(true)?;
    for block in blocks {
        encoder.write_all(&block)?;
    }
    encoder.finish()
}

/// Each block becomes gzip members of its own: valid gzip, and compressed by as many threads as there are.
fn gzip(
    layer: &Layer,
    epoch: Option<i64>,
    level: i32,
    mut into: DigestWriter<impl Write + Send>,
) -> Result<PackedLayer, LayerError> {
    let level = gzip::level(level);
    let workers = workers();
    let (to_hash, to_hash_blocks) = sync_channel::<Block>(2);
    let (to_workers, jobs) = sync_channel::<(Block, SyncSender<Vec<u8>>)>(workers);
    let (to_order, order) = sync_channel::<Receiver<Vec<u8>>>(workers + 1);
    let jobs = Arc::new(Mutex::new(jobs));
    let (tar, hashed, written) = thread::scope(|scope| {
        for _ in 0..workers {
            let jobs = Arc::clone(&jobs);
            scope.spawn(move || {
                let mut packer = gzip::Packer::new(level);
                let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
                while let Ok((block, done)) = next() {
                    // Nobody waits for it after an error.
                    let _ = done.send(packer.pack(&block));
                }
            });
        }
        drop(jobs);
        let hashed = scope.spawn(move || hash(&to_hash_blocks));
        let tar = scope.spawn(move || {
            let mut blocks = Blocks::new(|block| {
                let (done, result) = sync_channel(1);
                to_hash.send(Arc::clone(&block)).is_ok()
                    && to_order.send(result).is_ok()
                    && to_workers.send((block, done)).is_ok()
            });
            tar::write(layer, epoch, &mut blocks)
        });
        let mut written = Ok(());
        for result in &order {
            let Ok(packed) = result.recv() else { break };
            written = into.write_all(&packed);
            if written.is_err() {
                break;
            }
        }
        drop(order);
        (join(tar), join(hashed), written)
    });
    finish(tar, written)?;
    packed(hashed, into)
}

/// The tar's own error says more than the silence of whoever waited for it, and a writer's more than a tar that nobody
/// takes any more.
fn finish<T>(tar: Tar, written: io::Result<T>) -> Result<T, LayerError> {
    let written = written.map_err(LayerError::Output)?;
    tar?;
    Ok(written)
}

fn packed<W: Write>(
    (diff_id, tar_size): (Digest, u64),
    into: DigestWriter<W>,
) -> Result<PackedLayer, LayerError> {
    let (mut inner, blob, size) = into.finish();
    inner.flush().map_err(LayerError::Output)?;
    Ok(PackedLayer { diff_id: DiffId(diff_id), blob, size, tar_size })
}

fn hash(blocks: &Receiver<Block>) -> (Digest, u64) {
    let mut hasher = DigestWriter::new(io::sink());
    for block in blocks {
        hasher.write_all(&block).expect("a sink takes all");
    }
    let (_, digest, size) = hasher.finish();
    (digest, size)
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn workers() -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(16)
}

/// Cuts a stream into blocks.
struct Blocks<F> {
    current: Vec<u8>,
    /// Says whether anybody still wants more.
    send: F,
}

impl<F: FnMut(Block) -> bool> Blocks<F> {
    fn new(send: F) -> Self {
        Self { current: Vec::new(), send }
    }

    fn send(&mut self) -> io::Result<()> {
        let block = std::mem::take(&mut self.current);
        if block.is_empty() || (self.send)(Arc::new(block)) {
            return Ok(());
        }
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

impl<F: FnMut(Block) -> bool> tar::Parts for Blocks<F> {}

impl<F: FnMut(Block) -> bool> Write for Blocks<F> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.current.capacity() == 0 {
            self.current.reserve_exact(BLOCK);
        }
        let count = buffer.len().min(BLOCK - self.current.len());
        self.current.extend_from_slice(&buffer[..count]);
        if self.current.len() == BLOCK {
            self.send()?;
        }
        Ok(count)
    }

    /// Sends what is left: only the last block is shorter.
    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}
