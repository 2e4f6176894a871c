//! Results of actions: what an op on given inputs made.

use kiln_core::{ContentHash, LayerId, Snapshot};
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::{Index, IndexError};

/// A time of last use is renewed when it is older than this, in seconds: a build that repeats writes nothing.
const STALE: i64 = 3600;

/// An action that was found: its table and key.
#[derive(Debug)]
pub(super) struct Touched {
    table: Table,
    key: [u8; 32],
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Table {
    Asked,
    Made,
    Chains,
}

impl Index {
    /// What was made of the same definition before, all layers of it.
    pub fn asked(&self, definition: &ContentHash) -> Result<Option<Snapshot>, IndexError> {
        match self.action(Table::Asked, definition.as_bytes())? {
            Some(layers) => self.present(Snapshot { layers }),
            None => Ok(None),
        }
    }

    /// What was added by the same op on the same contents before: no layer, or one.
    pub fn made(&self, key: &ContentHash) -> Result<Option<Vec<LayerId>>, IndexError> {
        match self.action(Table::Made, key.as_bytes())? {
            Some(layers) => Ok(self.present(Snapshot { layers })?.map(|snapshot| snapshot.layers)),
            None => Ok(None),
        }
    }

    /// Remembers that the op with the content key `key` and, if its inputs are locked, with this definition, added
    /// `added` and so made `whole`.
    pub fn remember(
        &self,
        definition: Option<&ContentHash>,
        key: &ContentHash,
        added: &[LayerId],
        whole: &Snapshot,
    ) -> Result<(), IndexError> {
        let now = self.now();
        self.write("remember a result", |t, generation| {
            t.prepare_cached("INSERT OR REPLACE INTO made VALUES (?1, ?2, ?3, ?4)")?.execute(params![
                key.as_bytes(),
                joined(added),
                generation,
                now
            ])?;
            if let Some(definition) = definition {
                t.prepare_cached("INSERT OR REPLACE INTO asked VALUES (?1, ?2, ?3, ?4)")?
                    .execute(params![definition.as_bytes(), joined(&whole.layers), generation, now])?;
            }
            Ok(())
        })
    }

    /// All definitions whose layers are here, the last used first.
    pub fn all_asked(&self) -> Result<Vec<(ContentHash, Snapshot)>, IndexError> {
        let rows = self.all("SELECT definition, layers FROM asked ORDER BY used DESC, definition")?;
        let mut found = Vec::with_capacity(rows.len());
        for (definition, layers) in rows {
            found.extend(self.present(Snapshot { layers })?.map(|whole| (definition, whole)));
        }
        Ok(found)
    }

    /// All content keys whose added layers are here, the last used first.
    pub fn all_made(&self) -> Result<Vec<(ContentHash, Vec<LayerId>)>, IndexError> {
        let rows = self.all("SELECT key, layers FROM made ORDER BY used DESC, key")?;
        let mut found = Vec::with_capacity(rows.len());
        for (key, layers) in rows {
            found.extend(self.present(Snapshot { layers })?.map(|added| (key, added.layers)));
        }
        Ok(found)
    }

    /// Remembers what another store knew: definitions with all their layers, content keys with those that were added.
    pub fn remember_all(
        &self,
        asked: &[(ContentHash, Snapshot)],
        made: &[(ContentHash, Vec<LayerId>)],
    ) -> Result<(), IndexError> {
        let now = self.now();
        self.write("remember results", |t, generation| {
            let mut into = t.prepare_cached("INSERT OR IGNORE INTO asked VALUES (?1, ?2, ?3, ?4)")?;
            for (definition, whole) in asked {
                into.execute(params![definition.as_bytes(), joined(&whole.layers), generation, now])?;
            }
            let mut into = t.prepare_cached("INSERT OR IGNORE INTO made VALUES (?1, ?2, ?3, ?4)")?;
            for (key, added) in made {
                into.execute(params![key.as_bytes(), joined(added), generation, now])?;
            }
            Ok(())
        })
    }

    fn all(&self, query: &'static str) -> Result<Vec<(ContentHash, Vec<LayerId>)>, IndexError> {
        self.read("list results", |c| {
            let mut statement = c.prepare(query)?;
            let rows = statement.query_map([], |row| {
                let (key, layers): ([u8; 32], Vec<u8>) = (row.get(0)?, row.get(1)?);
                Ok((ContentHash::from_bytes(key), split(&layers)))
            })?;
            rows.collect()
        })
    }

    pub(super) fn action(&self, table: Table, key: &[u8; 32]) -> Result<Option<Vec<LayerId>>, IndexError> {
        let found: Option<(Vec<u8>, i64)> = self.read("look up a result", |c| {
            let query = match table {
                Table::Asked => "SELECT layers, used FROM asked WHERE definition = ?1",
                Table::Made => "SELECT layers, used FROM made WHERE key = ?1",
                Table::Chains => "SELECT layer, used FROM chains WHERE chain = ?1",
            };
            let mut statement = c.prepare_cached(query)?;
            statement.query_row([key], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })?;
        let Some((layers, used)) = found else { return Ok(None) };
        if self.now().abs_diff(used) > STALE.unsigned_abs() {
            let mut touched = self.touched.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            touched.push(Touched { table, key: *key });
        }
        Ok(Some(split(&layers)))
    }
}

pub(super) fn touch(t: &Transaction<'_>, touched: &[Touched], now: i64) -> rusqlite::Result<()> {
    for Touched { table, key } in touched {
        let update = match table {
            Table::Asked => "UPDATE asked SET used = ?1 WHERE definition = ?2",
            Table::Made => "UPDATE made SET used = ?1 WHERE key = ?2",
            Table::Chains => "UPDATE chains SET used = ?1 WHERE chain = ?2",
        };
        t.prepare_cached(update)?.execute(params![now, key])?;
    }
    Ok(())
}

/// Layer ids one after the other, 32 bytes each.
fn joined(layers: &[LayerId]) -> Vec<u8> {
    layers.iter().flat_map(|layer| *layer.0.as_bytes()).collect()
}

pub(crate) fn split(layers: &[u8]) -> Vec<LayerId> {
    layers.as_chunks::<32>().0.iter().map(|id| LayerId(ContentHash::from_bytes(*id))).collect()
}
