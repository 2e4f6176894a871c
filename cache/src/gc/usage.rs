//! What takes how much of the disk. The sum is what `du` says of the store's directory.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use super::extent::{Extent, Tally};
use super::inventory;
use super::rows::Mentions;
use crate::session;
use crate::store::{Store, StoreError};

/// What a record of the disk usage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKind {
    /// A layer's tree and manifest.
    Layer,
    /// A blob: a packed layer, a manifest, a download.
    Blob,
    /// A cache mount.
    Mount,
    /// The stat index of a context.
    Stat,
}

impl RecordKind {
    /// BuildKit's name of the type, as `--filter type=` takes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Layer => "regular",
            Self::Blob => "internal",
            Self::Mount => "exec.cachemount",
            Self::Stat => "source.local",
        }
    }
}

/// A thing in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRecord {
    /// What it is.
    pub kind: RecordKind,
    /// Its layer id, digest or key.
    pub id: String,
    /// Bytes on the disk. A file that several layers share by hard links counts in the first of them.
    pub bytes: u64,
    /// When it came, in seconds since 1970.
    pub created: i64,
    /// Its last known use, in seconds since 1970.
    pub used: i64,
    /// Whether a running process uses it.
    pub in_use: bool,
    /// Whether an image with a name has it.
    pub shared: bool,
    /// What people know it by; may be empty.
    pub about: String,
}

/// All that the store takes of the disk, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// What can be kept or taken away by itself.
    pub records: Vec<UsageRecord>,
    /// The database.
    pub index: u64,
    /// Half-made things and the trash.
    pub scratch: u64,
    /// Directories, locks, leases.
    pub rest: u64,
}

impl DiskUsage {
    /// The sum of all.
    pub fn total(&self) -> u64 {
        self.records.iter().map(|record| record.bytes).sum::<u64>() + self.index + self.scratch + self.rest
    }

    /// The records' bytes by kind.
    pub fn by_kind(&self) -> BTreeMap<RecordKind, u64> {
        let mut kinds = BTreeMap::new();
        for record in &self.records {
            *kinds.entry(record.kind).or_default() += record.bytes;
        }
        kinds
    }
}

impl Store {
    /// Measures the store.
    pub fn disk_usage(&self) -> Result<DiskUsage, StoreError> {
        let root = self.root();
        let mentions = self.index().read("read the rows", |c| Mentions::read(c, &HashSet::new()))?;
        let measured = || {
            let things = inventory::take(root, &mentions, &session::all_held(root)?)?;
            let mut tally = Tally::default();
            let records = things.iter().map(|thing| thing.record(tally.count(&thing.extent)));
            let mut usage = DiskUsage { records: records.collect(), ..DiskUsage::default() };
            usage.index = tally.count(&Extent::of(&root.join("db"))?);
            usage.scratch =
                tally.count(&Extent::of(&root.join("tmp"))?) + tally.count(&Extent::of(&root.join("trash"))?);
            usage.rest = tally.count(&rest(root)?);
            Ok(usage)
        };
        measured().map_err(StoreError::io("measure", root))
    }
}

/// The directories that hold the records, and what else lies there.
fn rest(root: &Path) -> std::io::Result<Extent> {
    let mut rest = Extent::default();
    for (directory, counted) in [
        ("", &["blobs", "layers", "db", "stat", "mounts", "tmp", "trash"][..]),
        ("blobs", &["sha256"]),
        ("stat", &["1"]),
    ] {
        rest.add_shell(&root.join(directory), |name| counted.contains(&name))?;
    }
    for directory in ["blobs/sha256", "layers", "mounts", "stat/1"] {
        rest.add_shell(&root.join(directory), |name| name.parse::<kiln_core::ContentHash>().is_ok())?;
    }
    Ok(rest)
}
