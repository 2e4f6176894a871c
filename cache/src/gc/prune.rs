//! Garbage collection by policy.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use kiln_core::ContentHash;
use rusqlite::Transaction;
use rustix::fs::{FlockOperation, flock};

use super::extent::Tally;
use super::inventory::{self, Thing, What};
use super::rows::{Doomed, Mentions};
use super::selection::Selection;
use super::usage::{RecordKind, UsageRecord};
use crate::lock::{self, FileLock, LockMode};
use crate::session::{self, Held};
use crate::store::{Store, StoreError};
use crate::trash::Trash;

/// As many things as go under one hold of the lock that a running build may wait for: 10 µs each.
const BATCH: usize = 1000;

/// What a collection takes away. The default takes all results that no image with a name and no running build has,
/// cache mounts among them, and images without a name.
///
/// With a limit of space it takes the least recently used first and stops when the limit is met.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrunePolicy {
    /// The stat index too, which costs nothing but a slower next build.
    pub all: bool,
    /// These records alone.
    pub selection: Selection,
    /// What was used within this time stays.
    pub keep_duration: Option<Duration>,
    /// As many bytes stay in any case.
    pub reserved_space: Option<u64>,
    /// No more bytes stay than these.
    pub max_used_space: Option<u64>,
    /// As many bytes of the file system are to be free.
    pub min_free_space: Option<u64>,
    /// Takes nothing away, but says what would go.
    pub dry_run: bool,
}

/// What a collection took away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Freed {
    /// Bytes of the disk, as `du` sees them go.
    pub bytes: u64,
    /// What went. A record's bytes are those that went with it.
    pub records: Vec<UsageRecord>,
    /// How many images without a name went.
    pub images: usize,
}

impl Store {
    /// Takes away what `policy` says, beside running builds, and returns when the disk is free of it. One collection
    /// runs at a time; another waits.
    pub fn prune(&self, policy: &PrunePolicy) -> Result<Freed, StoreError> {
        let root = self.root();
        let failed = |action| StoreError::io(action, root);
        session::sweep(root, self.trash()).map_err(failed("sweep"))?;
        let collecting = FileLock::acquire(&root.join("locks/.collecting"), LockMode::Exclusive);
        let _collecting = collecting.map_err(failed("lock"))?;

        let held = session::all_held(root).map_err(failed("read the leases of"))?;
        let mut things = self.inventory(&held)?;
        let keep = self.bytes_to_keep(policy, total(&things))?;
        let mut forgotten = HashSet::new();
        // An image without a name may be somebody's: where a limit of space is met, it stays.
        if keep.is_none_or(|keep| total(&things) > keep) {
            forgotten = self.nameless_to_forget(policy)?;
            let mentions = self.index().read("read the rows", |c| Mentions::read(c, &forgotten))?;
            things.iter_mut().for_each(|thing| thing.mark(&mentions));
        }
        let things = self.select(things, policy, keep);
        let mut freed = Freed { images: forgotten.len(), ..Freed::default() };
        let mut tally = Tally::default();
        if policy.dry_run {
            freed.add(&things, &mut tally);
            return Ok(freed);
        }
        self.forget_images(&forgotten)?;
        for batch in things.chunks(BATCH) {
            let gone = self.take_away(batch)?;
            freed.add(gone, &mut tally);
        }
        self.empty_trash()?;
        self.layers().forget();
        Ok(freed)
    }

    /// Takes away what policies say, one after the other, as far as space or age asks for it; `None` if none of them had
    /// anything to ask. Another process that collects does the same: then this one does nothing.
    pub fn collect(&self, policies: &[PrunePolicy]) -> Result<Option<Freed>, StoreError> {
        let Some(_alone) = self.try_lock("collection")? else { return Ok(None) };
        let root = self.root();
        let held = session::all_held(root).map_err(StoreError::io("read the leases of", root))?;
        let things = self.inventory(&held)?;
        let can_go = |thing: &&Thing| !thing.image && !thing.held;
        let mut acting = Vec::new();
        for policy in policies {
            let keep = self.bytes_to_keep(policy, total(&things))?;
            let latest = self.latest(policy);
            let is_met = keep.is_some_and(|keep| total(&things) <= keep);
            let covers = |thing: &Thing| thing.used <= latest && policy.covers(thing);
            if !is_met && things.iter().filter(can_go).any(covers) {
                acting.push(policy.clone());
            }
        }
        if acting.is_empty() && things.iter().filter(can_go).any(|thing| !thing.mentioned) {
            // What builds left that were killed goes in any case.
            acting.push(PrunePolicy { max_used_space: Some(u64::MAX), ..PrunePolicy::default() });
        }
        drop(things);
        let mut all: Option<Freed> = None;
        for policy in &acting {
            let freed = self.prune(policy)?;
            let all = all.get_or_insert_default();
            all.bytes += freed.bytes;
            all.images += freed.images;
            all.records.extend(freed.records);
        }
        Ok(all)
    }

    fn inventory(&self, held: &HashSet<Held>) -> Result<Vec<Thing>, StoreError> {
        let mentions = self.index().read("read the rows", |c| Mentions::read(c, &HashSet::new()))?;
        inventory::take(self.root(), &mentions, held).map_err(StoreError::io("measure", self.root()))
    }

    /// The images without a name that the policy covers.
    fn nameless_to_forget(&self, policy: &PrunePolicy) -> Result<HashSet<ContentHash>, StoreError> {
        if policy.selection.chooses() {
            return Ok(HashSet::new());
        }
        let latest = self.latest(policy);
        let mentions = self.index().read("read the rows", |c| Mentions::read(c, &HashSet::new()))?;
        Ok(mentions.nameless.into_iter().filter(|(_, used)| *used <= latest).map(|(id, _)| id).collect())
    }

    fn forget_images(&self, forgotten: &HashSet<ContentHash>) -> Result<(), StoreError> {
        if forgotten.is_empty() {
            return Ok(());
        }
        Ok(self.index().write("forget images", |t, _| {
            // One that got a name meanwhile stays.
            let mut delete =
                t.prepare("DELETE FROM images WHERE id = ?1 AND id NOT IN (SELECT image FROM names)")?;
            forgotten.iter().try_for_each(|id| delete.execute([id.as_bytes()]).map(|_| ()))
        })?)
    }

    /// The things that go, in the order in which they go.
    fn select(&self, things: Vec<Thing>, policy: &PrunePolicy, keep: Option<u64>) -> Vec<Thing> {
        let latest = self.latest(policy);
        let total = total(&things);
        let (garbage, mut known): (Vec<Thing>, Vec<Thing>) = things
            .into_iter()
            .filter(|thing| !thing.held && !thing.image)
            .partition(|thing| !thing.mentioned);
        known.retain(|thing| thing.used <= latest && policy.covers(thing));
        // Of one build, what lies on top goes first: without it the layers below are still worth something.
        known.sort_by_key(|thing| (thing.used, std::cmp::Reverse(thing.created), thing.what));
        let mut tally = Tally::default();
        let mut left = total.saturating_sub(garbage.iter().map(|thing| tally.release(&thing.extent)).sum());
        let mut going = garbage;
        for thing in known {
            if keep.is_some_and(|keep| left <= keep) {
                break;
            }
            left = left.saturating_sub(tally.release(&thing.extent));
            going.push(thing);
        }
        going
    }

    /// The time (seconds since 1970) after whose uses things stay.
    fn latest(&self, policy: &PrunePolicy) -> i64 {
        match policy.keep_duration {
            Some(keep) => {
                let now = self.now().duration_since(UNIX_EPOCH).unwrap_or_default();
                now.saturating_sub(keep).as_secs().cast_signed()
            }
            None => i64::MAX,
        }
    }

    /// How many of `total` bytes may stay; `None` if no space is asked for and all that the policy covers goes.
    fn bytes_to_keep(&self, policy: &PrunePolicy, total: u64) -> Result<Option<u64>, StoreError> {
        if (policy.max_used_space, policy.min_free_space, policy.reserved_space) == (None, None, None) {
            return Ok(None);
        }
        let mut keep = policy.max_used_space;
        if let Some(wanted) = policy.min_free_space {
            let fs = rustix::fs::statvfs(self.root())
                .map_err(|error| StoreError::io("ask for the free space of", self.root())(error.into()))?;
            let missing = wanted.saturating_sub(fs.f_bavail * fs.f_frsize);
            if missing > 0 {
                keep = Some(keep.unwrap_or(u64::MAX).min(total.saturating_sub(missing)));
            } else if keep.is_none() {
                keep = Some(u64::MAX);
            }
        }
        Ok(Some(keep.unwrap_or(0).max(policy.reserved_space.unwrap_or(0))))
    }

    /// Takes those of `batch` away that nobody holds, rows first, and returns them.
    fn take_away<'a>(&self, batch: &'a [Thing]) -> Result<Vec<&'a Thing>, StoreError> {
        let root = self.root();
        let failed = |action| StoreError::io(action, root);
        let sweeping = lock::open(&root.join("locks/.sweeping")).map_err(failed("lock"))?;
        let sweeping = Sweeping::begin(sweeping).map_err(failed("lock"))?;
        let held = session::all_held(root).map_err(failed("read the leases of"))?;
        let gone: Vec<&Thing> = batch
            .iter()
            .filter(|thing| !thing.what.held().is_some_and(|what| held.contains(&what)))
            .collect();
        let doomed = Doomed::of(gone.iter().map(|thing| thing.what));
        let forgotten = self.index().write_through("forget what is taken away", |t| doomed.forget(t));
        match forgotten {
            // On a full disk no row can be deleted: then the things go first, which a lookup takes for a miss.
            Err(error) if error.is_full() => {
                move_to_trash(&gone, self.trash()).map_err(failed("take away parts of"))?;
                self.empty_trash()?;
                self.index().write_through("forget what is taken away", |t| doomed.forget(t))?;
            }
            forgotten => {
                forgotten?;
                move_to_trash(&gone, self.trash()).map_err(failed("take away parts of"))?;
            }
        }
        drop(sweeping);
        Ok(gone)
    }
}

/// The bytes of all that no image with a name has.
fn total(things: &[Thing]) -> u64 {
    let mut tally = Tally::default();
    things.iter().filter(|thing| !thing.image).map(|thing| tally.count(&thing.extent)).sum()
}

fn move_to_trash(gone: &[&Thing], trash: &Trash) -> io::Result<()> {
    gone.iter().try_for_each(|thing| trash.take(&thing.path).map(|_| ()))
}

/// No lease grows while this lives.
struct Sweeping(File);

impl Sweeping {
    fn begin(file: File) -> io::Result<Self> {
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(Self(file))
    }
}

impl Drop for Sweeping {
    fn drop(&mut self) {
        // Closing the file would do it too.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

impl PrunePolicy {
    fn covers(&self, thing: &Thing) -> bool {
        let kind = thing.what.kind();
        (self.all || self.selection.chooses() || kind != RecordKind::Stat)
            && self.selection.matches(&thing.record(0))
    }
}

impl Freed {
    fn add<'a>(&mut self, things: impl IntoIterator<Item = &'a Thing>, tally: &mut Tally) {
        for thing in things {
            let bytes = tally.release(&thing.extent);
            self.bytes += bytes;
            self.records.push(thing.record(bytes));
        }
    }
}

impl Doomed {
    pub(super) fn of(things: impl IntoIterator<Item = What>) -> Self {
        let mut doomed = Self::default();
        for what in things {
            match what {
                What::Layer(id) => drop(doomed.layers.insert(id)),
                What::Blob(digest) => drop(doomed.blobs.insert(digest)),
                What::Mount(id) => drop(doomed.mounts.insert(id)),
                What::Stat(_) => {}
            }
        }
        doomed
    }
}

/// At the first opening in a new boot: throws away the layers and blobs that no row speaks of any more. They may be
/// half written, for the kernel had not synced them.
pub(crate) fn recover(t: &Transaction<'_>, root: &Path, trash: &Trash) -> rusqlite::Result<()> {
    let mentions = Mentions::read(t, &HashSet::new())?;
    let swept = || {
        // Of this boot, for an index that was damaged and begins anew beside running builds.
        let held = session::all_held(root)?;
        let mut layers = Vec::new();
        inventory::list(&root.join("layers"), &mut layers, |name| {
            Some(name.parse().map(kiln_core::LayerId))
        })?;
        for (id, path) in layers {
            if !id.is_ok_and(|id| mentions.layers.contains_key(&id) || held.contains(&Held::Layer(id))) {
                trash.put(&path)?;
            }
        }
        let mut blobs = Vec::new();
        inventory::list(&root.join("blobs/sha256"), &mut blobs, |name| {
            Some(format!("sha256:{name}").parse::<kiln_core::Digest>())
        })?;
        for (digest, path) in blobs {
            if !digest.is_ok_and(|id| mentions.blobs.contains_key(&id) || held.contains(&Held::Blob(id))) {
                trash.put(&path)?;
            }
        }
        io::Result::Ok(())
    };
    swept().map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}
