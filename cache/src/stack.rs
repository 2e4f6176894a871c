//! Which directories a mount stacks for a snapshot: its layers, or fewer that show the same.
//!
//! A first lookup in a directory that many layers have costs some 1.3 µs for each of them, and overlayfs takes no more than
//! 500. So the lowest layers of a tall snapshot become one, by hard links, 3 µs a file: once for every [`COURSE`] layers,
//! so that the steps that follow each other find the same one. It is remembered as the top of a chain, and goes like one.

use std::fmt::Write as _;

use kiln_core::{Digest, LayerId, Snapshot};

use crate::layer::{Layer, LayerError};
use crate::store::Store;

/// As many layers are stacked as they are.
const TALL: usize = 32;

/// A multiple of so many becomes one.
const COURSE: usize = 24;

/// With more names than this, linking takes longer than lookups lose.
const NAMES: usize = 50_000;

/// With more layers than this they have to become one, whatever it takes: 500 less those that the caller adds.
const LIMIT: usize = 480;

impl Store {
    /// The layers to stack in a mount of `snapshot`, bottom first.
    ///
    /// # Errors
    /// One of its layers is not there or damaged, or there are too many and the store cannot be written.
    pub fn stack(&self, snapshot: &Snapshot) -> Result<Vec<Layer>, LayerError> {
        let ids = snapshot.mountable();
        let get = |ids: &[LayerId]| ids.iter().map(|id| self.layers().get(id)).collect();
        if ids.len() <= TALL {
            return get(&ids);
        }
        let (low, high) = ids.split_at(ids.len() / COURSE * COURSE);
        match self.flat(low, ids.len() > LIMIT) {
            Ok(None) => get(&ids),
            Ok(Some(flat)) => {
                let mut layers: Vec<Layer> = get(high)?;
                layers.insert(0, flat);
                Ok(layers)
            }
            // A disk without room for it is no reason not to mount what is there.
            Err(LayerError::Io { .. }) if ids.len() <= LIMIT => get(&ids),
            Err(error) => Err(error),
        }
    }

    /// One layer for all of `low`, made if it is not there; `None` if it is not worth it.
    fn flat(&self, low: &[LayerId], needed: bool) -> Result<Option<Layer>, LayerError> {
        let mut text = String::from("kiln flat 1\n");
        for id in low {
            let _ = writeln!(text, "{}", id.0);
        }
        let key = Digest::of(text.as_bytes());
        // An index or a lock that cannot be used costs the work again, no more.
        let known = || {
            let id = self.index().chain(&key).ok().flatten()?;
            self.layers().get(&id).ok()
        };
        if let Some(layer) = known() {
            return Ok(Some(layer));
        }
        let low = Snapshot { layers: low.to_vec() };
        let names: usize =
            self.layers().view(&low)?.layers().iter().map(|l| l.manifest.entries().len()).sum();
        if names > NAMES && !needed {
            return Ok(None);
        }
        let _alone = self.lock(&format!("flat-{}", key.hex()));
        if let Some(layer) = known() {
            return Ok(Some(layer));
        }
        let layer = self.layers().flatten(&low)?;
        let _ = self.index().set_chain(&key, &layer.id);
        Ok(Some(layer))
    }
}
