//! Extended attributes: which ones belong to a layer, and overlayfs's own, which never do.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr};
use rustix::io::Errno;

use super::entry::Xattrs;
use super::owner::{self, OwnerRecord};
use crate::store::OverlayXattrs;

impl OverlayXattrs {
    /// The mark of a directory that hides what the layers below have in it.
    pub(crate) fn opaque(self) -> Option<&'static str> {
        match self {
            Self::Trusted => Some("trusted.overlay.opaque"),
            Self::User | Self::Recorded => Some("user.overlay.opaque"),
            Self::Plain => None,
        }
    }

    /// The beginning of the attributes of the mode that is not mounted.
    fn other(self) -> Option<&'static [u8]> {
        match self {
            Self::Trusted => Some(USER),
            Self::User | Self::Recorded => Some(TRUSTED),
            Self::Plain => None,
        }
    }
}

const TRUSTED: &[u8] = b"trusted.overlay.";
const USER: &[u8] = b"user.overlay.";

/// Whether a layer may carry the attribute: file capabilities, and users' own but for overlayfs's namespace and kiln's,
/// which would come alive in a mount.
pub(crate) fn belongs(name: &[u8]) -> bool {
    name == b"security.capability"
        || (name.starts_with(b"user.") && !name.starts_with(USER) && !name.starts_with(owner::OWN_PREFIX))
}

/// What a file or directory carries of a layer's attributes, and whether it is marked opaque.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) xattrs: Xattrs,
    pub(crate) opaque: bool,
    /// Where owners are recorded.
    pub(crate) owner: Option<OwnerRecord>,
}

/// Reads the attributes of something that a step has written. A mark of the mode that is not mounted here would come
/// alive elsewhere, so it is removed.
pub(crate) fn read(file: impl AsFd, mode: OverlayXattrs) -> io::Result<Read> {
    let mut read = Read::default();
    for name in names(&file)?.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        if mode.opaque().is_some_and(|opaque| name == opaque.as_bytes()) {
            read.opaque = value(&file, name)? == b"y";
        } else if mode == OverlayXattrs::Recorded && name == owner::OWNER_ATTRIBUTE.as_bytes() {
            read.owner = OwnerRecord::parse(&value(&file, name)?);
        } else if mode.other().is_some_and(|other| name.starts_with(other)) {
            fremovexattr(&file, name)?;
        } else if belongs(name) {
            read.xattrs.insert(name.to_vec(), value(&file, name)?);
        }
    }
    Ok(read)
}

/// Takes the opaque mark from a directory.
pub(crate) fn clear_opaque(directory: impl AsFd, mode: OverlayXattrs) -> io::Result<()> {
    let Some(opaque) = mode.opaque() else { return Ok(()) };
    match fremovexattr(directory, opaque) {
        Ok(()) | Err(Errno::NODATA) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Gives a file or directory all of `xattrs`.
pub(crate) fn write(file: impl AsFd, xattrs: &Xattrs) -> io::Result<()> {
    for (name, value) in xattrs {
        fsetxattr(&file, name.as_slice(), value, XattrFlags::empty())?;
    }
    Ok(())
}

fn names(file: impl AsFd) -> io::Result<Vec<u8>> {
    let mut buffer = [0_u8; 512];
    match flistxattr(&file, &mut buffer[..]) {
        Ok(length) => return Ok(buffer[..length].to_vec()),
        Err(Errno::RANGE) => {}
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(errno) => return Err(errno.into()),
    }
    // The kernel's own bound (XATTR_LIST_MAX).
    let mut buffer = vec![0_u8; 65_536];
    let length = flistxattr(&file, &mut buffer[..])?;
    buffer.truncate(length);
    Ok(buffer)
}

fn value(file: impl AsFd, name: &[u8]) -> io::Result<Vec<u8>> {
    let mut buffer = [0_u8; 256];
    match fgetxattr(&file, name, &mut buffer[..]) {
        Ok(length) => return Ok(buffer[..length].to_vec()),
        Err(Errno::RANGE) => {}
        Err(errno) => return Err(errno.into()),
    }
    // XATTR_SIZE_MAX.
    let mut buffer = vec![0_u8; 65_536];
    let length = fgetxattr(&file, name, &mut buffer[..])?;
    buffer.truncate(length);
    Ok(buffer)
}
