//! Following the symbolic links of a view, inside its root.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use super::super::entry::{self, Kind};
use super::super::rooted::Links;
use super::{Found, View};

/// Where a path leads.
#[derive(Debug, Clone)]
pub struct Resolved<'a> {
    /// Without links, relative to the root.
    pub path: PathBuf,
    /// What is there, if anything is.
    pub found: Option<Found<'a>>,
}

/// Why a path leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// Something on the way is a file.
    #[error("`{0}` is not a directory")]
    NotDirectory(PathBuf),
    /// A link leads to itself by some way.
    #[error("too many symbolic links in `{0}`")]
    Loop(PathBuf),
}

/// As many as Linux follows, and then some: other builders follow 255.
const LINKS: usize = 255;

impl View {
    /// Follows `path` (absolute or not, with `..` or not) from the root. Parts that are not there are taken as
    /// written. A link at the end is followed if `last` says so.
    ///
    /// # Errors
    /// A file in the middle of the path, or a loop of links.
    pub fn resolve(&self, path: &Path, last: Links) -> Result<Resolved<'_>, ResolveError> {
        let mut left: VecDeque<OsString> = parts(path).collect();
        // The directories from the root to `at`; `None` below the first that is not there.
        let mut open = vec![Some(self.top())];
        let mut at = PathBuf::new();
        let mut found = Some(self.root());
        let mut links = 0;
        while let Some(part) = left.pop_front() {
            if part == ".." {
                if at.pop() {
                    open.pop();
                }
                found = None;
                continue;
            }
            let next = entry::join(&at, &part);
            let child =
                open.last().and_then(Option::as_ref).and_then(|directory| self.child(directory, &next));
            let Some((child, below)) = child else {
                found = None;
                at = next;
                open.push(None);
                continue;
            };
            match &child.target().kind {
                Kind::Symlink { target } if !left.is_empty() || last == Links::Followed => {
                    links += 1;
                    if links > LINKS {
                        return Err(ResolveError::Loop(path.to_owned()));
                    }
                    if target.is_absolute() {
                        at = PathBuf::new();
                        open.truncate(1);
                    }
                    found = None;
                    for part in parts(target).rev() {
                        left.push_front(part);
                    }
                    continue;
                }
                Kind::Dir => {}
                _ if left.is_empty() => {}
                _ => return Err(ResolveError::NotDirectory(next)),
            }
            found = Some(child);
            at = next;
            open.push(Some(below));
        }
        // After `..` or a link to the root, what is there has not been looked at.
        let found = found.or_else(|| self.lookup(&at));
        Ok(Resolved { path: at, found })
    }
}

fn parts(path: &Path) -> impl DoubleEndedIterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}
