//! Cache mounts: what people call them and when they were used. Their content is theirs.

use kiln_core::ContentHash;
use rusqlite::params;

use super::{Index, IndexError};
use crate::mounts::UsedMount;

impl Index {
    pub(crate) fn mounts(&self) -> Result<Vec<UsedMount>, IndexError> {
        let rows: Vec<([u8; 32], String)> = self.read("list cache mounts", |c| {
            let mut statement = c.prepare("SELECT id, about FROM mounts")?;
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })?;
        let used = |(key, about)| UsedMount { key: ContentHash::from_bytes(key), about };
        Ok(rows.into_iter().map(used).collect())
    }

    pub(crate) fn set_mount(&self, key: &ContentHash, about: &str) -> Result<(), IndexError> {
        let now = self.now();
        self.write("note a cache mount", |t, _| {
            t.prepare_cached("INSERT OR REPLACE INTO mounts VALUES (?1, ?2, ?3)")?.execute(params![
                key.as_bytes(),
                about,
                now
            ])?;
            Ok(())
        })
    }
}
