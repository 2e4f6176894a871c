//! What stands in a root in place of mounts, and how it is taken away without a trace.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, ResolveFlags, Timespec, Timestamps, futimens, renameat, statat,
};
use rustix::io::Errno;

use crate::sandbox::setup::root::{Kind, Root};
use crate::sandbox::setup::{During, Failure, Setup};
use crate::sandbox::stub::{self, Stub, modified};
use crate::sandbox::{Content, SandboxError};

/// Everything that was put into a root. Dropped without being taken away, caches at least go back to the store.
#[derive(Debug)]
pub(crate) struct Covers {
    root: Root,
    path: PathBuf,
    /// On the root's file system, and removed with it: what is covered, and what was taken away.
    aside: PathBuf,
    covers: Vec<Cover>,
    numbers: u32,
}

#[derive(Debug)]
struct Cover {
    /// The directory that holds it, relative to the root and without links, and its name there.
    parent: PathBuf,
    name: OsString,
    /// Device and inode of what was put there.
    placed: (u64, u64),
    /// Where it goes afterwards; away, if nowhere.
    home: Option<PathBuf>,
    /// What was there before, if it was not made as a mount point.
    hidden: Option<PathBuf>,
    /// The directory's time before, and when the process started.
    times: [(i64, u64); 2],
    stubs: Vec<Stub>,
}

pub(super) fn unsupported(operation: String) -> Failure {
    Failure { operation, errno: libc::EOPNOTSUPP, program: false }
}

impl Covers {
    /// Nothing yet, for the root at `path`.
    pub(super) fn new(path: &Path) -> Setup<Self> {
        let beside = path.parent().unwrap_or(path);
        let aside = beside.join("covered");
        // Numbers begin anew with each process.
        clear(&aside).during(|| format!("clear {}", aside.display()))?;
        fs::create_dir_all(&aside).during(|| format!("make {}", aside.display()))?;
        fs::set_permissions(&aside, fs::Permissions::from_mode(0o700))
            .during(|| format!("close {}", aside.display()))?;
        Ok(Self { root: Root::at(path)?, path: path.to_owned(), aside, covers: Vec::new(), numbers: 0 })
    }

    fn fresh(&mut self) -> PathBuf {
        self.numbers += 1;
        self.aside.join(self.numbers.to_string())
    }

    /// A new directory that `fill` fills.
    pub(super) fn directory(
        &mut self,
        target: &str,
        fill: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Setup<()> {
        let made = self.fresh();
        fs::create_dir(&made).and_then(|()| fill(&made)).during(|| format!("fill {target}"))?;
        self.cover(target, Kind::Directory, &made, None)
    }

    /// A file with this content.
    pub(super) fn file(&mut self, target: &str, content: &Content) -> Setup<()> {
        let made = self.fresh();
        let write = || {
            fs::write(&made, b"")?;
            fs::set_permissions(&made, fs::Permissions::from_mode(0o600))?;
            fs::write(&made, &content.data)?;
            chown(&made, Some(content.uid), Some(content.gid))?;
            fs::set_permissions(&made, fs::Permissions::from_mode(content.mode))
        };
        write().during(|| format!("write {target}"))?;
        self.cover(target, Kind::File, &made, None)
    }

    /// What `tree` has at `path` (no link leads out of it), moved here and back afterwards.
    pub(super) fn moved(&mut self, target: &str, tree: &Path, path: &str) -> Setup<()> {
        let what = || format!("find {path} for {target}");
        let root = fs::File::open(tree).during(what)?;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let source = crate::resolve::openat2(&root, path, flags, resolve).during(what)?;
        let kind = if is_directory(&source).during(what)? { Kind::Directory } else { Kind::File };
        let home = Root::at(tree)?.path_of(&source).during(what)?;
        let home = if home.as_os_str().is_empty() { tree.to_owned() } else { tree.join(home) };
        self.cover(target, kind, &home, Some(home.clone()))
    }

    /// Something of kiln's own machine: a socket itself, of anything else a copy.
    pub(super) fn host(&mut self, target: &str, path: &Path, read_only: bool) -> Setup<()> {
        let what = || format!("copy {} to {target}", path.display());
        let metadata = fs::metadata(path).during(what)?;
        let made = self.fresh();
        if metadata.file_type().is_socket() {
            fs::hard_link(path, &made).during(what)?;
            return self.cover(target, Kind::File, &made, None);
        }
        if !read_only {
            return Err(unsupported(format!(
                "show {} at {target} to be written: nothing can be mounted here; with `:ro` a copy is shown",
                path.display()
            )));
        }
        copy(path, &made).during(what)?;
        self.cover(target, if metadata.is_dir() { Kind::Directory } else { Kind::File }, &made, None)
    }

    /// Puts `source` at `target` in the place of what is there.
    fn cover(&mut self, target: &str, kind: Kind, source: &Path, home: Option<PathBuf>) -> Setup<()> {
        let what = || format!("put {target} into the root");
        let point = self.root.target(target, kind)?;
        let stubs = std::mem::take(&mut self.root.stubs);
        let path = self.root.path_of(&point).during(what)?;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(unsupported(format!("put something at {target}")));
        };
        let directory = open(&self.path, parent).during(what)?;
        let before = modified(&directory).during(what)?;
        let hidden = self.fresh();
        renameat(&directory, name, CWD, &hidden).during(what)?;
        let mut cover = Cover {
            parent: parent.to_owned(),
            name: name.to_owned(),
            placed: (0, 0),
            home,
            hidden: Some(hidden),
            times: [before, before],
            stubs,
        };
        let placed = (|| {
            renameat(CWD, source, &directory, name)?;
            let stat = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
            cover.placed = (stat.st_dev, stat.st_ino);
            set_time(&directory, before)?;
            cover.times[1] = modified(&directory)?;
            Ok::<(), Errno>(())
        })();
        self.covers.push(cover);
        placed.during(what)
    }

    /// Takes everything away again, the last first. Gives the mount points that were made and may still be there.
    pub(crate) fn take_away(mut self) -> Result<Vec<Stub>, SandboxError> {
        self.uncover().map_err(|cause| SandboxError::Setup {
            operation: "take away what stood for mounts".to_owned(),
            cause: cause.into(),
        })
    }

    fn uncover(&mut self) -> Result<Vec<Stub>, Errno> {
        let mut stubs = Vec::new();
        let mut outcome = Ok(());
        while let Some(cover) = self.covers.pop() {
            let aside = self.fresh();
            let done = cover.remove(&self.path, &aside);
            outcome = outcome.and(done);
            stub::remove(&self.path, &cover.stubs);
            stubs.extend(cover.stubs);
        }
        outcome?;
        // Secrets are gone from the disk before the next process starts.
        clear(&self.aside).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        Ok(stubs)
    }
}

impl Drop for Covers {
    fn drop(&mut self) {
        // The root goes too: only what comes from elsewhere matters.
        let _ = self.uncover();
    }
}

impl Cover {
    fn remove(&self, root: &Path, aside: &Path) -> Result<(), Errno> {
        let directory = match open(root, &self.parent) {
            Ok(directory) => directory,
            // The process has removed the directory around it, or made a link of it: nothing of ours is left there.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            Err(error) => return Err(error),
        };
        let untouched = modified(&directory)? == self.times[1];
        match statat(&directory, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if (stat.st_dev, stat.st_ino) == self.placed => {
                let home = self.home.as_deref().unwrap_or(aside);
                renameat(&directory, &self.name, CWD, home)?;
            }
            // Something else that the process put there: a mount would have kept it from doing so.
            Ok(_) => renameat(&directory, &self.name, CWD, aside)?,
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
        if let Some(hidden) = &self.hidden {
            renameat(CWD, hidden, &directory, &self.name)?;
        }
        if untouched { set_time(&directory, self.times[0]) } else { Ok(()) }
    }
}

fn open(root: &Path, directory: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, root, flags, Mode::empty())?;
    let path = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    crate::resolve::openat2(&root, path, flags, resolve)
}

fn set_time(directory: impl AsFd, (seconds, nanoseconds): (i64, u64)) -> Result<(), Errno> {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds as _ };
    futimens(directory, &Timestamps { last_access: time, last_modification: time })
}

fn clear(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn is_directory(fd: &OwnedFd) -> Result<bool, Errno> {
    Ok(rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) == rustix::fs::FileType::Directory)
}

/// A copy with the modes and owners of the original, links as they are.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, lchown, symlink};
    let metadata = fs::symlink_metadata(from)?;
    if metadata.is_dir() {
        fs::create_dir(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    } else if metadata.is_symlink() {
        symlink(fs::read_link(from)?, to)?;
    } else if metadata.is_file() {
        fs::copy(from, to)?;
    } else {
        return Ok(());
    }
    lchown(to, Some(metadata.uid()), Some(metadata.gid()))?;
    if metadata.is_symlink() { Ok(()) } else { fs::set_permissions(to, metadata.permissions()) }
}
