//! A long chain of layers as one, by hard links.

use std::collections::HashMap;
use std::path::Path;

use kiln_core::Snapshot;

use super::entry::{Entry, Kind};
use super::error::LayerError;
use super::layers::{Layer, Layers};
use super::view::{Found, View};
use super::writer::{Node, TreeWriter};

pub(crate) fn flatten(layers: &Layers, snapshot: &Snapshot) -> Result<Layer, LayerError> {
    let view = layers.view(snapshot)?;
    let draft = layers.draft()?;
    let writer = draft.writer()?;
    // Names of one file become names of one file again.
    let mut first_names: HashMap<*const Entry, &Path> = HashMap::new();
    for found in view.walk(Path::new("")) {
        let path = found.entry().path.as_path();
        let target = found.target();
        match first_names.get(&std::ptr::from_ref(target)) {
            Some(first) => writer.hard_link(path, first)?,
            None => copy(&writer, &view, &found, path)?,
        }
        if !target.is_dir() {
            first_names.insert(std::ptr::from_ref(target), path);
        }
    }
    draft.commit(writer.finish()?)
}

/// Writes what a view shows at one place, linked to the layer it comes from where that can be.
pub(crate) fn copy(
    writer: &TreeWriter,
    view: &View,
    found: &Found<'_>,
    path: &Path,
) -> Result<(), LayerError> {
    let from = found.target();
    let attributes = &from.attributes;
    match &from.kind {
        Kind::Dir => writer.dir(path, attributes),
        Kind::File(_) => {
            if let Some(layer) = found.layer()
                && writer.link_from_layer(path, attributes, layer)?.is_some()
            {
                return Ok(());
            }
            writer.copy_file(path, attributes, &view.open(found)?).map(drop)
        }
        Kind::Symlink { target } => writer.symlink(path, target, attributes),
        Kind::Char(device) => writer.node(path, Node::Char(*device), attributes),
        Kind::Block(device) => writer.node(path, Node::Block(*device), attributes),
        Kind::Fifo => writer.node(path, Node::Fifo, attributes),
        Kind::HardLink { .. } | Kind::Whiteout => unreachable!("a view shows neither as such"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TestLayers, assert_tree_is_manifest, seen};
    use super::*;

    #[test]
    fn one_layer_shows_what_the_chain_shows() {
        let store = TestLayers::new();
        let chain = store.snapshot(&[
            "d / 0711\nd a\nf a/x =1\nf a/y =2\nh z ==a/y\nf b =3",
            "w b\nd a 0700\nw a/x\nf a/y =new\nl l ->a\np p",
            "d c\nf c/in =4\nh c/too ==c/in",
        ]);
        let flat = store.layers.flatten(&chain).unwrap();
        assert_tree_is_manifest(&flat);
        let look = |snapshot: &Snapshot| {
            let view = store.layers.view(snapshot).unwrap();
            (seen(&view.walk(Path::new(""))), view.content(Path::new("")))
        };
        assert_eq!(look(&Snapshot::scratch().with(flat.id)), look(&chain));
    }
}
