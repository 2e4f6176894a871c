//! The tables, and which rows a new boot may trust.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kiln_core::ContentHash;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

/// The version of the tables is in the file's name: another version is another file beside this one.
pub(crate) const FILE: &str = "2.sqlite";

/// Lies beside a database in which damage was found while it was in use.
const DAMAGED: &str = "is-damaged";

/// For so long one process waits for another that writes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A generation takes new rows.
const OPEN: i64 = 0;
/// A generation takes no more rows; the file system is being synced.
const CLOSED: i64 = 1;
/// All that a generation's rows speak of is on the disk.
const DURABLE: i64 = 2;

/// The tables whose rows speak of files, each with a column `generation`.
const DATED: [&str; 9] = ["asked", "made", "images", "names", "packed", "diffs", "chains", "facts", "roots"];

const TABLES: &str = "
    CREATE TABLE boot (id INTEGER NOT NULL);
    CREATE TABLE generations (id INTEGER PRIMARY KEY AUTOINCREMENT, boot INTEGER NOT NULL, state INTEGER NOT NULL);
    CREATE TABLE asked (definition BLOB PRIMARY KEY, layers BLOB NOT NULL, generation INTEGER NOT NULL, used INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE made (key BLOB PRIMARY KEY, layers BLOB NOT NULL, generation INTEGER NOT NULL, used INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE images (id BLOB PRIMARY KEY, record BLOB NOT NULL, generation INTEGER NOT NULL, used INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE names (name TEXT PRIMARY KEY, image BLOB NOT NULL, generation INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE packed (layer BLOB, compression TEXT, diff_id BLOB NOT NULL, blob BLOB NOT NULL, size INTEGER NOT NULL, tar_size INTEGER NOT NULL,
        generation INTEGER NOT NULL, PRIMARY KEY (layer, compression)) WITHOUT ROWID;
    CREATE TABLE diffs (layer BLOB PRIMARY KEY, diff_id BLOB NOT NULL, generation INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE chains (chain BLOB PRIMARY KEY, layer BLOB NOT NULL, generation INTEGER NOT NULL, used INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE facts (namespace TEXT, key BLOB, value BLOB NOT NULL, blob BLOB, generation INTEGER NOT NULL, at INTEGER NOT NULL,
        PRIMARY KEY (namespace, key)) WITHOUT ROWID;
    CREATE TABLE roots (name TEXT PRIMARY KEY, layers BLOB NOT NULL, generation INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE history (id TEXT PRIMARY KEY, started INTEGER NOT NULL, record BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE mounts (id BLOB PRIMARY KEY, about TEXT NOT NULL, used INTEGER NOT NULL) WITHOUT ROWID;
    PRAGMA user_version = 1;
";

/// Opens the database with only rows in it that this boot may trust.
pub(crate) fn open(
    path: &Path,
    boot: i64,
    recover: &dyn Fn(&Transaction<'_>) -> rusqlite::Result<()>,
) -> rusqlite::Result<Connection> {
    let mut connection = connect(path)?;
    if boot_of(&connection)? != Some(boot) {
        begin_boot(&mut connection, boot, recover)?;
    }
    Ok(connection)
}

/// Whether the file is no database any more.
pub(crate) fn is_damaged(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

/// Notes beside the database that a part of it was found damaged, which an opening need not come across.
pub(crate) fn note_damage(path: &Path) {
    // A file that cannot be made leaves the finding to the next process that comes across it.
    let _ = std::fs::write(path.with_file_name(DAMAGED), "");
}

/// The error that an opening is to give because [`note_damage`] was here.
pub(crate) fn found_damaged(path: &Path) -> Option<rusqlite::Error> {
    let corrupt = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    let text = "a part of it cannot be read".to_owned();
    path.with_file_name(DAMAGED).exists().then(|| rusqlite::Error::SqliteFailure(corrupt, Some(text)))
}

/// Whether all of the database can be read after all; then the note is taken back.
pub(crate) fn is_sound(path: &Path) -> bool {
    let check = || connect(path)?.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    // Thrice: a disk on which reads fail now and then is no reason to forget everything.
    let sound = (0..3).any(|_| check().is_ok_and(|said| said == "ok"));
    if sound {
        let _ = std::fs::remove_file(path.with_file_name(DAMAGED));
    }
    sound
}

/// Moves a damaged database out of the way, over the one that was moved before, and says where to.
pub(crate) fn set_aside(path: &Path) -> std::io::Result<PathBuf> {
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(path.with_file_name(format!("{FILE}{suffix}")));
    }
    let aside = path.with_file_name(format!("damaged-{FILE}"));
    std::fs::rename(path, &aside)?;
    let _ = std::fs::remove_file(path.with_file_name(DAMAGED));
    Ok(aside)
}

/// Opens the database, or makes it.
pub(crate) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(PATIENCE)?;
    // A sync, which marks rows durable, also shortens the log; the last process to close does not wait for the disk.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // The log is not synced at a commit: a power cut may take the last rows, never the database's order.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    if !is_made(&connection)? {
        connection.pragma_update(None, "journal_mode", "WAL")?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if !is_made(&transaction)? {
            transaction.execute_batch(TABLES)?;
        }
        transaction.commit()?;
    }
    Ok(connection)
}

fn is_made(connection: &Connection) -> rusqlite::Result<bool> {
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    Ok(version != 0)
}

/// A boot id as the rows have it.
pub(crate) fn boot_number(boot_id: &str) -> i64 {
    let hash = ContentHash::of(boot_id.as_bytes());
    let (first, _) = hash.as_bytes().split_first_chunk::<8>().expect("a hash has 32 bytes");
    i64::from_le_bytes(*first)
}

/// The boot in which the rows were last cleared of what was not durable.
fn boot_of(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    connection.query_row("SELECT id FROM boot", [], |row| row.get(0)).optional()
}

/// Deletes what another boot did not make durable, and has `recover` take away the files that no row speaks of.
/// Other processes of the new boot wait meanwhile.
fn begin_boot(
    connection: &mut Connection,
    boot: i64,
    recover: &dyn Fn(&Transaction<'_>) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    // That the rows are gone must be on the disk before anything new is made under the same names.
    connection.pragma_update(None, "synchronous", "FULL")?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if boot_of(&transaction)? != Some(boot) {
        forget_undurable(&transaction)?;
        recover(&transaction)?;
        transaction.execute("DELETE FROM boot", [])?;
        transaction.execute("INSERT INTO boot VALUES (?1)", [boot])?;
    }
    transaction.commit()?;
    connection.pragma_update(None, "synchronous", "NORMAL")
}

/// Deletes the rows that were not made durable.
pub(crate) fn forget_undurable(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    for table in DATED {
        transaction.execute(
            &format!(
                "DELETE FROM {table} WHERE generation NOT IN (SELECT id FROM generations WHERE state = ?1)"
            ),
            [DURABLE],
        )?;
    }
    compact_generations(transaction)
}

/// Gives all durable rows one generation.
fn compact_generations(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM generations WHERE state <> ?1", [DURABLE])?;
    let last: Option<i64> = transaction.query_row("SELECT max(id) FROM generations", [], |row| row.get(0))?;
    let Some(last) = last else { return Ok(()) };
    for table in DATED {
        transaction.execute(&format!("UPDATE {table} SET generation = ?1 WHERE generation <> ?1"), [last])?;
    }
    transaction.execute("DELETE FROM generations WHERE id <> ?1", [last])?;
    Ok(())
}

/// The generation that new rows belong to.
pub(crate) fn open_generation(transaction: &Transaction<'_>, boot: i64) -> rusqlite::Result<i64> {
    let found = transaction
        .prepare_cached("SELECT id FROM generations WHERE boot = ?1 AND state = ?2")?
        .query_row(params![boot, OPEN], |row| row.get(0))
        .optional()?;
    match found {
        Some(id) => Ok(id),
        None => {
            transaction
                .execute("INSERT INTO generations (boot, state) VALUES (?1, ?2)", params![boot, OPEN])?;
            Ok(transaction.last_insert_rowid())
        }
    }
}

/// Lets the generations of this boot take no more rows. The newest of them, if there is one that has rows.
pub(crate) fn close_generation(transaction: &Transaction<'_>, boot: i64) -> rusqlite::Result<Option<i64>> {
    transaction.execute(
        "UPDATE generations SET state = ?1 WHERE boot = ?2 AND state = ?3",
        params![CLOSED, boot, OPEN],
    )?;
    transaction.query_row(
        "SELECT max(id) FROM generations WHERE boot = ?1 AND state = ?2",
        params![boot, CLOSED],
        |row| row.get(0),
    )
}

/// What was closed before the sync began is on the disk.
pub(crate) fn mark_durable(transaction: &Transaction<'_>, boot: i64, closed: i64) -> rusqlite::Result<()> {
    transaction.execute(
        "UPDATE generations SET state = ?1 WHERE boot = ?2 AND state = ?3 AND id <= ?4",
        params![DURABLE, boot, CLOSED, closed],
    )?;
    Ok(())
}
