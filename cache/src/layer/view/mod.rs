//! A snapshot as one file system: the manifests of its layers, merged without touching a tree.

mod content;
mod resolve;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};

use kiln_core::ContentHash;

use super::entry::{self, Attributes, Entry, FileContent, Kind};
use super::error::LayerError;
use super::layers::Layer;

pub use resolve::{ResolveError, Resolved};

/// A snapshot as one file system. What it answers comes from manifests alone, but for [`View::open`].
#[derive(Debug)]
pub struct View {
    /// Bottom first, each once.
    layers: Vec<Layer>,
    /// Digests of whole subtrees, which are asked for again and again.
    contents: Mutex<HashMap<PathBuf, ContentHash>>,
}

/// An entry of a view: the one that is seen at its path.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    view: &'a View,
    /// [`ROOT`] for the root that no layer describes.
    layer: u32,
    index: u32,
}

/// A directory of a view: where its content is in each layer that adds to it.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    /// Topmost first.
    places: Vec<Place>,
}

#[derive(Debug, Clone)]
struct Place {
    layer: u32,
    /// The entries below the directory.
    below: Range<usize>,
}

const ROOT: u32 = u32::MAX;

/// The root of a snapshot in which no layer says anything of it.
static ROOT_ENTRY: LazyLock<Entry> =
    LazyLock::new(|| Entry { path: PathBuf::new(), kind: Kind::Dir, attributes: Attributes::root(0o755) });

impl View {
    /// The view of these layers, bottom first, in which none comes twice.
    pub(crate) fn new(layers: Vec<Layer>) -> Self {
        Self { layers, contents: Mutex::default() }
    }

    /// The layers that are seen, bottom first.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The entry at `path`, relative to the root; no link is followed. The root (the empty path) is always there.
    pub fn lookup(&self, path: &Path) -> Option<Found<'_>> {
        if path.as_os_str().is_empty() {
            return Some(self.root());
        }
        let path = entry::from_bytes(entry::bytes(path));
        let mut directory = self.top();
        let bytes = entry::bytes(path);
        for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            (_, directory) = self.child(&directory, entry::from_bytes(&bytes[..at]))?;
        }
        self.child(&directory, path).map(|(found, _)| found)
    }

    /// The root directory.
    pub fn root(&self) -> Found<'_> {
        let described =
            self.layers.iter().rposition(|layer| layer.manifest.entries().first().is_some_and(is_root));
        Found { view: self, layer: described.map_or(ROOT, |index| index as u32), index: 0 }
    }

    /// What is in the directory at `path`, sorted by name. Nothing if it is no directory.
    pub fn children(&self, path: &Path) -> Vec<Found<'_>> {
        self.directory(path).map(|directory| self.list(&directory)).unwrap_or_default()
    }

    /// Opens a file's content. Links and devices cannot be opened.
    ///
    /// # Errors
    /// Those of `openat2` in the layer's tree.
    pub fn open(&self, found: &Found<'_>) -> Result<File, LayerError> {
        let path = &found.entry().path;
        match self.layers.get(found.layer as usize) {
            Some(layer) => layer.open(path),
            None => Err(LayerError::NoDirectory(path.clone())),
        }
    }

    /// Where the content of the directory at `path` is.
    pub(crate) fn directory(&self, path: &Path) -> Option<Directory> {
        let mut directory = self.top();
        let bytes = entry::bytes(path);
        let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in ends.chain((!bytes.is_empty()).then_some(bytes.len())) {
            let (found, below) = self.child(&directory, entry::from_bytes(&bytes[..end]))?;
            if !found.entry().is_dir() {
                return None;
            }
            directory = below;
        }
        Some(directory)
    }

    /// The root as a directory.
    pub(crate) fn top(&self) -> Directory {
        let places = self.layers.iter().enumerate().rev().map(|(layer, of)| {
            let entries = of.manifest.entries();
            Place {
                layer: layer as u32,
                below: usize::from(entries.first().is_some_and(is_root))..entries.len(),
            }
        });
        Directory { places: places.filter(|place| !place.below.is_empty()).collect() }
    }

    /// The entry at `path`, which lies directly in `parent`, and what is below it.
    pub(crate) fn child(&self, parent: &Directory, path: &Path) -> Option<(Found<'_>, Directory)> {
        let mut seen = None;
        let mut places = Vec::new();
        for place in &parent.places {
            let manifest = &self.layers[place.layer as usize].manifest;
            let Some(index) = manifest.find(path, place.below.clone()) else { continue };
            let entry = &manifest.entries()[index];
            if entry.is_dir() {
                let below = manifest.below_in(index, place.below.end);
                places.push(Place { layer: place.layer, below });
            }
            if seen.is_none() {
                if entry.is_whiteout() {
                    return None;
                }
                seen = Some(Found { view: self, layer: place.layer, index: index as u32 });
            }
            if !entry.is_dir() {
                break;
            }
        }
        places.retain(|place| !place.below.is_empty());
        seen.map(|found| (found, Directory { places }))
    }

    /// What is in `directory`, sorted by name.
    pub(crate) fn list(&self, directory: &Directory) -> Vec<Found<'_>> {
        // The topmost entry of each name decides, but for whiteouts that only take away.
        let mut names: std::collections::BTreeMap<&Path, Found<'_>> = std::collections::BTreeMap::new();
        for place in &directory.places {
            let manifest = &self.layers[place.layer as usize].manifest;
            let mut index = place.below.start;
            while index < place.below.end {
                let entry = &manifest.entries()[index];
                let found = Found { view: self, layer: place.layer, index: index as u32 };
                names.entry(&entry.path).or_insert(found);
                index = manifest.below_in(index, place.below.end).end;
            }
        }
        names.into_values().filter(|found| !found.entry().is_whiteout()).collect()
    }
}

impl<'a> Found<'a> {
    /// What is there.
    pub fn entry(&self) -> &'a Entry {
        match self.layer() {
            Some(layer) => &layer.manifest.entries()[self.index as usize],
            None => &ROOT_ENTRY,
        }
    }

    /// The layer it comes from. `None` for a root that no layer describes.
    pub fn layer(&self) -> Option<&'a Layer> {
        self.view.layers.get(self.layer as usize)
    }

    /// The bytes of a regular file, under whichever of its names.
    pub fn content(&self) -> Option<FileContent> {
        self.layer().and_then(|layer| layer.manifest.content(self.entry()))
    }

    /// The entry that says what it is: another one for a further name of a hard-linked file.
    pub fn target(&self) -> &'a Entry {
        match self.layer() {
            Some(layer) => layer.manifest.target(self.entry()),
            None => self.entry(),
        }
    }
}

fn is_root(entry: &Entry) -> bool {
    entry.path.as_os_str().is_empty()
}
