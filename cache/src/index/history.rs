//! Past builds.

use rusqlite::{OptionalExtension as _, Row, params};

use super::{Index, IndexError};

/// A build that ended, or one that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildRow {
    /// Its name: any text that no other build has.
    pub id: String,
    /// When it began, in milliseconds since 1970.
    pub started: i64,
    /// What the writer of the row wants to know again.
    pub record: Vec<u8>,
}

impl Index {
    /// Stores a build in place of the one with the same id.
    pub fn set_build(&self, build: &BuildRow) -> Result<(), IndexError> {
        self.write("store a build", |t, _| {
            t.prepare_cached("INSERT OR REPLACE INTO history VALUES (?1, ?2, ?3)")?.execute(params![
                build.id,
                build.started,
                build.record
            ])?;
            Ok(())
        })
    }

    /// The build with this id.
    pub fn build(&self, id: &str) -> Result<Option<BuildRow>, IndexError> {
        self.read("look up a build", |c| {
            c.query_row("SELECT id, started, record FROM history WHERE id = ?1", [id], build_of).optional()
        })
    }

    /// The last `limit` builds, the newest first.
    pub fn builds(&self, limit: u32) -> Result<Vec<BuildRow>, IndexError> {
        self.read("list builds", |c| {
            c.prepare_cached("SELECT id, started, record FROM history ORDER BY started DESC, id LIMIT ?1")?
                .query_map([limit], build_of)?
                .collect()
        })
    }

    /// Forgets a build. Whether there was one.
    pub fn remove_build(&self, id: &str) -> Result<bool, IndexError> {
        self.write("forget a build", |t, _| Ok(t.execute("DELETE FROM history WHERE id = ?1", [id])? > 0))
    }

    /// Forgets builds that began before `started` (milliseconds since 1970). How many there were.
    pub fn remove_builds_before(&self, started: i64) -> Result<usize, IndexError> {
        self.write("forget builds", |t, _| t.execute("DELETE FROM history WHERE started < ?1", [started]))
    }
}

fn build_of(row: &Row<'_>) -> rusqlite::Result<BuildRow> {
    Ok(BuildRow { id: row.get(0)?, started: row.get(1)?, record: row.get(2)? })
}
