//! Layers as blobs: what a layer's tar became when it was packed.

use kiln_core::{Compression, DiffId, Digest, LayerId};
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::{Index, IndexError};

/// The version of what packing writes. A change of tar form, encoder or block size is a new one: the same layer then
/// has another blob.
const PACKER: u32 = 1;

/// A layer's tar, compressed, as a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedLayer {
    /// Of the tar.
    pub diff_id: DiffId,
    /// Of the compressed tar.
    pub blob: Digest,
    /// Of the compressed tar, in bytes.
    pub size: u64,
    /// Of the tar, in bytes.
    pub tar_size: u64,
}

impl Index {
    /// The blob of a layer. Whether the blob itself is still there, [`Blobs::contains`](crate::Blobs::contains) says.
    pub fn packed(
        &self,
        layer: &LayerId,
        compression: Compression,
    ) -> Result<Option<PackedLayer>, IndexError> {
        self.packed_as(layer, &form(compression, None))
    }

    /// Remembers a layer's blob, and its diff id.
    pub fn set_packed(
        &self,
        layer: &LayerId,
        compression: Compression,
        packed: &PackedLayer,
    ) -> Result<(), IndexError> {
        self.set_packed_as(layer, &form(compression, None), packed)?;
        self.set_diff_id(layer, &packed.diff_id)
    }

    /// The blob of a layer whose times after `epoch` (seconds since 1970) are set to it.
    pub fn packed_clamped(
        &self,
        layer: &LayerId,
        compression: Compression,
        epoch: i64,
    ) -> Result<Option<PackedLayer>, IndexError> {
        self.packed_as(layer, &form(compression, Some(epoch)))
    }

    /// Remembers the blob of a layer whose times after `epoch` are set to it.
    pub fn set_packed_clamped(
        &self,
        layer: &LayerId,
        compression: Compression,
        epoch: i64,
        packed: &PackedLayer,
    ) -> Result<(), IndexError> {
        self.set_packed_as(layer, &form(compression, Some(epoch)), packed)
    }

    fn packed_as(&self, layer: &LayerId, form: &str) -> Result<Option<PackedLayer>, IndexError> {
        self.read("look up a packed layer", |c| {
            c.prepare_cached(
                "SELECT diff_id, blob, size, tar_size FROM packed WHERE layer = ?1 AND compression = ?2",
            )?
            .query_row(params![layer.0.as_bytes(), form], |row| {
                Ok(PackedLayer {
                    diff_id: DiffId(Digest::from_bytes(row.get(0)?)),
                    blob: Digest::from_bytes(row.get(1)?),
                    size: row.get::<_, i64>(2)?.cast_unsigned(),
                    tar_size: row.get::<_, i64>(3)?.cast_unsigned(),
                })
            })
            .optional()
        })
    }

    fn set_packed_as(&self, layer: &LayerId, form: &str, packed: &PackedLayer) -> Result<(), IndexError> {
        self.write("remember a packed layer", |t, generation| {
            t.prepare_cached("INSERT OR REPLACE INTO packed VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?.execute(
                params![
                    layer.0.as_bytes(),
                    form,
                    packed.diff_id.0.as_bytes(),
                    packed.blob.as_bytes(),
                    packed.size.cast_signed(),
                    packed.tar_size.cast_signed(),
                    generation
                ],
            )?;
            Ok(())
        })
    }

    /// The digest of a layer's tar, if it was ever computed.
    pub fn diff_id(&self, layer: &LayerId) -> Result<Option<DiffId>, IndexError> {
        self.read("look up a diff id", |c| {
            c.prepare_cached("SELECT diff_id FROM diffs WHERE layer = ?1")?
                .query_row([layer.0.as_bytes()], |row| Ok(DiffId(Digest::from_bytes(row.get(0)?))))
                .optional()
        })
    }

    /// Remembers the digest of a layer's tar. For a layer from outside it is that of the tar it came as.
    pub fn set_diff_id(&self, layer: &LayerId, diff_id: &DiffId) -> Result<(), IndexError> {
        self.write("remember a diff id", |t, generation| insert_diff_id(t, layer, diff_id, generation))
    }

    /// The same for one that was computed, unless somebody else writes just now: it can be computed again.
    pub fn note_diff_id(&self, layer: &LayerId, diff_id: &DiffId) -> Result<(), IndexError> {
        self.write_unless_busy("remember a diff id", |t, generation| {
            insert_diff_id(t, layer, diff_id, generation)
        })
    }
}

fn insert_diff_id(
    t: &Transaction<'_>,
    layer: &LayerId,
    diff_id: &DiffId,
    generation: i64,
) -> rusqlite::Result<()> {
    t.prepare_cached("INSERT OR REPLACE INTO diffs VALUES (?1, ?2, ?3)")?.execute(params![
        layer.0.as_bytes(),
        diff_id.0.as_bytes(),
        generation
    ])?;
    Ok(())
}

/// `1 gzip`, `1 zstd@19`, `1 gzip ≤1700000000`: the packer's version, the compression, the latest time.
fn form(compression: Compression, epoch: Option<i64>) -> String {
    let level = compression.level.map(|level| format!("@{level}")).unwrap_or_default();
    let latest = epoch.map(|epoch| format!(" ≤{epoch}")).unwrap_or_default();
    format!("{PACKER} {}{level}{latest}", compression.format.as_str())
}
