//! A whole subtree in order.

use std::path::Path;

use super::super::entry::{self, path_order};
use super::{Directory, Found, View};

impl View {
    /// Everything at and below `path`, parents first, sorted. Nothing if it is not there.
    pub fn walk(&self, path: &Path) -> Vec<Found<'_>> {
        let Some(found) = self.lookup(path) else { return Vec::new() };
        let mut all = vec![found];
        if let Some(directory) = self.directory(path) {
            all.extend(self.merge(&directory));
        }
        all
    }

    /// What lies below a directory: the layers laid over each other, bottom first.
    ///
    /// A layer with few entries costs a copy of the numbers below it, no comparison for each.
    fn merge(&self, directory: &Directory) -> Vec<Found<'_>> {
        let mut merged: Vec<Found<'_>> = Vec::new();
        for place in directory.places.iter().rev() {
            let entries = self.layers[place.layer as usize].manifest.entries();
            let mut over = Vec::with_capacity(merged.len() + place.below.len());
            let mut rest = merged.as_slice();
            for index in place.below.clone() {
                let entry = &entries[index];
                let before =
                    rest.partition_point(|found| path_order(&found.entry().path, &entry.path).is_lt());
                over.extend_from_slice(&rest[..before]);
                rest = &rest[before..];
                if rest.first().is_some_and(|found| found.entry().path == entry.path) {
                    rest = &rest[1..];
                }
                if !entry.is_dir() {
                    let hidden =
                        rest.partition_point(|found| entry::is_within(&found.entry().path, &entry.path));
                    rest = &rest[hidden..];
                }
                if !entry.is_whiteout() {
                    over.push(Found { view: self, layer: place.layer, index: index as u32 });
                }
            }
            over.extend_from_slice(rest);
            merged = over;
        }
        merged
    }
}
