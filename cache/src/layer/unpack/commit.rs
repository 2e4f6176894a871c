//! What an unpacked archive becomes when the layers below it are known.

use std::path::{Path, PathBuf};

use kiln_core::Snapshot;

use super::super::entry::{self, Attributes, Kind};
use super::super::error::{LayerError, MemberError};
use super::super::flatten;
use super::super::layers::Layer;
use super::super::rooted::Links;
use super::super::view::View;
use super::super::writer::TreeWriter;
use super::{Notes, Unpacked, missing_parents};

impl Unpacked {
    /// Makes it a layer over `below`.
    ///
    /// Directories that the archive only implied look as they do below, or are the ones that a link there leads to.
    /// Opaque directories become whiteouts of what they hide; a whiteout of nothing, which a mount would show, is
    /// dropped.
    ///
    /// # Errors
    /// `below` is not in the store, a hard link leads to nothing, or the store cannot be written.
    pub fn commit(self, below: &Snapshot) -> Result<Layer, LayerError> {
        let view = self.draft.layers().view(below)?;
        let mut finish = Finish { writer: &self.writer, view: &view, notes: self.notes };
        finish.follow_links_below()?;
        finish.describe_implied()?;
        finish.link_to_below()?;
        finish.whiteouts()?;
        finish.opaque()?;
        let manifest = self.writer.finish()?;
        self.draft.commit(manifest)
    }
}

struct Finish<'a> {
    writer: &'a TreeWriter,
    view: &'a View,
    notes: Notes,
}

impl Finish<'_> {
    /// An implied directory that is a link below (`lib` → `usr/lib`): its content goes to where the link leads.
    fn follow_links_below(&mut self) -> Result<(), LayerError> {
        let mut passed: Option<PathBuf> = None;
        loop {
            let next = self.notes.implied.iter().find(|path| {
                passed.as_ref().is_none_or(|passed| entry::path_order(path, passed).is_gt())
                    && self.writer.recorded(path) == Some(Kind::Dir)
            });
            // The set's own order is by component too, so nothing is passed over.
            let Some(path) = next.cloned() else { return Ok(()) };
            let below = self.view.lookup(&path);
            let is_link = below.is_some_and(|found| matches!(found.target().kind, Kind::Symlink { .. }));
            if is_link
                && let Ok(to) = self.view.resolve(&path, Links::Followed)
                && to.found.is_none_or(|found| found.entry().is_dir())
                && !entry::is_within(&to.path, &path)
            {
                let within = |other: &&PathBuf| entry::is_within(other, &path);
                let implied: Vec<PathBuf> = self.notes.implied.iter().filter(within).cloned().collect();
                self.move_below(&path, &to.path, &implied)?;
            }
            passed = Some(path);
        }
    }

    fn move_below(&mut self, from: &Path, to: &Path, implied: &[PathBuf]) -> Result<(), LayerError> {
        self.imply(&entry::join(to, "child".as_ref()))?;
        for old in self.writer.names_below(from) {
            let new = to.join(old.strip_prefix(from).expect("it lies below"));
            let there = self.writer.recorded(&new);
            match (self.writer.entry(&old), there) {
                (Some(moved), there) if moved.is_dir() => {
                    let was_implied = implied.contains(&old);
                    if there != Some(Kind::Dir) || !was_implied {
                        self.writer.dir(&new, &moved.attributes)?;
                    }
                    if was_implied && there.is_none() {
                        self.notes.implied.insert(new);
                    }
                }
                // What the archive has written there under its real name stays.
                (Some(_), None) => self.writer.rename(&old, &new)?,
                (Some(_) | None, _) => {}
            }
        }
        self.writer.remove(from)?;
        self.notes.implied.retain(|path| !entry::is_within(path, from));
        Ok(())
    }

    fn describe_implied(&mut self) -> Result<(), LayerError> {
        for path in &self.notes.implied {
            if self.writer.recorded(path) == Some(Kind::Dir) {
                self.writer.dir(path, &self.directory_below(path))?;
            }
        }
        Ok(())
    }

    /// Links to files of the layers below become copies: two paths that share an inode across layers would look like
    /// one file to a step.
    fn link_to_below(&mut self) -> Result<(), LayerError> {
        for (path, to) in std::mem::take(&mut self.notes.links) {
            if self.writer.recorded(&path).is_some() {
                continue;
            }
            if self.writer.recorded(&to).is_some_and(|kind| kind != Kind::Dir) {
                self.imply(&path)?;
                self.writer.hard_link(&path, &to)?;
                continue;
            }
            let found = self.view.lookup(&to).filter(|found| !found.entry().is_dir());
            let found = found.ok_or_else(|| MemberError::LinkTarget(to.clone()).at(&path))?;
            self.imply(&path)?;
            flatten::copy(self.writer, self.view, &found, &path)?;
        }
        Ok(())
    }

    fn whiteouts(&mut self) -> Result<(), LayerError> {
        for path in std::mem::take(&mut self.notes.whiteouts) {
            match self.writer.recorded(&path) {
                // Taken away and made anew: nothing of the old directory is left.
                Some(Kind::Dir) => {
                    self.notes.opaque.insert(path);
                }
                Some(_) => {}
                None => self.whiteout(&path)?,
            }
        }
        Ok(())
    }

    fn whiteout(&mut self, path: &Path) -> Result<(), LayerError> {
        let Some((parent, name)) = entry::split(path) else { return Ok(()) };
        let mut path = path.to_owned();
        if self.writer.recorded(parent).is_none() {
            let Ok(real) = self.view.resolve(parent, Links::Followed) else { return Ok(()) };
            path = entry::join(&real.path, name);
        }
        if self.writer.recorded(&path).is_some() || self.view.lookup(&path).is_none() {
            return Ok(());
        }
        let parents_are_directories = path.ancestors().skip(1).all(|parent| {
            matches!(self.writer.recorded(parent), None | Some(Kind::Dir)) || parent.as_os_str().is_empty()
        });
        if parents_are_directories {
            self.imply(&path)?;
            self.writer.whiteout(&path)?;
        }
        Ok(())
    }

    fn opaque(&mut self) -> Result<(), LayerError> {
        for path in std::mem::take(&mut self.notes.opaque) {
            match self.writer.recorded(&path) {
                Some(Kind::Dir) => self.hide(&path)?,
                None if self.view.lookup(&path).is_some_and(|found| found.entry().is_dir()) => {
                    self.imply(&path.join("child"))?;
                    self.hide(&path)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whiteouts for all that the directory has below and not in this layer.
    fn hide(&self, directory: &Path) -> Result<(), LayerError> {
        let is_directory = self.view.lookup(directory).is_some_and(|found| found.entry().is_dir());
        let children = if is_directory { self.view.children(directory) } else { Vec::new() };
        for below in children {
            let path = &below.entry().path;
            match self.writer.recorded(path) {
                None => self.writer.whiteout(path)?,
                Some(Kind::Dir) if below.entry().is_dir() => self.hide(path)?,
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Makes the directories above `path` as they are below.
    fn imply(&mut self, path: &Path) -> Result<(), LayerError> {
        for parent in missing_parents(self.writer, path) {
            self.writer.dir(&parent, &self.directory_below(&parent))?;
        }
        Ok(())
    }

    fn directory_below(&self, path: &Path) -> Attributes {
        let below = self.view.lookup(path).filter(|found| found.entry().is_dir());
        below.map_or_else(|| Attributes::root(0o755), |found| found.entry().attributes.clone())
    }
}
