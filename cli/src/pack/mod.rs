//! Layers as blobs: found if they were packed before, packed now if not, several at a time.

mod ahead;

use std::io::{self, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use kiln_cache::{Kind, LayerError, PackedLayer, Store};
use kiln_core::{Compression, CompressionFormat, DiffId, Digest, LayerId, Snapshot};
use kiln_exporter::{LayerBlob, MediaTypes};

use crate::error::CommandError;
use crate::output::LayerOptions;
use crate::uplink::Uplink;

pub(crate) use self::ahead::Ahead;

/// How many layers are packed at once: each compresses its blocks on all processors, so more would only take memory.
const AT_ONCE: usize = 2;

/// The layers of `snapshot` as blobs in the store. The lowest `foreign` layers came from elsewhere: they keep the
/// compression they came with, unless all are to be compressed again, and their times. What is ready is handed to `uplink`,
/// a large layer from its first byte; `ahead` may have packed some already.
///
/// # Errors
/// If a layer cannot be packed, or the store is full.
pub(crate) fn pack(
    store: &Store,
    snapshot: &Snapshot,
    foreign: usize,
    options: &LayerOptions,
    epoch: Option<i64>,
    uplink: Option<&Uplink>,
    ahead: Option<&Ahead>,
) -> Result<Vec<LayerBlob>, CommandError> {
    let wanted = options.compression.unwrap_or_default();
    let epoch = epoch.filter(|_| options.rewrite_timestamp);
    let next = Mutex::new(0);
    let results: Mutex<Vec<Option<Result<LayerBlob, CommandError>>>> =
        Mutex::new(snapshot.layers.iter().map(|_| None).collect());
    let worker = || {
        loop {
            let index = {
                let mut next = next.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                *next += 1;
                *next - 1
            };
            let Some(layer) = snapshot.layers.get(index) else { return };
            if let Some(ahead) = ahead {
                ahead.hand_over(layer);
            }
            let name = format!("layer {} of {}", index + 1, snapshot.layers.len());
            let way = Way { uplink, name, given_up: None };
            let packed = if options.estargz && (index >= foreign || options.force) {
                let epoch = epoch.filter(|_| index >= foreign);
                pack_estargz(store, layer, wanted.level, epoch, &way)
            } else if index < foreign {
                as_it_came(store, layer, wanted, options.force, &way)
            } else {
                pack_one(store, layer, wanted, epoch, &way)
            };
            let mut results = results.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            results[index] = Some(packed);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..AT_ONCE.min(snapshot.layers.len()) {
            scope.spawn(worker);
        }
        worker();
    });
    let results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    // Every index was taken by a worker that ended, so every place is filled.
    results.into_iter().flatten().collect()
}

/// Where a layer goes beside the store.
struct Way<'a> {
    uplink: Option<&'a Uplink>,
    /// What the layer is called while it has no digest.
    name: String,
    /// Set when nobody wants the layer any more.
    given_up: Option<&'a AtomicBool>,
}

impl Way<'_> {
    fn send(&self, layer: LayerBlob) -> LayerBlob {
        if let Some(uplink) = self.uplink {
            uplink.send(&layer);
        }
        layer
    }
}

/// A writer that takes no more once its layer is given up.
struct WhileWanted<'a, W> {
    into: W,
    given_up: Option<&'a AtomicBool>,
}

impl<W: Write> Write for WhileWanted<'_, W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.given_up.is_some_and(|given_up| given_up.load(Ordering::Relaxed)) {
            return Err(io::Error::other("nobody wants the layer any more"));
        }
        self.into.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.into.flush()
    }
}

fn as_it_came(
    store: &Store,
    layer: &LayerId,
    wanted: Compression,
    force: bool,
    way: &Way<'_>,
) -> Result<LayerBlob, CommandError> {
    if !force {
        let formats = [CompressionFormat::Gzip, CompressionFormat::Zstd, CompressionFormat::Uncompressed];
        for format in [wanted.format].into_iter().chain(formats) {
            let compression = Compression { format, level: None };
            if let Some(packed) = store.index().packed(layer, compression)?
                && is_whole(store, &packed)?
            {
                return Ok(way.send(blob(&packed, format)));
            }
        }
    }
    pack_one(store, layer, wanted, None, way)
}

/// A layer as eStargz. Its tar has two files more, so that its diff id is no other blob's of the layer.
fn pack_estargz(
    store: &Store,
    layer: &LayerId,
    level: Option<i32>,
    epoch: Option<i64>,
    way: &Way<'_>,
) -> Result<LayerBlob, CommandError> {
    let key = format!("2 {} {level:?} {epoch:?}", layer.0.hex());
    let fact = store.index().fact("estargz", key.as_bytes())?;
    let known = fact.and_then(|fact| serde_json::from_slice::<Estargz>(&fact.value).ok());
    let made = match known {
        Some(known) if store.blobs().contains(&known.blob)? => known,
        _ => {
            let mut writer = store.blobs().writer()?;
            let (packed, toc) = store.layers().pack_estargz(layer, level, epoch, &mut writer)?;
            writer.commit(Some(&packed.blob))?;
            let PackedLayer { diff_id, blob, size, tar_size } = packed;
            let made = Estargz { diff_id, blob, size, tar_size, toc };
            let value = serde_json::to_vec(&made)?;
            store.index().set_fact("estargz", key.as_bytes(), &value, Some(&blob))?;
            made
        }
    };
    let mut layer =
        LayerBlob::new(made.diff_id, made.blob, made.size, MediaTypes::Oci.layer(CompressionFormat::Gzip));
    let annotations = [
        ("containerd.io/snapshot/stargz/toc.digest", made.toc.to_string()),
        ("io.containers.estargz.uncompressed-size", made.tar_size.to_string()),
    ];
    let annotations = annotations.map(|(key, value)| (key.to_owned(), value));
    layer.descriptor.set_annotations(Some(annotations.into_iter().collect()));
    Ok(way.send(layer))
}

/// What a layer became as eStargz.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Estargz {
    diff_id: DiffId,
    blob: Digest,
    size: u64,
    tar_size: u64,
    toc: Digest,
}

fn pack_one(
    store: &Store,
    layer: &LayerId,
    compression: Compression,
    epoch: Option<i64>,
    way: &Way<'_>,
) -> Result<LayerBlob, CommandError> {
    // What was packed with clamped times is another blob of the same layer.
    let known = match epoch {
        None => store.index().packed(layer, compression)?,
        Some(epoch) => store.index().packed_clamped(layer, compression, epoch)?,
    };
    if let Some(packed) = known
        && is_whole(store, &packed)?
    {
        return Ok(way.send(blob(&packed, compression.format)));
    }
    let mut writer = store.blobs().writer()?;
    let mut sending = false;
    let packed = match way.uplink {
        // A small layer is packed before anything could be sent of it.
        Some(uplink) if is_large(store, layer)? => {
            sending = true;
            let file = writer.reader()?;
            let (mut into, made) = uplink.begin(&way.name, &mut writer, file);
            let packed = store.layers().pack(layer, compression, epoch, &mut into)?;
            into.finish().map_err(LayerError::Output)?;
            // Nobody listens to it if the registry refused: the transfer's own error says so.
            let _ = made.send((packed.blob, packed.size));
            packed
        }
        _ => {
            let mut into = WhileWanted { into: &mut writer, given_up: way.given_up };
            store.layers().pack(layer, compression, epoch, &mut into)?
        }
    };
    writer.commit(Some(&packed.blob))?;
    match epoch {
        None => store.index().set_packed(layer, compression, &packed)?,
        Some(epoch) => store.index().set_packed_clamped(layer, compression, epoch, &packed)?,
    }
    let packed = blob(&packed, compression.format);
    Ok(if sending { packed } else { way.send(packed) })
}

/// Whether the blob is there in its full length.
fn is_whole(store: &Store, packed: &PackedLayer) -> Result<bool, CommandError> {
    Ok(store.blobs().size(&packed.blob)? == Some(packed.size))
}

/// Whether a layer's content is so large that sending it takes time.
fn is_large(store: &Store, layer: &LayerId) -> Result<bool, CommandError> {
    const LARGE: u64 = 1 << 20;
    let layer = store.layers().get(layer)?;
    let sizes = layer.manifest.entries().iter().map(|entry| match &entry.kind {
        Kind::File(content) => content.size,
        _ => 0,
    });
    Ok(sizes.sum::<u64>() >= LARGE)
}

fn blob(packed: &PackedLayer, format: CompressionFormat) -> LayerBlob {
    LayerBlob::new(packed.diff_id, packed.blob, packed.size, MediaTypes::Oci.layer(format))
}
