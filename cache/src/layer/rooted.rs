//! The only door to the files inside a tree: no path leads out of it, whatever its links say.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

/// A directory that is the root of all paths given to it.
#[derive(Debug)]
pub struct Rooted {
    directory: OwnedFd,
    path: PathBuf,
}

/// Whether symbolic links on the way are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// Yes, `/` and `..` as if the tree were the whole file system.
    Followed,
    /// No: a link anywhere is an error (`ELOOP`).
    Refused,
}

impl Rooted {
    /// Opens the tree at `path`.
    ///
    /// # Errors
    /// Those of `open`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { directory: openat(CWD, path, flags, Mode::empty())?, path: path.to_owned() })
    }

    /// Where the tree was when it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file at `path` for reading. A pipe or device does not block.
    ///
    /// # Errors
    /// Those of `openat2`.
    pub fn file(&self, path: &Path, links: Links) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        Ok(File::from(self.open_at(path, flags, Mode::empty(), links)?))
    }

    /// Opens the directory at `path`.
    ///
    /// # Errors
    /// Those of `openat2`.
    pub fn directory(&self, path: &Path, links: Links) -> io::Result<OwnedFd> {
        self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty(), links)
    }

    /// Makes the file at `path`, which must not be there, for its owner alone.
    ///
    /// # Errors
    /// Those of `openat2`.
    pub fn create(&self, path: &Path) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let file = self.open_at(path, flags, Mode::RUSR | Mode::WUSR, Links::Refused)?;
        Ok(File::from(file))
    }

    fn open_at(&self, path: &Path, flags: OFlags, mode: Mode, links: Links) -> io::Result<OwnedFd> {
        let resolve = match links {
            Links::Followed => ResolveFlags::IN_ROOT,
            Links::Refused => ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
        };
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        loop {
            let resolve = resolve | ResolveFlags::NO_MAGICLINKS;
            match openat2(&self.directory, path, flags | OFlags::CLOEXEC, mode, resolve) {
                // A rename elsewhere made the kernel unsure whether `..` stays inside.
                Err(Errno::AGAIN | Errno::INTR) => {}
                opened => return Ok(opened?),
            }
        }
    }
}

impl AsFd for Rooted {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    use super::*;

    fn check(links: Links, path: &str) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        std::fs::create_dir_all(tree.join("sub")).unwrap();
        std::fs::write(dir.path().join("secret"), "outside").unwrap();
        std::fs::write(tree.join("secret"), "inside").unwrap();
        symlink("/secret", tree.join("absolute")).unwrap();
        symlink("../../../secret", tree.join("sub/upward")).unwrap();
        symlink("sub", tree.join("dir")).unwrap();
        let mut file = Rooted::open(&tree).unwrap().file(Path::new(path), links).ok()?;
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        Some(text)
    }

    #[test]
    fn followed_links_stay_inside() {
        for path in ["absolute", "sub/upward", "dir/upward", "/secret", "../secret"] {
            assert_eq!(check(Links::Followed, path).as_deref(), Some("inside"), "{path}");
        }
    }

    #[test]
    fn refused_links_open_nothing() {
        for path in ["absolute", "sub/upward", "dir/upward", "../secret"] {
            assert_eq!(check(Links::Refused, path), None, "{path}");
        }
        assert_eq!(check(Links::Refused, "secret").as_deref(), Some("inside"));
    }
}
