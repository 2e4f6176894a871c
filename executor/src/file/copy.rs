//! COPY and ADD of files: which entry goes where with which attributes (BuildKit's rules, see the tests for the odd ones).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use kiln_cache::{Attributes, Kind};

use super::FileError;
use super::mode::SymbolicMode;
use super::owner::Owner;
use super::plan::{Bytes, Plan, Planned};
use super::select::{Place, Selection};
use super::tree::{Node, Tree, resolve};

/// `--chmod`, parsed.
#[derive(Debug, Clone)]
pub(crate) enum ModeChange {
    Octal(u32),
    Symbolic(SymbolicMode),
}

impl ModeChange {
    fn apply(&self, mode: u32, directory: bool) -> u32 {
        match self {
            Self::Octal(bits) => *bits,
            Self::Symbolic(symbolic) => symbolic.apply(mode, directory),
        }
    }
}

/// Where copies go and what becomes of their attributes.
#[derive(Debug)]
pub(crate) struct Destination<'a> {
    /// Absolute; a trailing slash makes it a directory.
    pub(crate) path: &'a str,
    pub(crate) owner: Option<Owner>,
    pub(crate) chmod: Option<&'a ModeChange>,
}

impl Destination<'_> {
    /// The owner of directories made on the way.
    pub(crate) fn new_owner(&self) -> Owner {
        self.owner.unwrap_or(Owner { uid: 0, gid: 0 })
    }

    /// The permission bits of directories made on the way: without setuid, setgid and sticky bit.
    fn new_mode(&self) -> u32 {
        match self.chmod {
            Some(ModeChange::Octal(bits)) => bits & 0o777,
            Some(ModeChange::Symbolic(_)) | None => 0o755,
        }
    }

    /// The destination relative to the root.
    pub(crate) fn relative(&self) -> PathBuf {
        PathBuf::from(kiln_core::path::clean(&format!("/{}", self.path)).trim_start_matches('/'))
    }

    fn attributes(&self, node: &Node) -> Attributes {
        let mut attributes = node.attributes.clone();
        if let Some(owner) = self.owner {
            (attributes.uid, attributes.gid) = (owner.uid, owner.gid);
        }
        if let (Some(change), false) = (self.chmod, matches!(node.kind, Kind::Symlink { .. })) {
            attributes.mode = change.apply(attributes.mode, node.is_dir());
        }
        attributes
    }
}

/// Copies one root of a selection from `source`, which is tree number `source.0` of the step. Returns where it went.
///
/// # Errors
/// If the destination has something in the way, or the source is not there.
pub(crate) fn copy_root(
    plan: &mut Plan<'_>,
    source: (usize, &dyn Tree),
    root: &Path,
    selection: &Selection,
    to: &Destination<'_>,
) -> Result<PathBuf, FileError> {
    let from = resolve(source.1, root)?;
    let Some(node) = source.1.node(&from) else {
        return Err(FileError::NotFound { path: format!("/{}", root.display()), left_out: None });
    };
    let destination = to.relative();
    let ensured = match destination.parent() {
        Some(parent) if !to.path.ends_with('/') => parent,
        _ => &destination,
    };
    plan.make_directories(ensured, to.new_mode(), to.new_owner())?;
    let mut target = resolve(plan, &destination)?;
    let existing = plan.node(&target);
    if !node.is_dir() && existing.as_ref().is_some_and(Node::is_dir) {
        target.push(root.file_name().unwrap_or_default());
    }
    let made = match target.parent() {
        _ if node.is_dir() && existing.is_none() => target.as_path(),
        Some(parent) => parent,
        None => Path::new(""),
    };
    plan.make_directories(made, to.new_mode(), to.new_owner())?;
    let mut copier = Copier { plan, source, selection, to, links: HashMap::new(), pending: Vec::new() };
    if !node.is_dir() {
        copier.file(&from, &node, &target)?;
        return Ok(target);
    }
    if !copier.plan.node(&target).is_some_and(|node| node.is_dir()) {
        return Err(FileError::NotADirectory { path: target });
    }
    copier.children(&from, "", &target, &Place::default())?;
    // The top directory keeps its mode and owner, whether it is new or not, but gets the source's time.
    plan.change(&target, |attributes| attributes.mtime = node.attributes.mtime);
    Ok(target)
}

struct Copier<'p, 'b, 'a> {
    plan: &'p mut Plan<'b>,
    source: (usize, &'a dyn Tree),
    selection: &'a Selection,
    to: &'a Destination<'a>,
    /// The first copy of a file with several names.
    links: HashMap<PathBuf, PathBuf>,
    /// Directories that are made once something in them is taken: their node and place.
    pending: Vec<(Node, PathBuf, bool)>,
}

impl Copier<'_, '_, '_> {
    /// Copies what is in the directory `from`; `below` is its path relative to the root of the copy.
    fn children(&mut self, from: &Path, below: &str, target: &Path, place: &Place) -> Result<(), FileError> {
        for name in self.source.1.names(from) {
            let path = from.join(&name);
            let Some(node) = self.source.1.node(&path) else { continue };
            let (taken, inner, relative) = if self.selection.is_all() {
                (true, Place::default(), String::new())
            } else {
                let name = name.to_string_lossy();
                let relative = if below.is_empty() { name.into_owned() } else { format!("{below}/{name}") };
                let (taken, inner) = self.selection.takes(place, &relative);
                (taken, inner, relative)
            };
            let target = target.join(&name);
            if node.is_dir() {
                self.directory(&path, node, &relative, &target, taken, &inner)?;
            } else if taken {
                self.make_pending()?;
                self.file(&path, &node, &target)?;
            }
        }
        Ok(())
    }

    fn directory(
        &mut self,
        from: &Path,
        node: Node,
        relative: &str,
        target: &Path,
        taken: bool,
        place: &Place,
    ) -> Result<(), FileError> {
        if !taken {
            if self.selection.may_take_below(relative) {
                self.pending.push((node, target.to_path_buf(), false));
                self.children(from, relative, target, place)?;
                self.pending.pop();
            }
            return Ok(());
        }
        self.make_pending()?;
        let attributes = self.to.attributes(&node);
        let mtime = attributes.mtime;
        match self.plan.node(target) {
            None => self.plan.put(target, directory(attributes)),
            Some(existing) if existing.is_dir() => self.plan.change(target, |kept| *kept = attributes),
            Some(_) => return Err(FileError::NotADirectory { path: target.to_path_buf() }),
        }
        // Everything in a directory that is taken finds its parents made.
        let pending = std::mem::take(&mut self.pending);
        self.children(from, relative, target, place)?;
        self.pending = pending;
        self.plan.change(target, |attributes| attributes.mtime = mtime);
        Ok(())
    }

    /// Makes the directories on the way to something that is taken. They keep their mode, not their time.
    fn make_pending(&mut self) -> Result<(), FileError> {
        for (node, target, made) in &mut self.pending {
            if std::mem::replace(made, true) {
                continue;
            }
            let mut attributes = self.to.attributes(node);
            attributes.mtime = self.plan.now;
            match self.plan.node(target) {
                None => self.plan.put(target, directory(attributes)),
                Some(existing) if existing.is_dir() => {
                    self.plan.change(target, |kept| kept.mode = node.attributes.mode);
                }
                Some(_) => return Err(FileError::NotADirectory { path: target.clone() }),
            }
        }
        Ok(())
    }

    /// Copies anything but a directory.
    fn file(&mut self, from: &Path, node: &Node, target: &Path) -> Result<(), FileError> {
        if self.plan.node(target).is_some_and(|existing| existing.is_dir()) {
            return Err(FileError::FileOverDirectory { path: target.to_path_buf() });
        }
        let attributes = self.to.attributes(node);
        let bytes = matches!(node.kind, Kind::File(_))
            .then(|| Bytes::Tree { tree: self.source.0, path: from.to_path_buf() });
        let mut kind = node.kind.clone();
        if let (Kind::File(_), Some(first)) = (&kind, &node.same_as) {
            match self.links.get(first) {
                Some(to) => kind = Kind::HardLink { to: to.clone() },
                None => drop(self.links.insert(first.clone(), target.to_path_buf())),
            }
        }
        let bytes = if matches!(kind, Kind::HardLink { .. }) { None } else { bytes };
        self.plan.put(target, Planned { kind, attributes, bytes, hides: false });
        Ok(())
    }
}

/// A new directory.
pub(crate) fn directory(attributes: Attributes) -> Planned {
    Planned { kind: Kind::Dir, attributes, bytes: None, hides: false }
}
