//! Cache mounts: what people call them and when they were used. Their content is theirs.

use kiln_core::ContentHash;
use rusqlite::params;

use super::{Index, IndexError};

impl Index {
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
