//! Deleting without waiting: a rename into `trash/`, then a thread that removes what lies there.
//!
//! Removing data that was written back costs ten times the writing of a name; a rename costs microseconds. What a
//! process that ended early leaves in `trash/` is removed by the next one.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

/// The directory of things that are going. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Trash {
    dir: PathBuf,
    reaper: Arc<Mutex<Option<Sender<PathBuf>>>>,
}

impl Trash {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir, reaper: Arc::default() }
    }

    /// Takes `path` out of its place at once and removes it in the background. What is not there is no error.
    pub(crate) fn put(&self, path: &Path) -> io::Result<()> {
        if let Some(gone) = self.take(path)? {
            self.reap_later(gone);
        }
        Ok(())
    }

    /// Takes `path` out of its place and leaves the removing to [`Trash::empty`] or to a later process.
    pub(crate) fn take(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        let gone = self.dir.join(crate::session::random_name());
        match fs::rename(path, &gone) {
            Ok(()) => Ok(Some(gone)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Has the background remove what other processes left.
    pub(crate) fn reap_leftovers(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            self.reap_later(entry?.path());
        }
        Ok(())
    }

    /// Removes all that lies here and returns when it is gone.
    pub(crate) fn empty(&self) -> io::Result<()> {
        let entries: Vec<PathBuf> =
            fs::read_dir(&self.dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
        entries.par_iter().try_for_each(|path| remove(path))
    }

    fn reap_later(&self, path: PathBuf) {
        let mut reaper = self.reaper.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = reaper.get_or_insert_with(|| {
            let (sender, receiver) = channel();
            // A thread that cannot be had leaves the path for a later process.
            let _ = std::thread::Builder::new().name("kiln-reaper".to_owned()).spawn(|| reap(receiver));
            sender
        });
        let _ = sender.send(path);
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the thread owns its end of the channel")]
fn reap(paths: Receiver<PathBuf>) {
    for path in &paths {
        // What cannot be removed now stays in the trash, where it harms nobody and `du` shows it.
        let _ = remove(&path);
    }
}

/// Removes a file or a tree. What vanishes meanwhile is no error; a directory that its owner may not enter is opened.
fn remove(path: &Path) -> io::Result<()> {
    match remove_once(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            make_enterable(path)?;
            remove_once(path)
        }
        done => done,
    }
}

fn remove_once(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn make_enterable(path: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_dir() {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            make_enterable(&entry.path())?;
        }
    }
    Ok(())
}
