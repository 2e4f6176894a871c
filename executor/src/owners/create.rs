//! New files: they belong to who makes them, or to the group of a directory that gives its own.
//!
//! Sockets are left to the kernel, and are root's: no layer holds one, and a name that the supervisor gave would be another
//! than the one that `getsockname` tells.

use std::os::fd::{AsRawFd as _, OwnedFd};

use kiln_cache::{Device, OwnerRecord, RecordedDevice};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::caller::{Caller, Outcome, Reply, open_path};
use super::calls::Emulated;
use super::credentials::Credentials;
use super::place::Place;
use crate::sandbox::capability;

const CREATES: u32 = 0o100;
const TEMPORARY: u32 = 0o20_000_000;

/// Whose a new file in `directory` is; nothing if it is root's, which the kernel does by itself.
fn owner(who: &Credentials, directory: &Place) -> Result<Option<OwnerRecord>, Errno> {
    let gid = directory.given_group()?.unwrap_or(who.groups.files);
    let record = OwnerRecord::new(who.users.files, gid);
    Ok((record != OwnerRecord::default()).then_some(record))
}

/// `open` and its kin where they may make a file.
pub(super) fn open(caller: &Caller<'_>, call: Emulated) -> Outcome {
    let here = libc::AT_FDCWD;
    let mut resolve = ResolveFlags::empty();
    let (directory, address, flags, mode) = match call {
        Emulated::Open => (here, caller.argument(0), caller.word(1), caller.word(2)),
        Emulated::OpenAt => {
            (caller.word(0).cast_signed(), caller.argument(1), caller.word(2), caller.word(3))
        }
        Emulated::OpenAt2 => {
            let how = caller.read_words(caller.argument(2), 6)?;
            resolve = ResolveFlags::from_bits_retain(u64::from(how[4]));
            (caller.word(0).cast_signed(), caller.argument(1), how[0], how[2])
        }
        _ => {
            let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;
            (here, caller.argument(0), flags.cast_unsigned(), caller.word(1))
        }
    };
    let temporary = flags & TEMPORARY != 0;
    if !temporary && flags & CREATES == 0 {
        return Ok(Reply::Continue);
    }
    let follow = flags & (libc::O_NOFOLLOW | libc::O_EXCL).cast_unsigned() == 0;
    let Ok(place) = caller.place(directory, address, follow, false) else { return Ok(Reply::Continue) };
    let credentials = caller.credentials()?;
    let _root = caller.enter_root()?;
    let within = if temporary { place.clone() } else { place.parent() };
    // Whatever is wrong, the kernel says it better.
    let Ok(Some(record)) = owner(&credentials, &within) else { return Ok(Reply::Continue) };
    if !temporary && place.basic_looks().is_ok() {
        return Ok(Reply::Continue);
    }
    let mode = mode & 0o7777 & !caller.umask()?;
    caller.still_waits()?;
    let wanted = OFlags::from_bits_retain(flags) | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = match resolve.is_empty() {
        true => rustix::fs::openat(CWD, place.c_str(), wanted, Mode::from_raw_mode(mode))?,
        // Its limits count from the caller's own directory.
        false => open_within(caller, directory, address, wanted, mode, resolve)?,
    };
    file_of(&file).set_record(FileType::RegularFile, &record);
    Ok(Reply::File(file, flags & libc::O_CLOEXEC.cast_unsigned() != 0))
}

fn open_within(
    caller: &Caller<'_>,
    directory: i32,
    address: u64,
    flags: OFlags,
    mode: u32,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let start = match directory {
        libc::AT_FDCWD => open_path(&format!("{}/cwd", caller.thread()))?,
        number => open_path(&format!("{}/fd/{number}", caller.thread()))?,
    };
    rustix::fs::openat2(start, caller.text(address)?.as_c_str(), flags, Mode::from_raw_mode(mode), resolve)
}

/// A file of the supervisor's own.
fn file_of(file: &OwnedFd) -> Place {
    let path = format!("{}/fd/{}", std::process::id(), file.as_raw_fd());
    Place { path: std::ffi::CString::new(path).expect("it has no zero"), follow: true }
}

/// `mkdir`, `symlink`, `mknod` and their kin.
pub(super) fn make(caller: &Caller<'_>, call: Emulated) -> Outcome {
    let here = libc::AT_FDCWD;
    let directory = |index: usize| caller.word(index).cast_signed();
    let (directory, address) = match call {
        Emulated::MakeDirectory | Emulated::MakeNode => (here, 0),
        Emulated::MakeDirectoryAt | Emulated::MakeNodeAt => (directory(0), 1),
        Emulated::MakeLink => (here, 1),
        _ => (directory(1), 2),
    };
    let Ok(place) = caller.place(directory, caller.argument(address), false, false) else {
        return Ok(Reply::Continue);
    };
    let credentials = caller.credentials()?;
    let device = device(caller, call, address);
    if device.is_some() && !credentials.may(capability::MKNOD) {
        return Err(Errno::PERM);
    }
    let _root = caller.enter_root()?;
    let owner = match (owner(&credentials, &place.parent()), device) {
        (Ok(None), None) | (Err(_), _) => return Ok(Reply::Continue),
        (Ok(owner), _) => owner.unwrap_or_default(),
    };
    let record = OwnerRecord { device, ..owner };
    let masked = |mode: u32| Ok(Mode::from_raw_mode(mode & 0o7777 & !caller.umask()?));
    let path = place.c_str();
    let file_type = match call {
        Emulated::MakeDirectory | Emulated::MakeDirectoryAt => {
            let mode = masked(caller.word(address + 1))?;
            caller.still_waits()?;
            rustix::fs::mkdirat(CWD, path, mode)?;
            FileType::Directory
        }
        Emulated::MakeLink | Emulated::MakeLinkAt => {
            let target = caller.text(caller.argument(0))?;
            caller.still_waits()?;
            rustix::fs::symlinkat(target.as_c_str(), CWD, path)?;
            FileType::Symlink
        }
        _ => {
            let mode = caller.word(address + 1);
            let wanted = match FileType::from_raw_mode(mode) {
                FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => {
                    FileType::RegularFile
                }
                FileType::Directory => return Err(Errno::PERM),
                wanted => wanted,
            };
            let bits = masked(mode)?;
            caller.still_waits()?;
            rustix::fs::mknodat(CWD, path, wanted, bits, 0)?;
            wanted
        }
    };
    place.set_record(file_type, &record);
    Ok(Reply::Value(0))
}

/// The device that `mknod` is to make. 0:0 is overlayfs's mark, which it refuses itself.
fn device(caller: &Caller<'_>, call: Emulated, address: usize) -> Option<RecordedDevice> {
    if !matches!(call, Emulated::MakeNode | Emulated::MakeNodeAt) {
        return None;
    }
    let block = match FileType::from_raw_mode(caller.word(address + 1)) {
        FileType::BlockDevice => true,
        FileType::CharacterDevice => false,
        _ => return None,
    };
    // The kernel's own form: 12 bits of major, 20 of minor number.
    let number = caller.word(address + 2);
    let number = Device { major: number >> 8 & 0xfff, minor: number & 0xff | number >> 12 & 0xfff00 };
    (block || number != Device { major: 0, minor: 0 }).then_some(RecordedDevice { block, number })
}
