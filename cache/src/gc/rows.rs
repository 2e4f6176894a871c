//! What the index's rows speak of, and taking rows away together with it.

use std::collections::{HashMap, HashSet};

use kiln_core::{ContentHash, Digest, LayerId};
use rusqlite::{Connection, Transaction};

use crate::index::{ImageRecord, split};

/// What keeps a thing in the store.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mention {
    /// The latest use of a row that has it, in seconds since 1970.
    pub(super) used: i64,
    /// Whether an image with a name has it.
    pub(super) image: bool,
}

/// All that rows speak of.
#[derive(Debug, Default)]
pub(super) struct Mentions {
    pub(super) layers: HashMap<LayerId, Mention>,
    pub(super) blobs: HashMap<Digest, Mention>,
    /// Images without a name, and when they came.
    pub(super) nameless: Vec<(ContentHash, i64)>,
    pub(super) mounts: HashMap<ContentHash, (String, i64)>,
}

/// What is to be taken away.
#[derive(Debug, Default)]
pub(super) struct Doomed {
    pub(super) layers: HashSet<LayerId>,
    pub(super) blobs: HashSet<Digest>,
    pub(super) mounts: HashSet<ContentHash>,
}

impl Mentions {
    /// Reads all rows. Images of `forgotten`, nameless ones, do not count.
    pub(super) fn read(c: &Connection, forgotten: &HashSet<ContentHash>) -> rusqlite::Result<Self> {
        let mut mentions = Self::default();
        for query in [
            "SELECT layers, used FROM asked",
            "SELECT layers, used FROM made",
            "SELECT layer, used FROM chains",
        ] {
            let mut statement = c.prepare(query)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let used = row.get(1)?;
                for layer in split(row.get_ref(0)?.as_blob()?) {
                    mentions.layer(layer, used, false);
                }
            }
        }
        mentions.read_images(c, forgotten)?;
        let mut statement = c.prepare("SELECT layers FROM roots")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            for layer in split(row.get_ref(0)?.as_blob()?) {
                // As much wanted as an image with a name.
                mentions.layer(layer, 0, true);
            }
        }
        drop(rows);
        mentions.read_blobs(c)?;
        let mut statement = c.prepare("SELECT id, about, used FROM mounts")?;
        let rows = statement
            .query_map([], |row| Ok((ContentHash::from_bytes(row.get(0)?), (row.get(1)?, row.get(2)?))))?;
        mentions.mounts = rows.collect::<rusqlite::Result<_>>()?;
        Ok(mentions)
    }

    fn read_images(&mut self, c: &Connection, forgotten: &HashSet<ContentHash>) -> rusqlite::Result<()> {
        let mut statement =
            c.prepare("SELECT id, record, used, EXISTS (SELECT 1 FROM names WHERE image = id) FROM images")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id = ContentHash::from_bytes(row.get(0)?);
            let (used, named): (i64, bool) = (row.get(2)?, row.get(3)?);
            if !named {
                self.nameless.push((id, used));
            }
            // A record that cannot be read is no image: a lookup fails on it, and fsck takes it away.
            let Ok(record) = serde_json::from_slice::<ImageRecord>(row.get_ref(1)?.as_blob()?) else {
                continue;
            };
            if forgotten.contains(&id) {
                continue;
            }
            for layer in record.snapshot.layers {
                self.layer(layer, used, named);
            }
            if let Some(origin) = record.origin {
                self.blob(origin.manifest, used, named);
                self.blob(origin.config, used, named);
            }
        }
        Ok(())
    }

    fn read_blobs(&mut self, c: &Connection) -> rusqlite::Result<()> {
        let mut statement = c.prepare("SELECT blob, at FROM facts WHERE blob IS NOT NULL")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            self.blob(Digest::from_bytes(row.get(0)?), row.get(1)?, false);
        }
        // A packed layer is made again from the layer: that an image has the layer does not keep the blob.
        let mut statement = c.prepare("SELECT blob, layer FROM packed")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let layer = LayerId(ContentHash::from_bytes(row.get(1)?));
            if let Some(mention) = self.layers.get(&layer).copied() {
                self.blob(Digest::from_bytes(row.get(0)?), mention.used, false);
            }
        }
        Ok(())
    }

    fn layer(&mut self, id: LayerId, used: i64, image: bool) {
        merge(self.layers.entry(id).or_default(), used, image);
    }

    fn blob(&mut self, digest: Digest, used: i64, image: bool) {
        merge(self.blobs.entry(digest).or_default(), used, image);
    }
}

fn merge(mention: &mut Mention, used: i64, image: bool) {
    mention.used = mention.used.max(used);
    mention.image |= image;
}

impl Doomed {
    /// Deletes every row that speaks of what goes. An image that loses a layer goes too, with its names.
    pub(super) fn forget(&self, t: &Transaction<'_>) -> rusqlite::Result<()> {
        let hits = |layers: &[u8]| split(layers).iter().any(|layer| self.layers.contains(layer));
        for (table, key, layers) in [
            ("asked", "definition", "layers"),
            ("made", "key", "layers"),
            ("chains", "chain", "layer"),
            ("packed", "layer", "layer"),
            ("diffs", "layer", "layer"),
        ] {
            delete_where(t, table, key, layers, hits)?;
        }
        let loses = |record: &[u8]| {
            serde_json::from_slice::<ImageRecord>(record).map_or(true, |record| {
                let origin = record.origin.iter().flat_map(|origin| [origin.manifest, origin.config]);
                record.snapshot.layers.iter().any(|layer| self.layers.contains(layer))
                    || origin.into_iter().any(|blob| self.blobs.contains(&blob))
            })
        };
        delete_where(t, "images", "id", "record", loses)?;
        t.execute("DELETE FROM names WHERE image NOT IN (SELECT id FROM images)", [])?;
        for blob in &self.blobs {
            t.prepare_cached("DELETE FROM packed WHERE blob = ?1")?.execute([blob.as_bytes()])?;
            t.prepare_cached("DELETE FROM facts WHERE blob = ?1")?.execute([blob.as_bytes()])?;
        }
        for mount in &self.mounts {
            t.prepare_cached("DELETE FROM mounts WHERE id = ?1")?.execute([mount.as_bytes()])?;
        }
        Ok(())
    }
}

/// Deletes the rows of `table` whose `column` is doomed.
fn delete_where(
    t: &Transaction<'_>,
    table: &str,
    key: &str,
    column: &str,
    is_doomed: impl Fn(&[u8]) -> bool,
) -> rusqlite::Result<()> {
    let mut doomed: Vec<Vec<u8>> = Vec::new();
    let mut statement = t.prepare(&format!("SELECT {key}, {column} FROM {table}"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if is_doomed(row.get_ref(1)?.as_blob()?) {
            doomed.push(row.get(0)?);
        }
    }
    let mut delete = t.prepare(&format!("DELETE FROM {table} WHERE {key} = ?1"))?;
    for key in doomed {
        delete.execute([key])?;
    }
    Ok(())
}
