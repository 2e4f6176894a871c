//! Layers as blobs: found if they were packed before, packed now if not, several at a time.

use std::sync::Mutex;

use kiln_cache::{PackedLayer, Store};
use kiln_core::{Compression, CompressionFormat, LayerId, Snapshot};
use kiln_exporter::{LayerBlob, MediaTypes};

use crate::error::CommandError;
use crate::output::LayerOptions;

/// How many layers are packed at once: each compresses its blocks on all processors, so more would only take memory.
const AT_ONCE: usize = 2;

/// The layers of `snapshot` as blobs in the store. The lowest `foreign` layers came from elsewhere: they keep the
/// compression they came with, unless all are to be compressed again, and their times.
///
/// # Errors
/// If a layer cannot be packed, or the store is full.
pub(crate) fn pack(
    store: &Store,
    snapshot: &Snapshot,
    foreign: usize,
    options: &LayerOptions,
    epoch: Option<i64>,
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
            let packed = if index < foreign {
                as_it_came(store, layer, wanted, options.force)
            } else {
                pack_one(store, layer, wanted, epoch)
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

fn as_it_came(
    store: &Store,
    layer: &LayerId,
    wanted: Compression,
    force: bool,
) -> Result<LayerBlob, CommandError> {
    if !force {
        let formats = [CompressionFormat::Gzip, CompressionFormat::Zstd, CompressionFormat::Uncompressed];
        for format in [wanted.format].into_iter().chain(formats) {
            let compression = Compression { format, level: None };
            if let Some(packed) = store.index().packed(layer, compression)?
                && store.blobs().contains(&packed.blob)?
            {
                return Ok(blob(&packed, format));
            }
        }
    }
    pack_one(store, layer, wanted, None)
}

fn pack_one(
    store: &Store,
    layer: &LayerId,
    compression: Compression,
    epoch: Option<i64>,
) -> Result<LayerBlob, CommandError> {
    // What was packed with clamped times is another blob of the same layer: it is remembered as a fact beside the usual one.
    let clamped = epoch.map(|epoch| format!("{} {:?} {epoch}", layer.0.hex(), compression));
    let known = match &clamped {
        None => store.index().packed(layer, compression)?,
        Some(key) => match store.index().fact("clamped", key.as_bytes())? {
            Some(fact) => serde_json::from_slice::<Clamped>(&fact.value).ok().map(PackedLayer::from),
            None => None,
        },
    };
    if let Some(packed) = known
        && store.blobs().contains(&packed.blob)?
    {
        return Ok(blob(&packed, compression.format));
    }
    let mut writer = store.blobs().writer()?;
    let packed = store.layers().pack(layer, compression, epoch, &mut writer)?;
    writer.commit(Some(&packed.blob))?;
    match &clamped {
        None => store.index().set_packed(layer, compression, &packed)?,
        Some(key) => {
            let value = serde_json::to_vec(&Clamped::from(packed))?;
            store.index().set_fact("clamped", key.as_bytes(), &value, Some(&packed.blob))?;
        }
    }
    Ok(blob(&packed, compression.format))
}

/// A [`PackedLayer`] as a fact.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Clamped {
    diff_id: kiln_core::DiffId,
    blob: kiln_core::Digest,
    size: u64,
    tar_size: u64,
}

impl From<PackedLayer> for Clamped {
    fn from(PackedLayer { diff_id, blob, size, tar_size }: PackedLayer) -> Self {
        Self { diff_id, blob, size, tar_size }
    }
}

impl From<Clamped> for PackedLayer {
    fn from(Clamped { diff_id, blob, size, tar_size }: Clamped) -> Self {
        Self { diff_id, blob, size, tar_size }
    }
}

fn blob(packed: &PackedLayer, format: CompressionFormat) -> LayerBlob {
    LayerBlob::new(packed.diff_id, packed.blob, packed.size, MediaTypes::Oci.layer(format))
}
