//! Facts: small values that other parts remember between builds, each under a namespace of its own.

use kiln_core::Digest;
use rusqlite::{OptionalExtension as _, Row, params};

use super::{Index, IndexError};

/// A value that was remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// As its owner wrote it.
    pub value: Vec<u8>,
    /// A blob that stays while the fact does.
    pub blob: Option<Digest>,
    /// When it was written, in seconds since 1970.
    pub at: i64,
}

impl Index {
    /// The fact `key` of `namespace`.
    pub fn fact(&self, namespace: &str, key: &[u8]) -> Result<Option<Fact>, IndexError> {
        self.read("look up a fact", |c| {
            c.prepare_cached("SELECT value, blob, at FROM facts WHERE namespace = ?1 AND key = ?2")?
                .query_row(params![namespace, key], |row| fact_of(row, 0))
                .optional()
        })
    }

    /// All facts of `namespace`, by key.
    pub fn facts(&self, namespace: &str) -> Result<Vec<(Vec<u8>, Fact)>, IndexError> {
        self.read("list facts", |c| {
            c.prepare_cached("SELECT key, value, blob, at FROM facts WHERE namespace = ?1 ORDER BY key")?
                .query_map([namespace], |row| Ok((row.get(0)?, fact_of(row, 1)?)))?
                .collect()
        })
    }

    /// Remembers a fact in place of the one that was there.
    pub fn set_fact(
        &self,
        namespace: &str,
        key: &[u8],
        value: &[u8],
        blob: Option<&Digest>,
    ) -> Result<(), IndexError> {
        let now = self.now();
        self.write("remember a fact", |t, generation| {
            t.prepare_cached("INSERT OR REPLACE INTO facts VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
                .execute(params![namespace, key, value, blob.map(Digest::as_bytes), generation, now])?;
            Ok(())
        })
    }

    /// Forgets a fact. What is not there is no error.
    pub fn remove_fact(&self, namespace: &str, key: &[u8]) -> Result<(), IndexError> {
        self.write("forget a fact", |t, _| {
            t.execute("DELETE FROM facts WHERE namespace = ?1 AND key = ?2", params![namespace, key])?;
            Ok(())
        })
    }
}

fn fact_of(row: &Row<'_>, first: usize) -> rusqlite::Result<Fact> {
    let blob: Option<[u8; 32]> = row.get(first + 1)?;
    Ok(Fact { value: row.get(first)?, blob: blob.map(Digest::from_bytes), at: row.get(first + 2)? })
}
