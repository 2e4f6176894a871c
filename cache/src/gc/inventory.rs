//! What lies in the store: every thing that can be kept or taken away by itself, with its place on the disk.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use kiln_core::{ContentHash, Digest, LayerId};
use rayon::prelude::*;

use super::extent::Extent;
use super::rows::Mentions;
use super::usage::{RecordKind, UsageRecord};
use crate::session::Held;

/// A thing of the store.
#[derive(Debug)]
pub(super) struct Thing {
    pub(super) what: What,
    pub(super) path: PathBuf,
    pub(super) extent: Extent,
    /// When it came, in seconds since 1970.
    pub(super) created: i64,
    /// Its last use that is known, else when it came.
    pub(super) used: i64,
    /// Whether a row speaks of it.
    pub(super) mentioned: bool,
    /// Whether an image with a name has it.
    pub(super) image: bool,
    /// Whether a living process uses it.
    pub(super) held: bool,
    pub(super) about: String,
}

/// The name of a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum What {
    Layer(LayerId),
    Blob(Digest),
    Mount(ContentHash),
    Stat(ContentHash),
}

impl What {
    pub(super) fn kind(self) -> RecordKind {
        match self {
            Self::Layer(_) => RecordKind::Layer,
            Self::Blob(_) => RecordKind::Blob,
            Self::Mount(_) => RecordKind::Mount,
            Self::Stat(_) => RecordKind::Stat,
        }
    }

    pub(super) fn id(self) -> String {
        match self {
            Self::Layer(id) => id.0.to_string(),
            Self::Blob(digest) => digest.to_string(),
            Self::Mount(id) | Self::Stat(id) => id.to_string(),
        }
    }

    pub(super) fn held(self) -> Option<Held> {
        match self {
            Self::Layer(id) => Some(Held::Layer(id)),
            Self::Blob(digest) => Some(Held::Blob(digest)),
            Self::Mount(id) => Some(Held::Mount(id)),
            Self::Stat(_) => None,
        }
    }
}

impl Thing {
    /// Notes what rows say of it.
    pub(super) fn mark(&mut self, mentions: &Mentions) {
        let mention = match self.what {
            What::Layer(id) => mentions.layers.get(&id).copied(),
            What::Blob(digest) => mentions.blobs.get(&digest).copied(),
            What::Mount(_) | What::Stat(_) => None,
        };
        let mut used = mention.map_or(0, |mention| mention.used);
        if let What::Mount(id) = self.what
            && let Some((about, at)) = mentions.mounts.get(&id)
        {
            self.about.clone_from(about);
            used = *at;
        }
        self.used = if used == 0 { self.created } else { used };
        // Mounts and stat tables are themselves what is kept: no row needs to speak of them.
        self.mentioned = mention.is_some() || matches!(self.what, What::Mount(_) | What::Stat(_));
        self.image = mention.is_some_and(|mention| mention.image);
    }

    pub(super) fn record(&self, bytes: u64) -> UsageRecord {
        UsageRecord {
            kind: self.what.kind(),
            id: self.what.id(),
            bytes,
            created: self.created,
            used: self.used,
            in_use: self.held,
            shared: self.image,
            about: self.about.clone(),
        }
    }
}

/// Lists and measures all things. Names that are no ids are passed over: `rest` of the disk usage has them.
pub(super) fn take(root: &Path, mentions: &Mentions, held: &HashSet<Held>) -> io::Result<Vec<Thing>> {
    let mut found: Vec<(What, PathBuf)> = Vec::new();
    list(&root.join("layers"), &mut found, |name| {
        ContentHash::from_str(name).ok().map(|id| What::Layer(LayerId(id)))
    })?;
    list(&root.join("blobs/sha256"), &mut found, |name| {
        format!("sha256:{name}").parse().ok().map(What::Blob)
    })?;
    list(&root.join("mounts"), &mut found, |name| name.parse().ok().map(What::Mount))?;
    list(&root.join("stat/1"), &mut found, |name| name.parse().ok().map(What::Stat))?;
    found.sort_unstable();
    let things: io::Result<Vec<Option<Thing>>> =
        found.into_par_iter().map(|(what, path)| thing(what, path, mentions, held)).collect();
    Ok(things?.into_iter().flatten().collect())
}

/// The entries of a directory whose names are ids.
pub(super) fn list<T>(
    directory: &Path,
    into: &mut Vec<(T, PathBuf)>,
    id: impl Fn(&str) -> Option<T>,
) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if let Some(id) = entry.file_name().to_str().and_then(&id) {
            into.push((id, entry.path()));
        }
    }
    Ok(())
}

fn thing(what: What, path: PathBuf, mentions: &Mentions, held: &HashSet<Held>) -> io::Result<Option<Thing>> {
    let created = match fs::symlink_metadata(&path) {
        Ok(metadata) => metadata.mtime(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut thing = Thing {
        what,
        extent: Extent::of(&path)?,
        created,
        used: created,
        mentioned: false,
        image: false,
        held: what.held().is_some_and(|thing| held.contains(&thing)),
        about: String::new(),
        path,
    };
    thing.mark(mentions);
    Ok(Some(thing))
}
