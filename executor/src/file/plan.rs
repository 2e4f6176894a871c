//! A layer in the making: what will be written onto a base, worked out before anything is written.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_cache::{Attributes, Kind, Timestamp, path_order};

use super::FileError;
use super::owner::Owner;
use super::tree::{Node, Tree, resolve};

/// Where a planned file's bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Bytes {
    /// A file of one of the trees that are copied from.
    Tree {
        /// Index of the tree.
        tree: usize,
        /// Its path there.
        path: PathBuf,
    },
    /// A file of the base: a hard link to it would reach into another layer.
    Base(PathBuf),
    /// Bytes of the Dockerfile.
    Inline(Arc<[u8]>),
    /// Bytes of an archive's member, kept in the spool from this offset on.
    Spool(u64),
}

/// A name that the layer will have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Planned {
    /// Never a whiteout; hard links are to other planned files.
    pub(crate) kind: Kind,
    pub(crate) attributes: Attributes,
    /// Of a regular file.
    pub(crate) bytes: Option<Bytes>,
    /// A directory that hides what the base has at its place.
    pub(crate) hides: bool,
}

/// The names of a layer on top of `base`.
pub(crate) struct Plan<'a> {
    base: &'a dyn Tree,
    /// The time of what has no time of its own.
    pub(crate) now: Timestamp,
    /// By the bytes of their paths, which are compared much faster than paths.
    entries: BTreeMap<OsString, Planned>,
    /// Directories of the base that were taken away, to be replaced.
    removed: BTreeSet<PathBuf>,
    /// The further names of planned files.
    links: BTreeMap<PathBuf, Vec<PathBuf>>,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(base: &'a dyn Tree, now: Timestamp) -> Self {
        Self { base, now, entries: BTreeMap::new(), removed: BTreeSet::new(), links: BTreeMap::new() }
    }

    /// The planned names in order, each directory before what is in it; and the names of the base to be taken away.
    pub(crate) fn finish(mut self) -> (Vec<(PathBuf, Planned)>, Vec<PathBuf>) {
        self.leave_out_unchanged();
        let mut whiteouts = Vec::new();
        for (path, planned) in self.entries.iter().filter(|(_, planned)| planned.hides) {
            let path = Path::new(path);
            let names = self.base.names(path).into_iter().map(|name| path.join(name));
            whiteouts.extend(names.filter(|path| !self.entries.contains_key(path.as_os_str())));
            debug_assert_eq!(planned.kind, Kind::Dir);
        }
        let entries = self.entries.into_iter().map(|(path, planned)| (PathBuf::from(path), planned));
        let mut entries: Vec<(PathBuf, Planned)> = entries.collect();
        entries.sort_by(|a, b| path_order(&a.0, &b.0));
        (entries, whiteouts)
    }

    /// Leaves out what the base has just so. A directory whose time alone would change goes too, if nothing in it stays
    /// (BuildKit's differ does the same).
    fn leave_out_unchanged(&mut self) {
        // What is in a directory comes after it, so from the end it comes first.
        let mut needed: HashSet<&OsStr> = HashSet::new();
        let mut unchanged: Vec<OsString> = Vec::new();
        for (key, planned) in self.entries.iter().rev() {
            let path = Path::new(key);
            let below = if self.shows_base(path) { self.base.node(path) } else { None };
            let same = !planned.hides
                && !needed.contains(key.as_os_str())
                && !self.links.contains_key(path)
                && below.is_some_and(|below| {
                    let (ours, theirs) = (&planned.attributes, &below.attributes);
                    // An empty file of the same second is the same to BuildKit's differ.
                    let empty = matches!(&planned.kind, Kind::File(content) if content.size == 0);
                    let in_time = planned.kind == Kind::Dir
                        || ours.mtime == theirs.mtime
                        || (empty && ours.mtime.seconds == theirs.mtime.seconds);
                    planned.kind == below.kind && in_time && ours.same_but_mtime(theirs)
                });
            if same {
                unchanged.push(key.clone());
            } else {
                needed.extend(path.parent().map(Path::as_os_str));
            }
        }
        for path in unchanged {
            self.entries.remove(&path);
        }
    }

    /// Whether the base still shows at `path`.
    fn shows_base(&self, path: &Path) -> bool {
        self.removed.is_empty()
            || path.ancestors().all(|ancestor| {
                !self.removed.contains(ancestor)
                    && self.entries.get(ancestor.as_os_str()).is_none_or(|e| !e.hides)
            })
    }

    /// Plans `planned` at `path`, whose parent is a directory and gets the present time.
    pub(crate) fn put(&mut self, path: &Path, mut planned: Planned) {
        if let Some(parent) = path.parent() {
            self.keep(parent);
            if let Some(parent) = self.entries.get_mut(parent.as_os_str()) {
                parent.attributes.mtime = self.now;
            }
        }
        planned.hides = planned.kind == Kind::Dir
            && !self.removed.is_empty()
            && !self.shows_base(path)
            && self.base.node(path).is_some_and(|node| node.is_dir());
        if let Kind::HardLink { to } = &planned.kind {
            self.links.entry(to.clone()).or_default().push(path.to_path_buf());
        }
        if let Some(displaced) = self.entries.insert(path.into(), planned) {
            self.pass_on(path, displaced);
        }
    }

    /// Gives the content of a file that has lost its first name to the next of its names.
    fn pass_on(&mut self, path: &Path, displaced: Planned) {
        let Some(names) = self.links.remove(path) else { return };
        let is_link = |plan: &Self, name: &PathBuf| {
            plan.entries
                .get(name.as_os_str())
                .is_some_and(|e| matches!(&e.kind, Kind::HardLink { to } if to == path))
        };
        let mut heirs = names.into_iter().filter(|name| is_link(self, name)).collect::<Vec<_>>().into_iter();
        let Some(first) = heirs.next() else { return };
        let rest: Vec<PathBuf> = heirs.collect();
        for name in &rest {
            if let Some(link) = self.entries.get_mut(name.as_os_str()) {
                link.kind = Kind::HardLink { to: first.clone() };
            }
        }
        self.entries.insert(first.clone().into(), displaced);
        self.links.insert(first, rest);
    }

    /// Takes a directory of the base, and its parents, into the layer as they are: BuildKit lists the parents of changes.
    fn keep(&mut self, directory: &Path) {
        for ancestor in directory.ancestors() {
            if ancestor.as_os_str().is_empty() || self.entries.contains_key(ancestor.as_os_str()) {
                break;
            }
            let attributes =
                self.base.node(ancestor).map_or_else(|| Attributes::root(0o755), |node| node.attributes);
            let planned = Planned { kind: Kind::Dir, attributes, bytes: None, hides: false };
            self.entries.insert(ancestor.into(), planned);
        }
    }

    /// Changes the attributes of a directory that is there, which takes it into the layer.
    pub(crate) fn change(&mut self, directory: &Path, change: impl FnOnce(&mut Attributes)) {
        self.keep(directory);
        if let Some(planned) = self.entries.get_mut(directory.as_os_str()) {
            change(&mut planned.attributes);
        }
    }

    /// Takes away what is at `path`, with all below it. Something else must be put there afterwards.
    pub(crate) fn remove(&mut self, path: &Path) {
        if self.shows_base(path) && self.base.node(path).is_some_and(|node| node.is_dir()) {
            self.removed.insert(path.to_path_buf());
        }
        let mut gone: Vec<OsString> = self.below(path).cloned().collect();
        gone.push(path.into());
        for path in gone {
            if let Some(displaced) = self.entries.remove(&path) {
                self.pass_on(Path::new(&path), displaced);
            }
        }
    }

    /// Says where the bytes of a planned file come from.
    pub(crate) fn give_bytes(&mut self, path: &Path, bytes: Bytes) {
        if let Some(planned) = self.entries.get_mut(path.as_os_str()) {
            planned.bytes = Some(bytes);
        }
    }

    /// The planned entry at exactly `path`.
    pub(crate) fn planned(&self, path: &Path) -> Option<&Planned> {
        self.entries.get(path.as_os_str())
    }

    /// The planned names below a directory, without itself.
    fn below(&self, directory: &Path) -> impl Iterator<Item = &OsString> {
        let mut prefix = directory.as_os_str().to_owned();
        if !prefix.is_empty() {
            prefix.push("/");
        }
        let below = self.entries.range(prefix.clone()..).map(|(path, _)| path);
        let within = move |path: &&OsString| path.as_bytes().starts_with(prefix.as_bytes());
        below.take_while(within).filter(|path| !path.is_empty())
    }

    /// Makes the directory `path`, whose links are followed, with the parents that are missing. Those that are there stay as they are.
    ///
    /// # Errors
    /// If something else is in the way.
    pub(crate) fn make_directories(
        &mut self,
        path: &Path,
        mode: u32,
        owner: Owner,
    ) -> Result<PathBuf, FileError> {
        let path = resolve(self, path)?;
        let mut missing = Vec::new();
        for ancestor in path.ancestors() {
            match self.node(ancestor) {
                None => missing.push(ancestor),
                Some(node) if node.is_dir() => break,
                Some(_) => return Err(FileError::NotADirectory { path: ancestor.to_path_buf() }),
            }
        }
        for directory in missing.into_iter().rev() {
            let attributes =
                Attributes { mode, uid: owner.uid, gid: owner.gid, mtime: self.now, ..Attributes::default() };
            self.put(directory, Planned { kind: Kind::Dir, attributes, bytes: None, hides: false });
        }
        Ok(path)
    }
}

/// The base with the plan carried out: where the next action looks for its destination.
impl Tree for Plan<'_> {
    fn node(&self, path: &Path) -> Option<Node> {
        if let Some(planned) = self.entries.get(path.as_os_str()) {
            let kind = match &planned.kind {
                Kind::HardLink { to } => self.entries.get(to.as_os_str())?.kind.clone(),
                kind => kind.clone(),
            };
            return Some(Node { kind, attributes: planned.attributes.clone(), same_as: None });
        }
        if self.shows_base(path) { self.base.node(path) } else { None }
    }

    fn names(&self, directory: &Path) -> Vec<OsString> {
        let shown = if self.shows_base(directory) { self.base.names(directory) } else { Vec::new() };
        let mut names: BTreeSet<OsString> =
            shown.into_iter().filter(|name| self.node(&directory.join(name)).is_some()).collect();
        let children = self.below(directory).map(Path::new).filter(|path| path.parent() == Some(directory));
        names.extend(children.filter_map(|path| path.file_name().map(OsStr::to_owned)));
        names.into_iter().collect()
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        self.base.open(path)
    }
}
