//! The stat index: which content a file had when it had these times and this size. One file for each context.
//!
//! ```text
//! stat/1/<root>    "kilnst1\n"  count:u32  slots:u32          little endian
//!                  slot:u32 × slots                           open addressing by the path's hash; 0 is free, n is record n-1
//!                  record × count                             80 bytes: path at:u32 length:u32, dev inode size mtime ctime:64, BLAKE3
//!                  paths                                      as bytes, one after the other
//!                  BLAKE3 of all before it
//! ```
//!
//! It is read in one go and searched as it lies: 10,000 files are a megabyte. A file that is damaged is an empty table.

use std::fs;
use std::io::{self, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use kiln_core::ContentHash;

use super::{Index, IndexError};

const MAGIC: &[u8; 8] = b"kilnst1\n";
const HEADER: usize = 16;
const RECORD: usize = 80;
const HASH: usize = 32;

/// What the kernel says of a file. Equal before and after: the content is the same, unless the file is too young to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStat {
    /// The file system's device number.
    pub dev: u64,
    /// The inode's number.
    pub inode: u64,
    /// In bytes.
    pub size: u64,
    /// Time of the last change of content, in nanoseconds since 1970.
    pub mtime: i64,
    /// Time of the last change of the inode, in nanoseconds since 1970.
    pub ctime: i64,
}

/// The files of one context as they were hashed before. Empty by default.
#[derive(Debug, Clone, Default)]
pub struct StatTable {
    bytes: Vec<u8>,
    slots: usize,
    count: usize,
}

/// The files of one context as they are hashed now.
#[derive(Debug, Clone)]
pub struct StatTableBuilder {
    began: i64,
    records: Vec<u8>,
    paths: Vec<u8>,
    count: u32,
}

impl StatTable {
    /// The content of the file at `path`, if its `stat` is as it was.
    pub fn content(&self, path: &[u8], stat: &FileStat) -> Option<ContentHash> {
        let record = self.record(path)?;
        (record[8..48] == stat.encode()).then(|| hash_in(record))
    }

    /// The content that the file at `path` had when it was last hashed, whatever it has now.
    pub fn last_content(&self, path: &[u8]) -> Option<ContentHash> {
        self.record(path).map(hash_in)
    }

    /// How many files it knows.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn decode(bytes: Vec<u8>) -> Option<Self> {
        let body = bytes.len().checked_sub(HASH)?;
        let header = bytes.get(..HEADER.min(body))?;
        if header.get(..8)? != MAGIC || ContentHash::of(&bytes[..body]).as_bytes() != &bytes[body..] {
            return None;
        }
        let count = number(&bytes, 8)?;
        let slots = number(&bytes, 12)?;
        let fixed = HEADER.checked_add(slots.checked_mul(4)?)?.checked_add(count.checked_mul(RECORD)?)?;
        (slots.is_power_of_two() && slots > count && fixed <= body).then_some(Self { bytes, slots, count })
    }

    fn record(&self, path: &[u8]) -> Option<&[u8]> {
        if self.count == 0 {
            return None;
        }
        let paths = HEADER + 4 * self.slots + RECORD * self.count;
        let mut slot = slot_of(path, self.slots);
        loop {
            let at = number(&self.bytes, HEADER + 4 * slot)?.checked_sub(1)?;
            let start = HEADER + 4 * self.slots + RECORD * at;
            let record = self.bytes.get(start..start + RECORD)?;
            let from = paths + number(record, 0)?;
            if self.bytes.get(from..from + number(record, 4)?)? == path {
                return Some(record);
            }
            slot = (slot + 1) & (self.slots - 1);
        }
    }
}

impl StatTableBuilder {
    /// A table of files that are looked at from `began` on.
    pub fn new(began: SystemTime) -> Self {
        Self { began: nanoseconds(began), records: Vec::new(), paths: Vec::new(), count: 0 }
    }

    /// Notes a file that was hashed, or whose content was known from its `stat`. To be called once for a path.
    ///
    /// A file that changed so shortly before the walk that a further change could have left the same times is not
    /// noted: it is hashed again the next time (git's rule for racy entries).
    pub fn insert(&mut self, path: &[u8], stat: &FileStat, content: &ContentHash) {
        let (Ok(start), Ok(length)) = (u32::try_from(self.paths.len()), u32::try_from(path.len())) else {
            return;
        };
        if self.is_racy(stat) || self.count == u32::MAX / 4 {
            return;
        }
        self.records.extend(start.to_le_bytes());
        self.records.extend(length.to_le_bytes());
        self.records.extend(stat.encode());
        self.records.extend(content.as_bytes());
        self.paths.extend(path);
        self.count += 1;
    }

    fn is_racy(&self, stat: &FileStat) -> bool {
        const SECOND: i64 = 1_000_000_000;
        // Times come from the timer tick, 10 ms at most; some file systems keep whole seconds, FAT every other one.
        let whole_seconds = stat.mtime % SECOND == 0 && stat.ctime % SECOND == 0;
        let grain = if whole_seconds { 2 * SECOND } else { SECOND / 50 };
        stat.mtime.max(stat.ctime) >= self.began.saturating_sub(grain)
    }

    fn encode(&self) -> Vec<u8> {
        let slots = (self.count as usize * 3 / 2 + 1).next_power_of_two();
        let mut table = vec![0_u32; slots];
        for (number, record) in (1_u32..).zip(self.records.as_chunks::<RECORD>().0) {
            let [start, length] = [read_u32(record, 0), read_u32(record, 4)].map(|n| n as usize);
            let mut slot = slot_of(&self.paths[start..start + length], slots);
            while table[slot] != 0 {
                slot = (slot + 1) & (slots - 1);
            }
            table[slot] = number;
        }
        let slot_count = u32::try_from(slots).expect("insert bounds the count");
        let mut bytes = Vec::with_capacity(HEADER + 4 * slots + self.records.len() + self.paths.len() + HASH);
        bytes.extend(MAGIC);
        bytes.extend(self.count.to_le_bytes());
        bytes.extend(slot_count.to_le_bytes());
        bytes.extend(table.iter().flat_map(|slot| slot.to_le_bytes()));
        bytes.extend(&self.records);
        bytes.extend(&self.paths);
        let hash = ContentHash::of(&bytes);
        bytes.extend(hash.as_bytes());
        bytes
    }
}

impl FileStat {
    fn encode(&self) -> [u8; 40] {
        let mut bytes = [0; 40];
        let fields =
            [self.dev, self.inode, self.size, self.mtime.cast_unsigned(), self.ctime.cast_unsigned()];
        for (place, field) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(fields) {
            *place = field.to_le_bytes();
        }
        bytes
    }
}

impl Index {
    /// The table of the context `root`; empty if there is none.
    pub fn stat_table(&self, root: &ContentHash) -> Result<StatTable, IndexError> {
        let path = self.stat_path(root);
        match fs::read(&path) {
            Ok(bytes) => Ok(StatTable::decode(bytes).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(StatTable::default()),
            Err(cause) => Err(IndexError::File { action: "read", path, cause }),
        }
    }

    /// Stores the table of the context `root` in place of the one that was there.
    pub fn set_stat_table(&self, root: &ContentHash, table: &StatTableBuilder) -> Result<(), IndexError> {
        let path = self.stat_path(root);
        let store = || {
            let half = self.session.scratch_path()?;
            let written = fs::File::create_new(&half)?.write_all(&table.encode());
            let moved = written.and_then(|()| fs::rename(&half, &path));
            if moved.is_err() {
                let _ = fs::remove_file(&half);
            }
            moved
        };
        store().map_err(|cause| IndexError::File { action: "write", path: path.clone(), cause })
    }

    fn stat_path(&self, root: &ContentHash) -> std::path::PathBuf {
        self.session.root().join("stat/1").join(root.hex())
    }
}

fn nanoseconds(time: SystemTime) -> i64 {
    let age = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(age.as_nanos()).unwrap_or(i64::MAX)
}

fn hash_in(record: &[u8]) -> ContentHash {
    let (_, hash) = record.split_last_chunk::<HASH>().expect("a record ends in a hash");
    ContentHash::from_bytes(*hash)
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(read_u32(four, 0) as usize)
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// FNV-1a, folded: the table is the user's own, nobody gains from collisions.
fn slot_of(path: &[u8], slots: usize) -> usize {
    let hash = path.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    usize::try_from(hash ^ (hash >> 32)).unwrap_or(usize::MAX) & (slots - 1)
}
