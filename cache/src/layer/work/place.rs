//! Writing what layers say into a directory that is no layer.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use rustix::fs::{CWD, Mode, OFlags, futimens, mkdirat, openat};
use rustix::io::Errno;

use super::super::entry::{self, Attributes, Entry, Kind, Timestamp};
use super::super::error::LayerError;
use super::super::layers::Layer;
use super::super::rooted::{Links, Rooted};
use super::super::view::View;
use super::super::writer::{Node, TreeWriter, apply, times};
use crate::store::OverlayXattrs;

/// What was written.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Regular files, by any of their names.
    pub(super) files: Vec<PathBuf>,
    /// Devices that the kernel did not let us make.
    pub(super) absent: Vec<PathBuf>,
}

/// Copies what `view` shows at `path` into `into`: a directory's content, anything else under its own name. Owners go where
/// `form` has them.
pub(crate) fn lay_out(
    view: &View,
    path: &Path,
    into: &Path,
    form: OverlayXattrs,
) -> Result<Written, LayerError> {
    let writer = TreeWriter::new(into, form)?;
    let walk = view.walk(path);
    let is_dir = walk.first().is_some_and(|found| found.entry().is_dir());
    let top = if is_dir { path } else { path.parent().unwrap_or(Path::new("")) };
    let mut written = Written::default();
    let mut files = Vec::new();
    let mut links = Vec::new();
    // Names of one file become names of one file again.
    let mut first_names: HashMap<*const Entry, PathBuf> = HashMap::new();
    for found in &walk {
        let relative = found.entry().path.strip_prefix(top).expect("a walk stays below its start").to_owned();
        let target = found.target();
        if target.is_dir() {
            writer.dir(&relative, &target.attributes)?;
            continue;
        }
        if let Some(first) = first_names.get(&std::ptr::from_ref(target)) {
            links.push((relative, first.clone()));
            continue;
        }
        first_names.insert(std::ptr::from_ref(target), relative.clone());
        if matches!(target.kind, Kind::File(_)) {
            files.push((relative, found));
        } else if !special(&writer, &relative, target)? {
            written.absent.push(relative);
        }
    }
    files.par_iter().try_for_each(|(path, found)| {
        writer.copy_file(path, &found.target().attributes, &view.open(found)?).map(drop)
    })?;
    written.files = files.into_iter().map(|(path, _)| path).collect();
    for (path, first) in links {
        if written.absent.contains(&first) {
            written.absent.push(path);
            continue;
        }
        writer.hard_link(&path, &first)?;
        written.files.push(path);
    }
    writer.finish()?;
    Ok(written)
}

/// Puts a layer over a tree that shows `view`.
pub(super) fn put_over(tree: &Path, view: &View, layer: &Layer) -> Result<Written, LayerError> {
    let writer = TreeWriter::over(tree, view)?;
    let mut written = Written::default();
    for entry in layer.manifest.entries() {
        let path = entry.path.as_path();
        match &entry.kind {
            Kind::Dir => writer.dir(path, &entry.attributes)?,
            Kind::File(_) => {
                writer.copy_file(path, &entry.attributes, &layer.open(path)?)?;
                written.files.push(path.to_owned());
            }
            Kind::HardLink { to } if written.absent.contains(to) => written.absent.push(path.to_owned()),
            Kind::HardLink { to } => {
                writer.hard_link(path, to)?;
                written.files.extend([to.clone(), path.to_owned()]);
            }
            Kind::Whiteout => writer.remove(path)?,
            Kind::Symlink { .. } | Kind::Char(_) | Kind::Block(_) | Kind::Fifo => {
                if !special(&writer, path, entry)? {
                    written.absent.push(path.to_owned());
                }
            }
        }
    }
    let root = Rooted::open(tree).map_err(LayerError::io("open the tree", tree))?;
    for entry in layer.manifest.entries().iter().filter(|entry| entry.is_dir()) {
        set_time(&root, &entry.path, entry.attributes.mtime)?;
    }
    Ok(written)
}

/// Writes a link, device or pipe; whether that could be done.
fn special(writer: &TreeWriter, path: &Path, entry: &Entry) -> Result<bool, LayerError> {
    let node = match &entry.kind {
        Kind::Symlink { target } => return writer.symlink(path, target, &entry.attributes).map(|()| true),
        Kind::Char(device) => Node::Char(*device),
        Kind::Block(device) => Node::Block(*device),
        _ => Node::Fifo,
    };
    match writer.node(path, node, &entry.attributes) {
        Err(LayerError::Io { cause, .. })
            if cause.kind() == io::ErrorKind::PermissionDenied && node != Node::Fifo =>
        {
            Ok(false)
        }
        made => made.map(|()| true),
    }
}

/// Gives a directory its time.
pub(crate) fn set_time(root: &Rooted, path: &Path, time: Timestamp) -> Result<(), LayerError> {
    let directory = root.directory(path, Links::Refused);
    let set = directory.and_then(|directory| Ok(futimens(directory, &times(time))?));
    set.map_err(LayerError::io("set the time of", path))
}

/// Makes `path` and what is missing above it, and leaves the times of what is there alone.
pub(super) fn make_directory(tree: &Path, path: &Path, attributes: &Attributes) -> Result<(), LayerError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut current = PathBuf::new();
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |errno: Errno| LayerError::io("make the directory", path)(errno.into())
    };
    let mut parent = openat(CWD, tree, flags, Mode::empty()).map_err(failed(path))?;
    for name in path.components() {
        let name = name.as_os_str();
        current = entry::join(&current, name);
        let before = rustix::fs::fstat(&parent).map_err(failed(&current))?;
        let made = match mkdirat(&parent, name, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(failed(&current)(errno)),
        };
        let child = openat(&parent, name, flags, Mode::empty()).map_err(failed(&current))?;
        if made {
            apply(&child, attributes, Some(attributes.mtime), OverlayXattrs::Plain)
                .map_err(LayerError::io("set the attributes of", &current))?;
            let time = Timestamp { seconds: before.st_mtime, nanoseconds: before.st_mtime_nsec as u32 };
            futimens(&parent, &times(time)).map_err(failed(&current))?;
        }
        parent = child;
    }
    Ok(())
}
