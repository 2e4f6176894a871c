//! Attributes on what has been written; the owner as one, where ids cannot be mapped.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _};
use std::path::PathBuf;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, Timespec, Timestamps, Uid, chownat, fchmod, fchown, futimens, utimensat,
};
use rustix::io::Errno;

use super::super::entry::{Attributes, Timestamp};
use super::super::owner::{OwnerRecord, RecordedDevice};
use super::super::xattr;
use crate::store::OverlayXattrs;

/// All of a file or directory. Owner first: it takes setuid bits and capabilities away. The time last, as everything else
/// sets it.
pub(crate) fn apply(
    file: impl AsFd,
    attributes: &Attributes,
    mtime: Option<Timestamp>,
    form: OverlayXattrs,
) -> io::Result<()> {
    let record = OwnerRecord::new(attributes.uid, attributes.gid);
    if form == OverlayXattrs::Recorded {
        // Only a directory may have had another one.
        if mtime.is_none() || record != OwnerRecord::default() {
            record.write(&path(&file, None), FileType::RegularFile, true)?;
        }
    } else {
        fchown(&file, Some(Uid::from_raw(attributes.uid)), Some(Gid::from_raw(attributes.gid)))?;
    }
    fchmod(&file, Mode::from_raw_mode(attributes.mode))?;
    xattr::write(&file, &attributes.xattrs)?;
    if let Some(mtime) = mtime {
        futimens(&file, &times(mtime))?;
    }
    Ok(())
}

/// Owner and time of what cannot be opened and was made just now, as this type.
pub(super) fn apply_at(
    parent: impl AsFd,
    name: &OsStr,
    file_type: FileType,
    device: Option<RecordedDevice>,
    attributes: &Attributes,
    form: OverlayXattrs,
) -> Result<(), Errno> {
    let (uid, gid) = (attributes.uid, attributes.gid);
    if form == OverlayXattrs::Recorded {
        let record = OwnerRecord { uid, gid, device };
        if record != OwnerRecord::default() {
            record.write(&path(&parent, Some(name)), file_type, false)?;
        }
    } else {
        let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        chownat(&parent, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    utimensat(&parent, name, &times(attributes.mtime), AtFlags::SYMLINK_NOFOLLOW)
}

/// Attributes of links have no call that takes a directory before Linux 6.13.
fn path(file: impl AsFd, name: Option<&OsStr>) -> PathBuf {
    let mut path = PathBuf::from(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()));
    path.extend(name);
    path
}

pub(crate) fn times(mtime: Timestamp) -> Timestamps {
    let time = Timespec { tv_sec: mtime.seconds, tv_nsec: i64::from(mtime.nanoseconds) };
    Timestamps { last_access: time, last_modification: time }
}
