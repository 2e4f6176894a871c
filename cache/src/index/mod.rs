//! The index: small rows that say what was made, what it is called and where it is. `db/2.sqlite`, shared by processes.
//!
//! | file | rows |
//! | --- | --- |
//! | `actions` | definition → snapshot, content key → layers added |
//! | `images` | names, and images by their id |
//! | `packed` | layer and compression → blob; layer → diff id |
//! | `chains` | chain id of an OCI image → layer unpacked for it |
//! | `facts`, `places` | what other parts remember: HTTP validators, resolved tags; where blobs were |
//! | `history`, `mounts` | past builds; names and uses of cache mounts |
//! | `roots` | name → layers that stay for it |
//! | `stat` | the stat index: not rows, one file a context under `stat/` |
//!
//! **Durability.** A row is written without a sync, in the generation that is open in this boot. [`Store::sync`] closes the
//! generation, has the kernel write out the file system, and marks the generation durable. The first process of another
//! boot deletes the rows of generations that are not durable, and what no row mentions, before it answers anything:
//! so every row that is seen is one whose files are whole.
//!
//! **Invariant:** a lookup writes nothing, and it answers with layers only if all of them are there, held for this process.
//!
//! [`Store::sync`]: crate::Store::sync

mod actions;
mod chains;
mod facts;
mod history;
mod images;
mod mounts;
mod packed;
mod places;
mod roots;
mod schema;
mod stat;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use kiln_core::{ContentHash, Snapshot};
use rusqlite::{Connection, Transaction, TransactionBehavior};

pub(crate) use self::actions::split;
pub use self::facts::Fact;
pub use self::history::BuildRow;
pub use self::images::{ImageRecord, Origin, StoredImage};
pub use self::packed::PackedLayer;
pub use self::stat::{FileStat, StatTable, StatTableBuilder};
use crate::session::Session;

/// What failed with the index.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// SQLite could not do it: a full disk, a read-only store, a damaged file.
    #[error("{action} in the store's index `{path}`")]
    Database {
        /// The verb and its object.
        action: &'static str,
        /// The database.
        path: PathBuf,
        /// Why.
        #[source]
        cause: rusqlite::Error,
    },
    /// A file beside the database could not be read or written.
    #[error("{action} `{path}`")]
    File {
        /// The verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
}

impl IndexError {
    /// Whether the database is none any more. It is set aside when the store is next opened.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Database { cause, .. } if schema::is_damaged(cause))
    }

    /// Whether the disk, or the user's share of it, is full.
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::Database { cause, .. } => cause.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull),
            Self::File { cause, .. } => {
                matches!(cause.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
            }
        }
    }
}

/// The rows of a store. Shared between threads; lookups take a few microseconds.
#[derive(Debug)]
pub struct Index {
    session: Arc<Session>,
    path: PathBuf,
    boot: i64,
    clock: fn() -> SystemTime,
    notice: Option<String>,
    reader: Mutex<Connection>,
    /// Opened by the first write.
    writer: OnceLock<Mutex<Connection>>,
    /// Actions that were found and whose time of last use is old; written with the next write or at the end.
    touched: Mutex<Vec<actions::Touched>>,
}

impl Index {
    pub(crate) fn open(
        session: Arc<Session>,
        boot_id: &str,
        clock: fn() -> SystemTime,
        recover: impl Fn(&Transaction<'_>) -> rusqlite::Result<()>,
    ) -> Result<Self, IndexError> {
        let path = session.root().join("db").join(schema::FILE);
        let boot = schema::boot_number(boot_id);
        let mut notice = None;
        let opened = match schema::found_damaged(&path) {
            None => schema::open(&path, boot, &recover),
            Some(cause) => Err(cause),
        };
        let reader = match opened {
            // A read that failed once is no damage: what can be read whole is kept.
            Err(cause) if schema::is_damaged(&cause) && schema::is_sound(&path) => {
                schema::open(&path, boot, &recover)
            }
            Err(cause) if schema::is_damaged(&cause) => {
                let aside = schema::set_aside(&path).map_err(|cause| IndexError::File {
                    action: "set aside",
                    path: path.clone(),
                    cause,
                })?;
                notice = Some(format!(
                    "the store's index was damaged ({cause}): it lies in `{}`, and a new one begins without results and images",
                    aside.display()
                ));
                schema::open(&path, boot, &recover)
            }
            opened => opened,
        };
        let reader =
            reader.map_err(|cause| IndexError::Database { action: "open", path: path.clone(), cause })?;
        Ok(Self {
            session,
            path,
            boot,
            clock,
            notice,
            reader: Mutex::new(reader),
            writer: OnceLock::new(),
            touched: Mutex::default(),
        })
    }

    /// What had to be done to open the index, if people should know of it.
    pub(crate) fn notice(&self) -> Option<&str> {
        self.notice.as_deref()
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Seconds since 1970 by the store's clock.
    fn now(&self) -> i64 {
        (self.clock)().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs().cast_signed())
    }

    pub(crate) fn read<T>(
        &self,
        action: &'static str,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, IndexError> {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        query(&reader).map_err(|cause| self.failed(action, cause))
    }

    /// One transaction; `change` is given the generation that its rows belong to.
    pub(crate) fn write<T>(
        &self,
        action: &'static str,
        change: impl FnOnce(&Transaction<'_>, i64) -> rusqlite::Result<T>,
    ) -> Result<T, IndexError> {
        let touched = std::mem::take(&mut *self.touched.lock().unwrap_or_else(PoisonError::into_inner));
        let now = self.now();
        self.transact(action, |t| {
            actions::touch(t, &touched, now)?;
            change(t, schema::open_generation(t, self.boot)?)
        })
    }

    /// [`Index::write`] for what can be done without, by commands that only look: it waits for nobody.
    pub(crate) fn write_unless_busy(
        &self,
        action: &'static str,
        change: impl Fn(&Transaction<'_>, i64) -> rusqlite::Result<()>,
    ) -> Result<(), IndexError> {
        let mut writer = self.writer()?;
        let mut run = || {
            writer.busy_timeout(std::time::Duration::ZERO)?;
            let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let generation = schema::open_generation(&transaction, self.boot)?;
            change(&transaction, generation)?;
            transaction.commit()
        };
        let written = run();
        writer.busy_timeout(schema::PATIENCE).map_err(|cause| self.failed(action, cause))?;
        match written {
            Err(cause) if cause.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => Ok(()),
            written => written.map_err(|cause| self.failed(action, cause)),
        }
    }

    /// One transaction that is on the disk when this returns.
    pub(crate) fn write_through<T>(
        &self,
        action: &'static str,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, IndexError> {
        let set = |level| {
            let writer = self.writer()?;
            writer.pragma_update(None, "synchronous", level).map_err(|cause| self.failed(action, cause))
        };
        set("FULL")?;
        let done = self.transact(action, change);
        set("NORMAL")?;
        done
    }

    fn transact<T>(
        &self,
        action: &'static str,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, IndexError> {
        let mut writer = self.writer()?;
        let run = || {
            let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = change(&transaction)?;
            transaction.commit()?;
            Ok(done)
        };
        run().map_err(|cause| self.failed(action, cause))
    }

    /// Marks the rows written so far as durable. `sync` writes the file system out. If it cannot, what it should have written
    /// is lost, though it may still be read for a while: then those rows are forgotten, and `recover` takes away what no
    /// row speaks of.
    pub(crate) fn make_durable(
        &self,
        sync: impl FnOnce() -> std::io::Result<()>,
        recover: impl Fn(&Transaction<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), IndexError> {
        let closed = self.transact("close a generation", |t| schema::close_generation(t, self.boot))?;
        let Some(closed) = closed else { return Ok(()) };
        if let Err(cause) = sync() {
            self.transact("forget what could not be synced", |t| {
                schema::forget_undurable(t)?;
                recover(t)
            })?;
            return Err(IndexError::File { action: "sync", path: self.path.clone(), cause });
        }
        self.transact("mark rows durable", |t| schema::mark_durable(t, self.boot, closed))?;
        let writer = self.writer()?;
        // Keeps the log short: the first process that opens the index reads all of it. Busy readers only postpone that.
        let truncated = writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        truncated.map_err(|cause| self.failed("checkpoint", cause))
    }

    fn writer(&self) -> Result<MutexGuard<'_, Connection>, IndexError> {
        if self.writer.get().is_none() {
            let writer = schema::connect(&self.path).map_err(|cause| self.failed("open", cause))?;
            // Two threads may both get here: the second connection is closed again.
            let _ = self.writer.set(Mutex::new(writer));
        }
        let writer = self.writer.get().expect("set above");
        Ok(writer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn failed(&self, action: &'static str, cause: rusqlite::Error) -> IndexError {
        if schema::is_damaged(&cause) {
            // The next process to open the index sets it aside.
            schema::note_damage(&self.path);
        }
        IndexError::Database { action, path: self.path.clone(), cause }
    }

    /// `snapshot` if all its layers are there, held from now on.
    fn present(&self, snapshot: Snapshot) -> Result<Option<Snapshot>, IndexError> {
        let all = self.session.has_layers(&snapshot.layers).map_err(|cause| IndexError::File {
            action: "look for layers under",
            path: self.session.root().to_owned(),
            cause,
        })?;
        Ok(all.then_some(snapshot))
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        let any = !self.touched.get_mut().unwrap_or_else(PoisonError::into_inner).is_empty();
        if any {
            // Times of last use guide garbage collection alone: losing some is harmless.
            let _ = self.write("note the use of rows", |_, _| Ok(()));
        }
    }
}

/// 32 bytes of a row.
fn hash_of(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<ContentHash> {
    Ok(ContentHash::from_bytes(row.get(column)?))
}
