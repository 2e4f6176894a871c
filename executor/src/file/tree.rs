//! What copies read and what they write onto, as one kind of thing: a tree of entries that is looked at, not mounted.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};

use kiln_cache::{Attributes, Kind, View, is_within};

use crate::context::ContextTree;

/// A file of a tree. Its kind is never [`Kind::HardLink`] or [`Kind::Whiteout`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) attributes: Attributes,
    /// The first name of a file that has several; `None` for what is known to have one.
    pub(crate) same_as: Option<PathBuf>,
}

impl Node {
    pub(crate) fn is_dir(&self) -> bool {
        self.kind == Kind::Dir
    }
}

/// A file tree. Paths are relative to its root, which is the empty path.
pub(crate) trait Tree: Send + Sync {
    /// What is at `path`; no link is followed.
    fn node(&self, path: &Path) -> Option<Node>;
    /// The names in a directory, in the order of their bytes.
    fn names(&self, directory: &Path) -> Vec<OsString>;
    /// Opens a regular file for reading.
    fn open(&self, path: &Path) -> io::Result<File>;
}

/// More links than any path needs: a loop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("too many links in /{}", .0.display())]
pub struct LinkLoop(pub PathBuf);

const MOST_LINKS: usize = 255;

/// Follows every link in `path`, the last component too, without ever leaving the root. What is not there stands for
/// itself.
pub(crate) fn resolve(tree: &dyn Tree, path: &Path) -> Result<PathBuf, LinkLoop> {
    let mut links = 0;
    let mut resolved = PathBuf::new();
    let mut todo: Vec<OsString> = components(path);
    todo.reverse();
    while let Some(name) = todo.pop() {
        if name == ".." {
            resolved.pop();
            continue;
        }
        resolved.push(&name);
        let Some(Node { kind: Kind::Symlink { target }, .. }) = tree.node(&resolved) else { continue };
        links += 1;
        if links > MOST_LINKS {
            return Err(LinkLoop(path.to_path_buf()));
        }
        if target.is_absolute() {
            resolved = PathBuf::new();
        } else {
            resolved.pop();
        }
        todo.extend(components(&target).into_iter().rev());
    }
    Ok(resolved)
}

/// Follows the links of all but the last component.
pub(crate) fn resolve_parent(tree: &dyn Tree, path: &Path) -> Result<PathBuf, LinkLoop> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok(resolve(tree, parent)?.join(name)),
        _ => resolve(tree, path),
    }
}

/// The names of a path, `..` among them.
fn components(path: &Path) -> Vec<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

impl Tree for ContextTree {
    fn node(&self, path: &Path) -> Option<Node> {
        let entry = self.get(path)?;
        let (kind, same_as) = match &entry.kind {
            Kind::HardLink { to } => (self.get(to)?.kind.clone(), Some(to.clone())),
            Kind::File(_) => (entry.kind.clone(), Some(path.to_path_buf())),
            other => (other.clone(), None),
        };
        Some(Node { kind, attributes: entry.attributes.clone(), same_as })
    }

    fn names(&self, directory: &Path) -> Vec<OsString> {
        let mut below = self.below(directory);
        let mut names = Vec::new();
        while let Some(entry) = below.first() {
            names.extend(entry.path.file_name().map(OsStr::to_owned));
            let inner = if entry.is_dir() {
                below[1..].partition_point(|next| is_within(&next.path, &entry.path))
            } else {
                0
            };
            below = &below[1 + inner..];
        }
        names
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        Self::open(self, path)
    }
}

impl Tree for View {
    fn node(&self, path: &Path) -> Option<Node> {
        let found = self.lookup(path)?;
        let (entry, target) = (found.entry(), found.target());
        // The same path in another layer is another file.
        let same_as = matches!(target.kind, Kind::File(_)).then(|| {
            let layer = found.layer().map(|layer| layer.id.0.hex()).unwrap_or_default();
            Path::new(&layer).join(&target.path)
        });
        Some(Node { kind: target.kind.clone(), attributes: entry.attributes.clone(), same_as })
    }

    fn names(&self, directory: &Path) -> Vec<OsString> {
        let children = self.children(directory);
        children.iter().filter_map(|found| found.entry().path.file_name().map(OsStr::to_owned)).collect()
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        let found = self.lookup(path).ok_or(io::ErrorKind::NotFound)?;
        Self::open(self, &found).map_err(io::Error::other)
    }
}

/// A tree with one regular file of given bytes: a heredoc.
#[derive(Debug)]
pub(crate) struct SingleFile<'a> {
    pub(crate) name: &'a Path,
    pub(crate) node: Node,
}

impl Tree for SingleFile<'_> {
    fn node(&self, path: &Path) -> Option<Node> {
        if path.as_os_str().is_empty() {
            return Some(Node { kind: Kind::Dir, attributes: Attributes::root(0o755), same_as: None });
        }
        (path == self.name).then(|| self.node.clone())
    }

    fn names(&self, directory: &Path) -> Vec<OsString> {
        if directory.as_os_str().is_empty() { vec![self.name.as_os_str().to_owned()] } else { Vec::new() }
    }

    fn open(&self, _path: &Path) -> io::Result<File> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The empty tree: `scratch`.
#[derive(Debug)]
pub(crate) struct Nothing;

impl Tree for Nothing {
    fn node(&self, path: &Path) -> Option<Node> {
        let root = Node { kind: Kind::Dir, attributes: Attributes::root(0o755), same_as: None };
        path.as_os_str().is_empty().then_some(root)
    }

    fn names(&self, _directory: &Path) -> Vec<OsString> {
        Vec::new()
    }

    fn open(&self, _path: &Path) -> io::Result<File> {
        Err(io::ErrorKind::NotFound.into())
    }
}
