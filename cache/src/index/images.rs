//! Images: a configuration and a list of layers, and what they are called.

use std::collections::BTreeMap;

use kiln_core::{ContentHash, Digest, ImageConfig, Reference, Snapshot, StableHash as _, StableHasher};
use rusqlite::{OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};

use super::{Index, IndexError, hash_of};

/// An image as the store has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Its configuration. Empty `rootfs.diff_ids` are not computed yet.
    pub config: ImageConfig,
    /// Its layers.
    pub snapshot: Snapshot,
    /// Where it came from, if it was not built here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// When it came into the store, in seconds since 1970.
    pub created: i64,
}

/// The documents of an image from outside. Both are in the store's blobs as they came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Of the platform's own manifest.
    pub manifest: Digest,
    /// Of the configuration.
    pub config: Digest,
}

/// An image with its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredImage {
    /// [`ImageRecord::id`].
    pub id: ContentHash,
    /// Canonical names with tag, sorted. None: the name went to another image.
    pub names: Vec<String>,
    /// The image.
    pub record: ImageRecord,
}

impl ImageRecord {
    /// The image's identity on this machine: of its layers and its configuration without diff ids, which may come later.
    pub fn id(&self) -> ContentHash {
        let mut config = self.config.clone();
        config.rootfs.diff_ids.clear();
        let text = serde_json::to_vec(&config).expect("a configuration is a tree of strings and numbers");
        let mut hasher = StableHasher::new("kiln image 1");
        hasher.bytes(&text);
        self.snapshot.layers.stable_hash(&mut hasher);
        hasher.finish()
    }
}

impl Index {
    /// The image called `name`, if its layers are all there.
    pub fn image(&self, name: &Reference) -> Result<Option<ImageRecord>, IndexError> {
        let record = self.read("look up an image", |c| {
            c.prepare_cached("SELECT record FROM images, names WHERE name = ?1 AND image = id")?
                .query_row([name.to_string()], record_of)
                .optional()
        })?;
        self.whole(record.flatten())
    }

    /// The image with this [`ImageRecord::id`], if its layers are all there.
    pub fn image_by_id(&self, id: &ContentHash) -> Result<Option<ImageRecord>, IndexError> {
        let record = self.read("look up an image", |c| {
            c.prepare_cached("SELECT record FROM images WHERE id = ?1")?
                .query_row([id.as_bytes()], record_of)
                .optional()
        })?;
        self.whole(record.flatten())
    }

    /// All images, those that came last first.
    pub fn images(&self) -> Result<Vec<StoredImage>, IndexError> {
        self.read("list images", |c| {
            let mut names: BTreeMap<ContentHash, Vec<String>> = BTreeMap::new();
            let mut statement = c.prepare_cached("SELECT image, name FROM names ORDER BY name")?;
            for row in statement.query_map([], |row| Ok((hash_of(row, 0)?, row.get(1)?)))? {
                let (id, name) = row?;
                names.entry(id).or_default().push(name);
            }
            let mut statement = c.prepare_cached("SELECT record, id FROM images")?;
            let rows = statement.query_map([], |row| {
                let id = hash_of(row, 1)?;
                let names = names.get(&id).cloned().unwrap_or_default();
                Ok(record_of(row)?.map(|record| StoredImage { id, names, record }))
            })?;
            let images: Vec<Option<StoredImage>> = rows.collect::<rusqlite::Result<_>>()?;
            let mut images: Vec<StoredImage> = images.into_iter().flatten().collect();
            images
                .sort_by(|a, b| (b.record.created, &a.names, a.id).cmp(&(a.record.created, &b.names, b.id)));
            Ok(images)
        })
    }

    /// Stores an image and gives it `name`; another image of that name loses it. Writes nothing if all is so already,
    /// but for the time it came.
    pub fn set_image(
        &self,
        name: Option<&Reference>,
        record: &ImageRecord,
    ) -> Result<ContentHash, IndexError> {
        let id = record.id();
        let name = name.map(ToString::to_string);
        if self.is_same(&id, name.as_deref(), record)? {
            return Ok(id);
        }
        let text = serde_json::to_vec(record).expect("a record is a tree of strings and numbers");
        let now = self.now();
        self.write("store an image", |t, generation| {
            t.execute(
                "INSERT OR REPLACE INTO images VALUES (?1, ?2, ?3, ?4)",
                params![id.as_bytes(), text, generation, now],
            )?;
            if let Some(name) = &name {
                t.execute(
                    "INSERT OR REPLACE INTO names VALUES (?1, ?2, ?3)",
                    params![name, id.as_bytes(), generation],
                )?;
            }
            Ok(id)
        })
    }

    /// Takes the name away, and the image with its last name. Whether there was one.
    pub fn remove_image(&self, name: &Reference) -> Result<bool, IndexError> {
        self.write("remove an image", |t, _| {
            let name = name.to_string();
            let id: Option<[u8; 32]> = t
                .query_row("SELECT image FROM names WHERE name = ?1", [&name], |row| row.get(0))
                .optional()?;
            let Some(id) = id else { return Ok(false) };
            t.execute("DELETE FROM names WHERE name = ?1", [&name])?;
            t.execute("DELETE FROM images WHERE id = ?1 AND id NOT IN (SELECT image FROM names)", [id])?;
            Ok(true)
        })
    }

    /// Takes the image and all its names away. Whether there was one.
    pub fn remove_image_by_id(&self, id: &ContentHash) -> Result<bool, IndexError> {
        self.write("remove an image", |t, _| {
            t.execute("DELETE FROM names WHERE image = ?1", [id.as_bytes()])?;
            Ok(t.execute("DELETE FROM images WHERE id = ?1", [id.as_bytes()])? > 0)
        })
    }

    fn is_same(
        &self,
        id: &ContentHash,
        name: Option<&str>,
        record: &ImageRecord,
    ) -> Result<bool, IndexError> {
        let (known, named) = self.read("look up an image", |c| {
            let known: Option<ImageRecord> = c
                .prepare_cached("SELECT record FROM images WHERE id = ?1")?
                .query_row([id.as_bytes()], record_of)
                .optional()?
                .flatten();
            let Some(name) = name else { return Ok((known, true)) };
            let named: Option<[u8; 32]> = c
                .prepare_cached("SELECT image FROM names WHERE name = ?1")?
                .query_row([name], |row| row.get(0))
                .optional()?;
            Ok((known, named.as_ref() == Some(id.as_bytes())))
        })?;
        let same = known.is_some_and(|known| ImageRecord { created: record.created, ..known } == *record);
        Ok(named && same)
    }

    fn whole(&self, record: Option<ImageRecord>) -> Result<Option<ImageRecord>, IndexError> {
        match record {
            Some(record) => Ok(self.present(record.snapshot.clone())?.map(|_| record)),
            None => Ok(None),
        }
    }
}

/// The record, unless it is damaged: then there is no such image.
fn record_of(row: &Row<'_>) -> rusqlite::Result<Option<ImageRecord>> {
    let text: Vec<u8> = row.get(0)?;
    Ok(serde_json::from_slice(&text).ok())
}
