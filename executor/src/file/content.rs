//! What of an input a copy reads, as one hash: the content key of COPY and ADD.
//!
//! | of a source | in the hash | why |
//! | --- | --- | --- |
//! | names, types, contents, link targets | yes | they are the copy |
//! | permissions, owners, capabilities | yes | they are copied; those of context files are root's |
//! | attributes of a directory named as source | no | its content is copied into another one |
//! | mtimes | no | BuildKit leaves them out: a checkout anew is no change |

use std::path::Path;

use kiln_core::{ContentHash, CopySource, FileAction, FileEdit, StableHash as _, StableHasher};

use super::FileError;
use super::select::{Place, Selection};
use super::tree::{Node, Tree, resolve};
use crate::context::hash_kind;

/// Whether `edit` copies anything of input number `index`.
pub(crate) fn reads(edit: &FileEdit, index: usize) -> bool {
    let copies = edit.actions.iter().filter_map(|action| match action {
        FileAction::Copy(copy) => Some(copy),
        FileAction::MakeDir { .. } => None,
    });
    let mut sources = copies.flat_map(|copy| &copy.sources);
    sources.any(|source| matches!(source, CopySource::Path { input, .. } if *input == index))
}

/// The hash of what `edit` reads of input number `index`, which is `tree`.
///
/// # Errors
/// If a source is not there.
pub(crate) fn content(edit: &FileEdit, index: usize, tree: &dyn Tree) -> Result<ContentHash, FileError> {
    let mut hasher = StableHasher::new("kiln copied 1");
    for action in &edit.actions {
        let FileAction::Copy(copy) = action else { continue };
        for source in &copy.sources {
            let CopySource::Path { input, path, required } = source else { continue };
            if *input != index {
                continue;
            }
            let selection = Selection::new(tree, copy, path, *required)?;
            hasher.number(selection.roots.len() as u64);
            for root in &selection.roots {
                root.file_name().map_or(Path::new(""), Path::new).stable_hash(&mut hasher);
                let from = resolve(tree, root)?;
                match tree.node(&from) {
                    Some(node) if node.is_dir() => {
                        hasher.number(0);
                        below(tree, &from, "", &selection, &Place::default(), &mut hasher);
                    }
                    Some(node) => add(&node, &mut hasher),
                    None => hasher.number(u64::MAX),
                }
            }
        }
    }
    Ok(hasher.finish())
}

fn below(
    tree: &dyn Tree,
    directory: &Path,
    relative: &str,
    selection: &Selection,
    place: &Place,
    hasher: &mut StableHasher,
) {
    for name in tree.names(directory) {
        let path = directory.join(&name);
        let Some(node) = tree.node(&path) else { continue };
        let (taken, inner, relative) = if selection.is_all() {
            (true, Place::default(), String::new())
        } else {
            let name = name.to_string_lossy();
            let relative = if relative.is_empty() { name.into_owned() } else { format!("{relative}/{name}") };
            let (taken, inner) = selection.takes(place, &relative);
            (taken, inner, relative)
        };
        let enters = node.is_dir() && (taken || selection.may_take_below(&relative));
        if !taken && !enters {
            continue;
        }
        Path::new(&name).stable_hash(hasher);
        hasher.number(u64::from(taken));
        add(&node, hasher);
        if enters {
            below(tree, &path, &relative, selection, &inner, hasher);
            // The end of a directory, where no name can stand.
            hasher.number(u64::MAX);
        }
    }
}

fn add(node: &Node, hasher: &mut StableHasher) {
    hash_kind(&node.kind, hasher);
    let attributes = &node.attributes;
    for number in [attributes.mode, attributes.uid, attributes.gid] {
        hasher.number(u64::from(number));
    }
    hasher.number(attributes.xattrs.len() as u64);
    for (name, value) in &attributes.xattrs {
        hasher.bytes(name);
        hasher.bytes(value);
    }
}
