//! Snapshots that stay whatever the policy: what containers stand on.

use kiln_core::Snapshot;
use rusqlite::params;

use super::{Index, IndexError, split};

impl Index {
    /// Keeps the layers of `snapshot` under `name` until [`Index::remove_root`].
    pub fn set_root(&self, name: &str, snapshot: &Snapshot) -> Result<(), IndexError> {
        let layers: Vec<u8> = snapshot.layers.iter().flat_map(|layer| *layer.0.as_bytes()).collect();
        self.write("keep layers", |t, generation| {
            t.execute("INSERT OR REPLACE INTO roots VALUES (?1, ?2, ?3)", params![name, layers, generation])
                .map(|_| ())
        })
    }

    /// Lets go of them. Whether there was such a name.
    pub fn remove_root(&self, name: &str) -> Result<bool, IndexError> {
        self.write("let go of layers", |t, _| Ok(t.execute("DELETE FROM roots WHERE name = ?1", [name])? > 0))
    }

    /// All names with what they keep, sorted.
    pub fn roots(&self) -> Result<Vec<(String, Snapshot)>, IndexError> {
        self.read("list what is kept", |c| {
            let mut statement = c.prepare_cached("SELECT name, layers FROM roots ORDER BY name")?;
            let rows = statement.query_map([], |row| {
                Ok((row.get(0)?, Snapshot { layers: split(row.get_ref(1)?.as_blob()?) }))
            })?;
            rows.collect()
        })
    }
}
