//! A file as its caller names it, by a path that means the same to the supervisor.
//!
//! The threads of the supervisor stand in a procfs of their own, where `<thread>/cwd` and `<thread>/fd/<n>` are the caller's,
//! and have the sandbox's root as theirs. A caller that has changed its root lends it for as long as the call takes.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use kiln_cache::OwnerRecord;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Uid, chownat};
use rustix::io::Errno;

use super::caller::{Caller, errno, open_path};
use super::looks::Looks;
use crate::sys::notify::{StatxBytes, statx_bytes};

/// A path, and whether a link at its end is followed.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) path: CString,
    pub(super) follow: bool,
}

/// What file systems show for owners that are not mapped (/proc/sys/kernel/overflowuid).
const NOBODY: u32 = 65534;

/// Permission bit: new files get the directory's group.
const SET_GROUP: u32 = 0o2000;

impl Caller<'_> {
    /// The file at the text at `address`, relative to `directory`; the directory itself if the text is empty and may be.
    pub(super) fn place(
        &self,
        directory: i32,
        address: u64,
        follow: bool,
        may_be_empty: bool,
    ) -> Result<Place, Errno> {
        // Without a text at all: the same, since Linux 6.11.
        let text = if address == 0 && may_be_empty { CString::default() } else { self.text(address)? };
        if text.is_empty() {
            return if may_be_empty { Ok(self.directory(directory)) } else { Err(Errno::NOENT) };
        }
        let bytes = text.as_bytes();
        if !bytes.starts_with(b"/") {
            let start = self.directory(directory).path;
            return place([start.as_bytes(), b"/", bytes].concat(), follow);
        }
        match self.own(bytes, follow) {
            Some(path) => place(path, follow),
            None => Ok(Place { path: text, follow }),
        }
    }

    /// What a descriptor refers to.
    pub(super) fn file(&self, number: i32) -> Place {
        let path = format!("{}/fd/{number}", self.thread());
        Place { path: CString::new(path).expect("it has no zero"), follow: true }
    }

    fn directory(&self, number: i32) -> Place {
        if number == libc::AT_FDCWD {
            let path = format!("{}/cwd", self.thread());
            return Place { path: CString::new(path).expect("it has no zero"), follow: true };
        }
        self.file(number)
    }

    /// Paths that mean something else to every process.
    fn own(&self, path: &[u8], follow: bool) -> Option<Vec<u8>> {
        let thread = self.thread();
        for (own, number) in [("/dev/stdin", 0), ("/dev/stdout", 1), ("/dev/stderr", 2)] {
            if follow && path == own.as_bytes() {
                return Some(format!("{thread}/fd/{number}").into_bytes());
            }
        }
        let (rest, below) = [("/proc/self/", ""), ("/proc/thread-self/", ""), ("/dev/fd/", "fd/")]
            .into_iter()
            .find_map(|(own, below)| Some((path.strip_prefix(own.as_bytes())?, below)))?;
        Some([format!("{thread}/{below}").as_bytes(), rest].concat())
    }

    /// Gives this thread the caller's root, until the guard goes.
    pub(super) fn enter_root(&self) -> Result<InRoot<'_>, Errno> {
        if !self.shared.roots_differ() {
            return Ok(InRoot { caller: None });
        }
        let root = open_path(&format!("{}/root", self.thread()))?;
        rustix::process::fchdir(&root)?;
        let entered = rustix::process::chroot(".");
        rustix::process::fchdir(&self.shared.proc)?;
        entered?;
        Ok(InRoot { caller: Some(self) })
    }
}

/// As long as it lives, paths mean what they mean to the caller.
#[derive(Debug)]
pub(super) struct InRoot<'a> {
    caller: Option<&'a Caller<'a>>,
}

impl Drop for InRoot<'_> {
    fn drop(&mut self) {
        let Some(caller) = self.caller else { return };
        let back = rustix::process::fchdir(&caller.shared.root)
            .and_then(|()| rustix::process::chroot("."))
            .and_then(|()| rustix::process::fchdir(&caller.shared.proc));
        // A thread that is lost would answer for the wrong files from here on.
        back.expect("the sandbox's root can be entered again");
    }
}

fn place(path: Vec<u8>, follow: bool) -> Result<Place, Errno> {
    Ok(Place { path: CString::new(path).map_err(|_| Errno::INVAL)?, follow })
}

impl Place {
    fn as_path(&self) -> &Path {
        Path::new(std::ffi::OsStr::from_bytes(self.path.as_bytes()))
    }

    /// The directory that holds it.
    pub(super) fn parent(&self) -> Place {
        let bytes = self.path.as_bytes();
        let end = bytes.iter().rposition(|byte| *byte != b'/').map_or(0, |at| at + 1);
        let slash = bytes[..end].iter().rposition(|byte| *byte == b'/');
        let parent = match slash {
            Some(0) => b"/".to_vec(),
            Some(slash) => bytes[..slash].to_vec(),
            None => b".".to_vec(),
        };
        Place { path: CString::new(parent).expect("a part of a text without zero"), follow: true }
    }

    pub(super) fn c_str(&self) -> &CStr {
        &self.path
    }

    /// What the kernel says of it.
    pub(super) fn looks(&self, flags: i32, mask: u32) -> Result<Looks, Errno> {
        let follow = if self.follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
        let bytes: StatxBytes = statx_bytes(&self.path, flags | follow, mask).map_err(|e| errno(&e))?;
        Ok(Looks::new(bytes))
    }

    /// What the kernel says of it that everybody asks.
    pub(super) fn basic_looks(&self) -> Result<Looks, Errno> {
        self.looks(0, libc::STATX_BASIC_STATS)
    }

    /// What is recorded of it. A file system without attributes has no records.
    pub(super) fn record(&self, file_type: FileType) -> Option<OwnerRecord> {
        OwnerRecord::read(self.as_path(), file_type, self.follow).ok().flatten()
    }

    /// Records it. Where nothing can be recorded, all stays root's.
    pub(super) fn set_record(&self, file_type: FileType, record: &OwnerRecord) {
        // It fails on procfs, on what is bound from the host, on a tmpfs before Linux 6.6.
        let _ = record.write(self.as_path(), file_type, self.follow);
    }

    /// Changes the owner as far as the kernel sees it, for all that comes with that: copy-up, times, set-id bits, errors.
    pub(super) fn chown(&self, user: bool, group: bool, looks: &Looks) -> Result<(), Errno> {
        let flags = if self.follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
        let owner = (user.then_some(Uid::ROOT), group.then_some(Gid::ROOT));
        match chownat(CWD, self.path.as_c_str(), owner.0, owner.1, flags) {
            // Somebody else's on the host.
            Err(Errno::PERM | Errno::INVAL) if looks.uid() == NOBODY => Ok(()),
            changed => changed,
        }
    }

    /// The group that a new file in this directory gets, if the directory gives one.
    pub(super) fn given_group(&self) -> Result<Option<u32>, Errno> {
        let looks = self.basic_looks()?;
        if looks.mode() & SET_GROUP == 0 {
            return Ok(None);
        }
        Ok(Some(self.record(FileType::Directory).unwrap_or_default().gid))
    }
}
