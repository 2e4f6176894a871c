//! Layers and snapshots: the identities of file trees.

use serde::{Deserialize, Serialize};

use crate::{ContentHash, Digest, StableHash, StableHasher};

/// The identity of a layer on this machine: the BLAKE3 of its whole manifest, mtimes included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LayerId(pub ContentHash);

/// What a layer's files mean to a build: the BLAKE3 of its manifest without mtimes. Equal contents are equal inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContentId(pub ContentHash);

/// The digest of a layer's uncompressed tar (image-spec, config.md#layer-diffid).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DiffId(pub Digest);

/// A root file system: the layers it is made of, bottom first. The empty list is `scratch`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Snapshot {
    /// Bottom first, as in an image.
    pub layers: Vec<LayerId>,
}

impl Snapshot {
    /// No layers.
    pub fn scratch() -> Self {
        Self::default()
    }

    /// This snapshot with one layer more.
    #[must_use]
    pub fn with(&self, layer: LayerId) -> Self {
        let mut layers = self.layers.clone();
        layers.push(layer);
        Self { layers }
    }

    /// The layers to stack in a mount, bottom first. A layer that comes twice is kept where it comes last: everything
    /// in the lower copy is hidden by the upper one, and overlayfs refuses the same directory twice.
    pub fn mountable(&self) -> Vec<LayerId> {
        let mut seen = std::collections::HashSet::new();
        let mut layers: Vec<LayerId> =
            self.layers.iter().rev().filter(|id| seen.insert(**id)).copied().collect();
        layers.reverse();
        layers
    }
}

impl StableHash for LayerId {
    fn stable_hash(&self, into: &mut StableHasher) {
        self.0.stable_hash(into);
    }
}

impl StableHash for ContentId {
    fn stable_hash(&self, into: &mut StableHasher) {
        self.0.stable_hash(into);
    }
}

/// How a layer's tar is stored and sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Compression {
    /// The algorithm.
    pub format: CompressionFormat,
    /// Its level, in the algorithm's own scale; the default of kiln where none is given.
    pub level: Option<i32>,
}

/// A compression algorithm for layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum CompressionFormat {
    /// A plain tar.
    Uncompressed,
    /// gzip, what every consumer reads.
    #[default]
    Gzip,
    /// zstd, faster and smaller; registries and containerd read it.
    Zstd,
}

impl CompressionFormat {
    /// The name in `--output` and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Uncompressed => "uncompressed",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

impl Default for Compression {
    fn default() -> Self {
        Self { format: CompressionFormat::Gzip, level: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_layer_is_mounted_once_at_its_highest_place() {
        let layer = |n: u8| LayerId(ContentHash::of(&[n]));
        let snapshot = Snapshot { layers: vec![layer(1), layer(2), layer(1), layer(3)] };
        assert_eq!(snapshot.mountable(), [layer(2), layer(1), layer(3)]);
    }
}
