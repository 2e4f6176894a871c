//! Whether anything was done to a file, without reading it.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Stat, Timespec, Timestamps, UTIME_NOW, futimens, statat};

use super::super::error::LayerError;

/// What changes when a file does: the kernel sets the change time itself, and no program can set it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    inode: u64,
    size: i64,
    changed: (i64, i64),
}

impl Identity {
    pub(crate) fn of(stat: &Stat) -> Self {
        Self { inode: stat.st_ino, size: stat.st_size, changed: (stat.st_ctime, stat.st_ctime_nsec as i64) }
    }
}

/// The files of a tree.
#[derive(Debug, Default)]
pub(crate) struct Identities {
    files: HashMap<PathBuf, Identity>,
    latest: (i64, i64),
}

/// Change times are as coarse as the kernel's ticks, of 10 ms at most. A clock that was set back is not waited for.
const PATIENCE: Duration = Duration::from_millis(50);

impl Identities {
    pub(crate) fn get(&self, path: &Path) -> Option<&Identity> {
        self.files.get(path)
    }

    pub(crate) fn insert(&mut self, path: PathBuf, identity: Identity) {
        self.latest = self.latest.max(identity.changed);
        self.files.insert(path, identity);
    }

    /// Notes what `files` are now.
    pub(crate) fn look_at<'a>(
        &mut self,
        root: impl AsFd,
        files: impl Iterator<Item = &'a Path>,
    ) -> Result<(), LayerError> {
        for path in files {
            let stat = statat(&root, path, AtFlags::SYMLINK_NOFOLLOW);
            let stat = stat.map_err(|errno| LayerError::io("look at", path)(errno.into()))?;
            self.insert(path.to_owned(), Identity::of(&stat));
        }
        Ok(())
    }

    /// Waits until a change would have another time than all that is noted; where that does not come, all is forgotten, and
    /// every file will be read.
    pub(crate) fn pass(&mut self, directory: &Path) -> io::Result<()> {
        let clock = File::create(directory.join("clock"))?;
        let start = Instant::now();
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        loop {
            futimens(&clock, &Timestamps { last_access: now, last_modification: now })?;
            let stat = rustix::fs::fstat(&clock)?;
            if (stat.st_ctime, stat.st_ctime_nsec as i64) > self.latest {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                self.files.clear();
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
