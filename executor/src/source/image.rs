//! The layers of an image, unpacked into the store: from a registry while they download, from an OCI layout directory.
//!
//! Layers are unpacked in parallel, each into a tree of its own, and committed bottom up, because a whiteout means something only
//! on the layers below. A chain of layers that the store has already is neither fetched nor unpacked.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use kiln_cache::{BlobWriter, Decompressor, LayerError, PackedLayer, Store, Unpacked};
use kiln_core::oci_spec::image::{Descriptor, ImageManifest};
use kiln_core::{
    Compression, CompressionFormat, DiffId, Digest, DigestWriter, Event, ImageConfig, LayerId, Progress,
    Reference, Snapshot, StepId,
};
use kiln_registry::{BlobSink, Client};

use super::{Layout, SourceError};

/// Where an image's blobs are.
#[derive(Clone)]
enum Origin {
    Registry(Client, Reference),
    Layout(Layout),
}

impl Origin {
    /// The repository or the directory.
    fn name(&self) -> String {
        match self {
            Self::Registry(_, reference) => reference.name(),
            Self::Layout(layout) => layout.directory.display().to_string(),
        }
    }
}

/// Brings images from outside into a store.
#[derive(Clone)]
pub struct ImageStore {
    store: Store,
    watch: Option<(StepId, Arc<dyn Progress>)>,
}

/// One layer to be had.
struct Wanted {
    descriptor: Descriptor,
    digest: Digest,
    diff_id: DiffId,
}

impl ImageStore {
    /// For `store`.
    pub fn new(store: Store) -> Self {
        Self { store, watch: None }
    }

    /// The same, telling how far each layer is as part of `step`.
    #[must_use]
    pub fn watched(self, step: StepId, progress: Arc<dyn Progress>) -> Self {
        Self { watch: Some((step, progress)), ..self }
    }

    /// The layers of the image with this manifest at a registry.
    ///
    /// # Errors
    /// If it cannot be fetched, is not what its digests say, or cannot be unpacked.
    pub async fn pull(
        &self,
        client: &Client,
        reference: &Reference,
        manifest: &Digest,
    ) -> Result<Snapshot, SourceError> {
        let name = reference.with_digest(*manifest).to_string();
        self.take(Origin::Registry(client.clone(), reference.clone()), manifest, &name).await
    }

    /// The layers of the image with this manifest in an OCI layout.
    ///
    /// # Errors
    /// As for [`ImageStore::pull`].
    pub async fn read_layout(&self, layout: &Layout, manifest: &Digest) -> Result<Snapshot, SourceError> {
        let name = format!("{}@{manifest}", layout.directory.display());
        self.take(Origin::Layout(layout.clone()), manifest, &name).await
    }

    async fn take(&self, origin: Origin, manifest: &Digest, name: &str) -> Result<Snapshot, SourceError> {
        let bytes = self.document(&origin, manifest, None).await?;
        let document = |document| {
            let name = name.to_owned();
            move |cause| SourceError::Document { document, name, cause }
        };
        let parsed: ImageManifest = serde_json::from_slice(&bytes).map_err(document("manifest"))?;
        let config_digest = digest_of(parsed.config(), name)?;
        let bytes = self.document(&origin, &config_digest, Some(parsed.config())).await?;
        let config: ImageConfig = serde_json::from_slice(&bytes).map_err(document("configuration"))?;
        let diff_ids = &config.rootfs.diff_ids;
        if diff_ids.len() != parsed.layers().len() {
            let (layers, diff_ids) = (parsed.layers().len(), diff_ids.len());
            return Err(SourceError::Count { name: name.to_owned(), layers, diff_ids });
        }
        let wanted = parsed.layers().iter().zip(diff_ids).map(|(descriptor, diff_id)| {
            let digest = digest_of(descriptor, name)?;
            Ok(Wanted { descriptor: descriptor.clone(), digest, diff_id: *diff_id })
        });
        self.layers(&origin, wanted.collect::<Result<_, SourceError>>()?).await
    }

    /// A small document: from the store if it is there, otherwise from the origin, and kept.
    async fn document(
        &self,
        origin: &Origin,
        digest: &Digest,
        descriptor: Option<&Descriptor>,
    ) -> Result<Vec<u8>, SourceError> {
        if let Some(bytes) = self.store.blobs().read(digest)? {
            return Ok(bytes);
        }
        let bytes = match (origin, descriptor) {
            (Origin::Registry(client, reference), None) => client.manifest(reference, digest).await?.bytes,
            (Origin::Registry(client, reference), Some(descriptor)) => {
                client.small_blob(reference, descriptor).await?
            }
            (Origin::Layout(layout), _) => layout.read(digest)?,
        };
        self.store.blobs().put(&bytes)?;
        Ok(bytes)
    }

    async fn layers(&self, origin: &Origin, wanted: Vec<Wanted>) -> Result<Snapshot, SourceError> {
        let chains = chain_ids(&wanted);
        let mut known: Vec<Option<LayerId>> = Vec::with_capacity(wanted.len());
        for chain in &chains {
            known.push(self.store.index().chain(chain)?);
        }
        // A layer whose chain is known is there whatever became of those below.
        let mut tasks = Vec::with_capacity(wanted.len());
        for (wanted, known) in wanted.iter().zip(&known) {
            let task = known.is_none().then(|| {
                let (this, origin) = (self.clone(), origin.clone());
                let (descriptor, digest) = (wanted.descriptor.clone(), wanted.digest);
                Task(tokio::spawn(async move { this.layer(origin, descriptor, digest).await }))
            });
            tasks.push(task);
        }
        let mut snapshot = Snapshot::scratch();
        for (index, task) in tasks.into_iter().enumerate() {
            let layer = match (known[index], task) {
                (Some(layer), _) => layer,
                (None, Some(mut task)) => {
                    let unpacked = (&mut task.0).await.map_err(|_| SourceError::GivenUp)??;
                    self.commit(unpacked, (&wanted[index], origin), &chains[index], snapshot.clone()).await?
                }
                (None, None) => return Err(SourceError::GivenUp),
            };
            snapshot = snapshot.with(layer);
        }
        Ok(snapshot)
    }

    /// Fetches and unpacks one layer.
    async fn layer(
        &self,
        origin: Origin,
        descriptor: Descriptor,
        digest: Digest,
    ) -> Result<(Unpacked, Option<CompressionFormat>), SourceError> {
        let kept = self.store.blobs().open(&digest)?;
        let (layers, name) = (self.store.layers().clone(), origin.name());
        match (kept, origin) {
            (Some(file), _) => blocking(move || unpack(&layers, BufReader::new(file), (digest, name))).await,
            (None, Origin::Layout(layout)) => {
                let path = layout.blob(&digest);
                blocking(move || {
                    let file = File::open(&path)
                        .map_err(|cause| SourceError::Layout { path: path.clone(), cause })?;
                    verified(&path, &file, &digest)?;
                    unpack(&layers, BufReader::new(file), (digest, name))
                })
                .await
            }
            (None, Origin::Registry(client, reference)) => {
                let (sender, receiver) = sync_channel(PIECES_AHEAD);
                let unpacking = tokio::task::spawn_blocking(move || {
                    let pieces = Pieces { receiver, piece: Vec::new(), at: 0 };
                    unpack(&layers, BufReader::new(pieces), (digest, name))
                });
                let meter =
                    Meter { watch: self.watch.clone(), digest, done: 0, told: 0, total: descriptor.size() };
                let tee = Tee { blob: self.store.blobs().writer()?, unpacker: Some(sender), meter };
                let fetched = client.blob(&reference, &descriptor, tee).await;
                // Nothing is kept of a layer whose blob was not what it should be.
                let Tee { blob, unpacker, mut meter } = fetched?;
                drop(unpacker);
                meter.tell(true);
                let unpacked = unpacking.await.map_err(|_| SourceError::GivenUp)??;
                let (store, place) = (self.store.clone(), reference.name());
                blocking(move || {
                    blob.commit(Some(&digest))?;
                    Ok(store.index().add_place(&digest, &place)?)
                })
                .await?;
                Ok(unpacked)
            }
        }
    }

    async fn commit(
        &self,
        (unpacked, format): (Unpacked, Option<CompressionFormat>),
        (wanted, origin): (&Wanted, &Origin),
        chain: &Digest,
        below: Snapshot,
    ) -> Result<LayerId, SourceError> {
        let name = origin.name();
        let (blob, size, expected, chain) = (wanted.digest, wanted.descriptor.size(), wanted.diff_id, *chain);
        let store = self.store.clone();
        blocking(move || {
            if unpacked.diff_id != expected {
                return Err(SourceError::DiffId { name, blob, expected, found: unpacked.diff_id });
            }
            let tar_size = unpacked.tar_size;
            let layer = unpacked.commit(&below)?.id;
            store.index().set_chain(&chain, &layer)?;
            store.index().set_diff_id(&layer, &expected)?;
            // So that a push sends the blob that came, and does not compress the layer again.
            if let (Some(format), true) = (format, store.blobs().contains(&blob)?) {
                let packed = PackedLayer { diff_id: expected, blob, size, tar_size };
                store.index().set_packed(&layer, Compression { format, level: None }, &packed)?;
            }
            Ok(layer)
        })
        .await
    }
}

/// Ends its task with itself.
struct Task<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs what blocks on a thread that may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| SourceError::GivenUp)?
}

/// image-spec, config.md#layer-chainid.
fn chain_ids(wanted: &[Wanted]) -> Vec<Digest> {
    let mut chains: Vec<Digest> = Vec::with_capacity(wanted.len());
    for layer in wanted {
        let chain = match chains.last() {
            None => layer.diff_id.0,
            Some(below) => Digest::of(format!("{below} {}", layer.diff_id.0).as_bytes()),
        };
        chains.push(chain);
    }
    chains
}

fn digest_of(descriptor: &Descriptor, name: &str) -> Result<Digest, SourceError> {
    let text = descriptor.digest().to_string();
    text.parse().map_err(|_| SourceError::Digest { name: name.to_owned(), digest: text })
}

fn unpack(
    layers: &kiln_cache::Layers,
    compressed: impl io::BufRead + Send,
    (blob, name): (Digest, String),
) -> Result<(Unpacked, Option<CompressionFormat>), SourceError> {
    let failed = |cause| SourceError::Unpack { layer: format!("{blob} of {name}"), cause };
    let action = "decompress the layer";
    let read = |cause| failed(LayerError::Io { action, path: PathBuf::from(blob.hex()), cause });
    let plain = Decompressor::detect(compressed).map_err(read)?;
    let format = match plain.format() {
        kiln_cache::Format::None => Some(CompressionFormat::Uncompressed),
        kiln_cache::Format::Gzip => Some(CompressionFormat::Gzip),
        kiln_cache::Format::Zstd => Some(CompressionFormat::Zstd),
        kiln_cache::Format::Bzip2 | kiln_cache::Format::Xz => None,
    };
    let unpacked = layers.unpack(plain, kiln_cache::Limits::default()).map_err(failed)?;
    Ok((unpacked, format))
}

/// Checks a file of a layout against its name before anything is made of it.
fn verified(path: &Path, file: &File, digest: &Digest) -> Result<(), SourceError> {
    let failed = |cause| SourceError::Layout { path: path.to_path_buf(), cause };
    let mut hashing = DigestWriter::new(io::sink());
    io::copy(&mut &*file, &mut hashing).map_err(failed)?;
    io::Seek::rewind(&mut &*file).map_err(failed)?;
    let found = hashing.finish().1;
    if found == *digest { Ok(()) } else { Err(SourceError::Damaged { path: path.to_path_buf(), found }) }
}

/// How many pieces of a download may wait for the unpacker.
const PIECES_AHEAD: usize = 16;

/// A blob on its way into the store and, at the same time, to its unpacker.
struct Tee {
    blob: BlobWriter,
    /// `None` once the unpacker has given up: it will say why.
    unpacker: Option<SyncSender<Arc<[u8]>>>,
    meter: Meter,
}

/// Tells how far a download is.
struct Meter {
    watch: Option<(StepId, Arc<dyn Progress>)>,
    digest: Digest,
    done: u64,
    told: u64,
    total: u64,
}

impl Meter {
    /// So often that it looks smooth.
    const STEP: u64 = 256 * 1024;

    fn add(&mut self, bytes: usize) {
        self.done += bytes as u64;
        if self.done - self.told >= Self::STEP {
            self.tell(false);
        }
    }

    fn tell(&mut self, done: bool) {
        self.told = self.done;
        if let Some((step, progress)) = &self.watch {
            let (id, current, total) = (self.digest.to_string(), self.done, self.total);
            progress.emit(Event::Status { step: *step, id, current, total, done });
        }
    }
}

impl Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.blob.write_all(bytes)?;
        if self.unpacker.as_ref().is_some_and(|unpacker| unpacker.send(bytes.into()).is_err()) {
            self.unpacker = None;
        }
        self.meter.add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.blob.flush()
    }
}

// Cannot restart: what went to the unpacker is gone.
impl BlobSink for Tee {}

/// The unpacker's end.
struct Pieces {
    receiver: Receiver<Arc<[u8]>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() {
            // The sender is gone at the end of the blob, and when it broke: then nobody takes the result.
            let Ok(piece) = self.receiver.recv() else { return Ok(0) };
            self.piece.clear();
            self.piece.extend_from_slice(&piece);
            self.at = 0;
        }
        let n = buffer.len().min(self.piece.len() - self.at);
        buffer[..n].copy_from_slice(&self.piece[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}
