//! A process's presence in the store: what it uses (its lease) and where it puts half-made things (its scratch).
//!
//! ```text
//! leases/<session>      locked while the session lives; one line for each layer, blob and mount that it uses
//! tmp/<session>/<n>     half-made things; whatever has no living session is swept
//! locks/.collecting     held by a garbage collection from its first look to its end
//! locks/.sweeping       held exclusively while a collection takes things away, shared while a lease grows
//! ```
//!
//! **Invariant:** whoever has asked [`Session::hold`] for a thing and then finds it in its place keeps it: a collection
//! reads the leases under `.sweeping` right before it takes anything away. A lease is removed only while no collection
//! runs, so that a session which ends in the middle of one, its rows in the index unseen by the collection, still counts.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kiln_core::{ContentHash, Digest, LayerId};
use rustix::fs::{FlockOperation, flock};

use crate::lock::{self, FileLock, LockMode};
use crate::trash::Trash;

/// Something of the store that a process uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Held {
    Layer(LayerId),
    Blob(Digest),
    Mount(ContentHash),
}

/// A process in the store. Shared by all that is made from one [`Store`](crate::Store).
#[derive(Debug)]
pub(crate) struct Session {
    root: PathBuf,
    trash: Trash,
    present: Mutex<Option<Present>>,
}

/// Made when it is first needed: a process that only lists images has no lease and no scratch.
#[derive(Debug)]
struct Present {
    name: String,
    /// Its lock says that the process lives, its text what it uses.
    lease: File,
    sweeping: File,
    held: HashSet<Held>,
    scratches: u64,
}

impl Session {
    pub(crate) fn new(root: PathBuf, trash: Trash) -> Self {
        Self { root, trash, present: Mutex::new(None) }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn trash(&self) -> &Trash {
        &self.trash
    }

    /// The directory of a layer, whether or not it is there.
    pub(crate) fn layer_dir(&self, id: &LayerId) -> PathBuf {
        self.root.join("layers").join(id.0.hex())
    }

    /// Keeps garbage collections away from `things` for the life of the session. To be called before looking whether
    /// they are there.
    pub(crate) fn hold(&self, things: impl IntoIterator<Item = Held>) -> io::Result<()> {
        let mut present = self.lock_present();
        let new: Vec<Held> = match &*present {
            Some(present) => things.into_iter().filter(|thing| !present.held.contains(thing)).collect(),
            None => things.into_iter().collect(),
        };
        if new.is_empty() {
            return Ok(());
        }
        let present = self.enter(&mut present)?;
        let text: String = new.iter().map(Held::line).collect();
        flock(&present.sweeping, FlockOperation::LockShared)?;
        let written = present.lease.write_all(text.as_bytes());
        flock(&present.sweeping, FlockOperation::Unlock)?;
        written?;
        present.held.extend(new);
        Ok(())
    }

    /// All that this session holds.
    pub(crate) fn held(&self) -> Vec<Held> {
        self.lock_present().as_ref().map(|present| present.held.iter().copied().collect()).unwrap_or_default()
    }

    /// [`Session::hold`] for layers.
    pub(crate) fn hold_layers(&self, layers: &[LayerId]) -> io::Result<()> {
        self.hold(layers.iter().copied().map(Held::Layer))
    }

    /// Whether all of `layers` are there, held from now on.
    pub(crate) fn has_layers(&self, layers: &[LayerId]) -> io::Result<bool> {
        self.hold_layers(layers)?;
        for layer in layers {
            if !self.layer_dir(layer).join("manifest").try_exists()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A new path under `tmp/` of which nothing exists yet but its directory.
    pub(crate) fn scratch_path(&self) -> io::Result<PathBuf> {
        let mut present = self.lock_present();
        let present = self.enter(&mut present)?;
        let dir = self.root.join("tmp").join(&present.name);
        if present.scratches == 0 {
            fs::create_dir_all(&dir)?;
        }
        present.scratches += 1;
        Ok(dir.join(present.scratches.to_string()))
    }

    /// A new directory under `tmp/`.
    pub(crate) fn scratch_dir(&self) -> io::Result<ScratchDir> {
        let path = self.scratch_path()?;
        fs::create_dir(&path)?;
        Ok(ScratchDir { path, trash: self.trash.clone() })
    }

    fn lock_present(&self) -> MutexGuard<'_, Option<Present>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter<'a>(&self, present: &'a mut Option<Present>) -> io::Result<&'a mut Present> {
        if present.is_none() {
            let sweeping = lock::open(&self.root.join("locks/.sweeping"))?;
            let (name, lease) = loop {
                let name = random_name();
                let path = self.root.join("leases").join(&name);
                let lease = lock::open(&path)?;
                // A sweep may have found the file before it was locked and removed it.
                flock(&lease, FlockOperation::LockExclusive)?;
                if lock::is_at(&lease, &path)? {
                    break (name, lease);
                }
            };
            *present = Some(Present { name, lease, sweeping, held: HashSet::new(), scratches: 0 });
        }
        Ok(present.as_mut().expect("made above"))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let present = self.present.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(present) = present {
            // The lease is still locked while it is removed; a failure leaves work for the next process's sweep.
            let _ = bury(&self.root, &self.trash, &present.name);
        }
    }
}

impl Held {
    fn line(&self) -> String {
        match self {
            Self::Layer(id) => format!("layer {}\n", id.0),
            Self::Blob(digest) => format!("blob {digest}\n"),
            Self::Mount(id) => format!("mount {id}\n"),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let (kind, id) = line.split_once(' ')?;
        match kind {
            "layer" => Some(Self::Layer(LayerId(id.parse().ok()?))),
            "blob" => Some(Self::Blob(id.parse().ok()?)),
            "mount" => Some(Self::Mount(id.parse().ok()?)),
            _ => None,
        }
    }
}

/// A directory under `tmp/` that goes with its owner.
#[derive(Debug)]
#[must_use]
pub struct ScratchDir {
    path: PathBuf,
    trash: Trash,
}

impl ScratchDir {
    /// Where it is. On the same file system as the rest of the store, so that a finished thing is moved by rename.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        // What cannot be moved is swept when the session has ended.
        let _ = self.trash.put(&self.path);
    }
}

/// All that any session uses or, while this collection ran, used.
pub(crate) fn all_held(root: &Path) -> io::Result<HashSet<Held>> {
    let mut held = HashSet::new();
    for entry in fs::read_dir(root.join("leases"))? {
        match fs::read_to_string(entry?.path()) {
            Ok(text) => held.extend(text.lines().filter_map(Held::parse)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(held)
}

/// Moves what sessions that are gone left in `tmp/` to the trash.
pub(crate) fn sweep(root: &Path, trash: &Trash) -> io::Result<()> {
    for entry in fs::read_dir(root.join("leases"))? {
        let entry = entry?;
        let lease = match File::open(entry.path()) {
            Ok(lease) => lease,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let is_dead = flock(&lease, FlockOperation::NonBlockingLockExclusive).is_ok();
        if is_dead
            && lock::is_at(&lease, &entry.path())?
            && let Some(name) = entry.file_name().to_str()
        {
            bury(root, trash, name)?;
        }
    }
    for entry in fs::read_dir(root.join("tmp"))? {
        let entry = entry?;
        // A lease is made before its directory: a directory without one has no owner.
        if !root.join("leases").join(entry.file_name()).try_exists()? {
            trash.put(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes the scratch and, unless a collection runs, the lease of a session that has ended.
fn bury(root: &Path, trash: &Trash, name: &str) -> io::Result<()> {
    let scratch = root.join("tmp").join(name);
    match fs::remove_dir(&scratch) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(_) => trash.put(&scratch)?,
    }
    if FileLock::try_acquire(&root.join("locks/.collecting"), LockMode::Shared)?.is_some() {
        fs::remove_file(root.join("leases").join(name))?;
    }
    Ok(())
}

/// A name that nobody else has.
pub(crate) fn random_name() -> String {
    let mut bytes = [0_u8; 12];
    // The kernel gives up to 256 bytes at once and without fail once it has booted; a clash is found by its rename.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What layers, drafts and blobs share of a session.
pub(crate) type SharedSession = Arc<Session>;
