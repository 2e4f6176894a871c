//! Checking every blob, layer and row against its digest.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io;
use std::path::PathBuf;

use kiln_core::{Digest, DigestWriter};
use rayon::prelude::*;

use super::inventory::{self, What};
use super::rows::{Doomed, Mentions};
use super::tree::{self, Look};
use crate::lock::{FileLock, LockMode};
use crate::session::Held;
use crate::store::{Store, StoreError};

/// What a check of the store found.
#[derive(Debug, Default)]
pub struct Checked {
    /// How many blobs were read.
    pub blobs: usize,
    /// How many layers were compared with their manifests.
    pub layers: usize,
    /// What is wrong, in order of ids. Empty: nothing.
    pub damaged: Vec<Damaged>,
    /// The names of images that lost a layer, and the ids of those without a name.
    pub images: Vec<String>,
    /// Whether what is damaged was taken away.
    pub repaired: bool,
}

/// How closely a check looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Manifests, and of files whatever the kernel knows without reading them: microseconds each.
    Names,
    /// Every byte.
    Bytes,
}

/// A thing that is not what its name says.
#[derive(Debug)]
pub struct Damaged {
    /// `layer <id>`, `blob <digest>` or `index`.
    pub what: String,
    /// How.
    pub damage: Damage,
}

/// What is wrong with a thing.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// Rows speak of it, and it is not there.
    #[error("is missing")]
    Missing,
    /// Its bytes have another digest.
    #[error("has the digest {0}")]
    Digest(Digest),
    /// It cannot be read.
    #[error("cannot be read")]
    Unreadable(#[source] io::Error),
    /// Its manifest, or a file of its tree, is not as recorded.
    #[error("is not as recorded: {0}")]
    Tree(String),
    /// What the database says of itself.
    #[error("is inconsistent: {0}")]
    Rows(String),
}

impl Store {
    /// Reads all of the store and compares it with what it should be. With `repair`, what is damaged is taken away with
    /// all rows that speak of it, so that the next build makes it again.
    ///
    /// No garbage collection runs meanwhile; builds do.
    pub fn fsck(&self, repair: bool) -> Result<Checked, StoreError> {
        let root = self.root();
        let failed = |action| StoreError::io(action, root);
        let collecting = FileLock::acquire(&root.join("locks/.collecting"), LockMode::Exclusive);
        let _collecting = collecting.map_err(failed("lock"))?;
        let mentions = self.index().read("read the rows", |c| Mentions::read(c, &HashSet::new()))?;
        let things = self.things().map_err(failed("list"))?;
        let is_blob = |(what, _): &&(What, PathBuf)| matches!(what, What::Blob(_));
        let mut checked = Checked { blobs: things.iter().filter(is_blob).count(), ..Checked::default() };
        checked.layers = things.len() - checked.blobs;

        let mut damaged = self.damaged(&things, Depth::Bytes)?;
        let there: HashSet<What> = things.iter().map(|(what, _)| *what).collect();
        let spoken_of = mentions.layers.keys().map(|id| What::Layer(*id));
        let spoken_of = spoken_of.chain(mentions.blobs.keys().map(|digest| What::Blob(*digest)));
        damaged.extend(spoken_of.filter(|what| !there.contains(what)).map(|what| (what, Damage::Missing)));
        damaged.sort_by_key(|(what, _)| *what);
        self.settle(&mut checked, &things, damaged, repair)?;
        checked.damaged.extend(self.damage_of_rows()?);
        Ok(checked)
    }

    /// Looks at all that this process uses of the store, and takes away what is damaged with all rows that speak of it: for a
    /// command that has failed, and may do better if it is done again.
    pub fn drop_damaged(&self, depth: Depth) -> Result<Checked, StoreError> {
        let root = self.root();
        let failed = |action| StoreError::io(action, root);
        let collecting = FileLock::acquire(&root.join("locks/.collecting"), LockMode::Exclusive);
        let _collecting = collecting.map_err(failed("lock"))?;
        let mut things = Vec::new();
        for held in self.held() {
            let (what, path) = match held {
                Held::Layer(id) => (What::Layer(id), root.join("layers").join(id.0.hex())),
                Held::Blob(digest) => (What::Blob(digest), self.blobs().path(&digest)),
                Held::Mount(_) => continue,
            };
            // What is not there is a miss already.
            if path.exists() && (depth == Depth::Bytes || matches!(what, What::Layer(_))) {
                things.push((what, path));
            }
        }
        things.sort_unstable();
        let mut checked = Checked::default();
        let mut damaged = self.damaged(&things, depth)?;
        // What cannot be read now may be read later: that is for who asks for a repair to decide.
        damaged.retain(|(_, damage)| !matches!(damage, Damage::Unreadable(_)));
        self.settle(&mut checked, &things, damaged, true)?;
        Ok(checked)
    }

    fn damaged(&self, things: &[(What, PathBuf)], depth: Depth) -> Result<Vec<(What, Damage)>, StoreError> {
        let look = Look { depth, xattrs: self.xattrs() };
        let damage = |(what, path): &(What, PathBuf)| Some((*what, damage_of(*what, path, look)?));
        let mut found: Vec<(What, Damage)> = things.par_iter().filter_map(damage).collect();
        // What this process could not look at is not damaged for that.
        let is_ours = |(_, damage): &mut (What, Damage)| matches!(damage, Damage::Unreadable(cause) if is_of_the_process(cause));
        let ours = found.extract_if(.., is_ours).next();
        match ours {
            Some((_, Damage::Unreadable(cause))) => Err(StoreError::io("read", self.root())(cause)),
            _ => Ok(found),
        }
    }

    /// Notes what is damaged, and with `repair` takes it away.
    fn settle(
        &self,
        checked: &mut Checked,
        things: &[(What, PathBuf)],
        damaged: Vec<(What, Damage)>,
        repair: bool,
    ) -> Result<(), StoreError> {
        let doomed = Doomed::of(damaged.iter().map(|(what, _)| *what));
        checked.images = self.images_of(&doomed)?;
        if repair && !damaged.is_empty() {
            self.index().write_through("forget what is damaged", |t| doomed.forget(t))?;
            for (what, path) in things {
                if damaged.iter().any(|(damaged, _)| damaged == what) {
                    let gone = self.trash().put(path);
                    gone.map_err(StoreError::io("take away parts of", self.root()))?;
                }
            }
            self.layers().forget();
            checked.repaired = true;
        }
        checked.damaged =
            damaged.into_iter().map(|(what, damage)| Damaged { what: name_of(what), damage }).collect();
        Ok(())
    }

    /// All blobs and layers, and what has a name that none of them can have.
    fn things(&self) -> io::Result<Vec<(What, PathBuf)>> {
        let mut things = Vec::new();
        inventory::list(&self.root().join("blobs/sha256"), &mut things, |name| {
            format!("sha256:{name}").parse().ok().map(What::Blob)
        })?;
        inventory::list(&self.root().join("layers"), &mut things, |name| {
            name.parse().ok().map(|id| What::Layer(kiln_core::LayerId(id)))
        })?;
        Ok(things)
    }

    fn damage_of_rows(&self) -> Result<Vec<Damaged>, StoreError> {
        let said: Vec<String> = self.index().read("check the database", |c| {
            c.prepare("PRAGMA integrity_check")?.query_map([], |row| row.get(0))?.collect()
        })?;
        let wrong = said.into_iter().filter(|line| line != "ok");
        Ok(wrong.map(|line| Damaged { what: "index".to_owned(), damage: Damage::Rows(line) }).collect())
    }

    fn images_of(&self, doomed: &Doomed) -> Result<Vec<String>, StoreError> {
        let mut names = BTreeSet::new();
        for image in self.index().images()? {
            let origin = image.record.origin.iter().flat_map(|origin| [origin.manifest, origin.config]);
            let loses = image.record.snapshot.layers.iter().any(|layer| doomed.layers.contains(layer))
                || origin.into_iter().any(|blob| doomed.blobs.contains(&blob));
            if loses && image.names.is_empty() {
                names.insert(image.id.to_string());
            } else if loses {
                names.extend(image.names);
            }
        }
        Ok(names.into_iter().collect())
    }
}

fn damage_of(what: What, path: &std::path::Path, look: Look) -> Option<Damage> {
    match what {
        What::Blob(digest) => damage_of_blob(&digest, path),
        What::Layer(id) => tree::damage_of(&id, path, look),
        What::Mount(_) | What::Stat(_) => None,
    }
}

fn is_of_the_process(cause: &io::Error) -> bool {
    use rustix::io::Errno;
    let ours = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::ACCESS, Errno::PERM, Errno::INTR];
    ours.iter().any(|errno| cause.raw_os_error() == Some(errno.raw_os_error()))
}

fn damage_of_blob(digest: &Digest, path: &std::path::Path) -> Option<Damage> {
    let hash = || {
        let mut hashed = DigestWriter::new(io::sink());
        io::copy(&mut io::BufReader::with_capacity(256 << 10, File::open(path)?), &mut hashed)?;
        Ok(hashed.finish().1)
    };
    match hash() {
        Ok(actual) if actual == *digest => None,
        Ok(actual) => Some(Damage::Digest(actual)),
        // Removed since it was listed.
        Err(error) if io::Error::kind(&error) == io::ErrorKind::NotFound => None,
        Err(error) => Some(Damage::Unreadable(error)),
    }
}

fn name_of(what: What) -> String {
    match what {
        What::Layer(id) => format!("layer {}", id.0),
        What::Blob(digest) => format!("blob {digest}"),
        What::Mount(id) => format!("mount {id}"),
        What::Stat(id) => format!("stat index {id}"),
    }
}
