//! A root directory, the host's or a container's, and what a path means in it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, openat2, readlinkat, statat};
use rustix::io::Errno;

/// As many links as the kernel follows in one path.
const MOST_LINKS: u32 = 40;

/// A directory that no path leads out of.
#[derive(Debug)]
pub(crate) struct Root(OwnedFd);

/// Where a path leads.
#[derive(Debug)]
pub(crate) struct Found {
    /// The open directory that it is in.
    pub(crate) parent: OwnedFd,
    /// Its name there; `.` for the directory itself.
    pub(crate) name: OsString,
    pub(crate) is_dir: bool,
}

impl Root {
    /// A directory that is open already.
    pub(crate) fn new(directory: OwnedFd) -> Self {
        Self(directory)
    }

    /// The directory at `path`.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::openat(CWD, path, flags, Mode::empty())?))
    }

    /// The directory at `path`, links followed within the root.
    pub(crate) fn directory(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        // A rename elsewhere interrupts it (openat2(2)).
        loop {
            match openat2(&self.0, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN) => {}
                opened => return opened,
            }
        }
    }

    /// What `path` leads to, if anything is there. `follow`: the last name may be a link too.
    pub(crate) fn find(&self, path: &Path, follow: bool) -> io::Result<Option<Found>> {
        let mut path = path.to_owned();
        for _ in 0..MOST_LINKS {
            if names_directory(&path) {
                return match self.directory(&path) {
                    Ok(parent) => Ok(Some(Found { parent, name: ".".into(), is_dir: true })),
                    Err(Errno::NOENT) => Ok(None),
                    Err(errno) => Err(errno.into()),
                };
            }
            let above = path.parent().unwrap_or(Path::new("")).to_owned();
            let name = path.file_name().unwrap_or(OsStr::new(".")).to_owned();
            let parent = match self.directory(&above) {
                Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
                opened => opened?,
            };
            let stat = match statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => return Ok(None),
                stat => stat?,
            };
            let kind = FileType::from_raw_mode(stat.st_mode);
            if kind != FileType::Symlink || !follow {
                return Ok(Some(Found { parent, name, is_dir: kind == FileType::Directory }));
            }
            let target = readlinkat(parent.as_fd(), &name, Vec::new())?;
            // Not cleaned: `..` is the kernel's to understand, after the links before it.
            path = above.join(PathBuf::from(OsStr::from_bytes(target.as_bytes())));
        }
        Err(Errno::LOOP.into())
    }
}

/// Whether `path` can be nothing but a directory: `a/`, `a/.`, `..`, `/`.
pub(crate) fn names_directory(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    bytes.is_empty() || bytes.ends_with(b"/") || names_content(path) || path.file_name().is_none()
}

/// Whether `path` is `a/.`: what is in a directory.
pub(crate) fn names_content(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    bytes == b"." || bytes.ends_with(b"/.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_within_the_root() {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path();
        std::fs::create_dir_all(top.join("in/etc")).unwrap();
        std::fs::write(top.join("in/etc/passwd"), "inside").unwrap();
        for (link, target) in
            [("abs", "/etc/passwd"), ("up", "../../../etc/passwd"), ("dir", "/etc"), ("loop", "loop")]
        {
            std::os::unix::fs::symlink(target, top.join("in").join(link)).unwrap();
        }
        let root = Root::open(&top.join("in")).unwrap();
        for path in ["abs", "up", "dir/passwd", "/../etc/passwd"] {
            let found = root.find(Path::new(path), true).unwrap().unwrap();
            assert_eq!((found.name.to_str(), found.is_dir), (Some("passwd"), false), "{path}");
        }
        assert!(root.find(Path::new("dir/"), false).unwrap().unwrap().is_dir);
        assert_eq!(root.find(Path::new("abs"), false).unwrap().unwrap().name, "abs");
        assert!(root.find(Path::new("none/x"), true).unwrap().is_none());
        assert!(root.find(Path::new("loop"), true).is_err());
    }
}
