//! Owners that are recorded beside a file instead of belonging to it: for who can map one id alone.
//!
//! | what | where | value |
//! | --- | --- | --- |
//! | file, directory | `user.kiln.owner` | `uid:gid` |
//! | device | the same, on an empty regular file that stands for it | `uid:gid:c:major:minor`, or `b` |
//! | symbolic link, pipe, socket | `security.capability` | revision 2, with our magic, uid and gid for the bits |
//!
//! The kernel keeps no `user.*` attribute on links, pipes and sockets, but it takes a capability there, looks at no more
//! than its size and revision, and has no use for it. What has no record is root's. A record is copied up by overlayfs,
//! follows renames and goes with its inode.

use std::io;
use std::path::Path;

use rustix::fs::{FileType, XattrFlags, getxattr, lgetxattr, lremovexattr, lsetxattr, removexattr, setxattr};
use rustix::io::Errno;

use super::entry::Device;

/// The attribute of files and directories.
pub const OWNER_ATTRIBUTE: &str = "user.kiln.owner";

/// What begins the names that are kiln's own: no layer carries them.
pub(crate) const OWN_PREFIX: &[u8] = b"user.kiln.";

/// The attribute of links, pipes and sockets.
const CAPABILITY: &str = "security.capability";
/// VFS_CAP_REVISION_2 without flags, and the first word of permitted bits: "kiln" backwards, bits that no kernel has.
const REVISION: u32 = 0x0200_0000;
const REVISION_3: u32 = 0x0300_0000;
const MAGIC: u32 = 0x6e6c_696b;

/// An owner as it is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OwnerRecord {
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The device that a regular file stands for.
    pub device: Option<RecordedDevice>,
}

/// A device that cannot be made in a user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordedDevice {
    /// Block or character.
    pub block: bool,
    /// Its number.
    pub number: Device,
}

impl RecordedDevice {
    /// Its type.
    pub fn file_type(&self) -> FileType {
        if self.block { FileType::BlockDevice } else { FileType::CharacterDevice }
    }
}

impl OwnerRecord {
    /// An owner alone.
    pub fn new(uid: u32, gid: u32) -> Self {
        Self { uid, gid, device: None }
    }

    /// Reads the record of something of this type. A path whose last name is a link is followed if `follow`.
    ///
    /// # Errors
    /// Those of `getxattr`; no record and no attributes at all are none.
    pub fn read(path: &Path, file_type: FileType, follow: bool) -> rustix::io::Result<Option<Self>> {
        let mut buffer = [0_u8; 96];
        let name = attribute(file_type);
        let read = if follow {
            getxattr(path, name, &mut buffer[..])
        } else {
            lgetxattr(path, name, &mut buffer[..])
        };
        match read {
            Ok(length) if plain(file_type) => Ok(Self::parse(&buffer[..length])),
            Ok(length) => Ok(Self::from_capability(&buffer[..length])),
            // Longer than any of ours.
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Writes the record of something of this type; takes it away if it says nothing.
    ///
    /// # Errors
    /// Those of `setxattr`.
    pub fn write(&self, path: &Path, file_type: FileType, follow: bool) -> rustix::io::Result<()> {
        let name = attribute(file_type);
        if *self == Self::default() {
            let removed = if follow { removexattr(path, name) } else { lremovexattr(path, name) };
            return match removed {
                Err(Errno::NODATA) => Ok(()),
                removed => removed,
            };
        }
        let value = if plain(file_type) { self.text().into_bytes() } else { self.capability().to_vec() };
        if follow {
            setxattr(path, name, &value, XattrFlags::empty())
        } else {
            lsetxattr(path, name, &value, XattrFlags::empty())
        }
    }

    /// The value on files and directories.
    pub(crate) fn text(&self) -> String {
        let Self { uid, gid, device } = self;
        match device {
            None => format!("{uid}:{gid}"),
            Some(RecordedDevice { block, number: Device { major, minor } }) => {
                format!("{uid}:{gid}:{}:{major}:{minor}", if *block { 'b' } else { 'c' })
            }
        }
    }

    /// Reads what [`OwnerRecord::text`] gives; nothing if it is anything else.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(text).ok()?.split(':');
        let mut number = || words.next()?.parse().ok();
        let (uid, gid) = (number()?, number()?);
        let device = match words.next() {
            None => None,
            Some(kind @ ("b" | "c")) => {
                let (major, minor) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
                Some(RecordedDevice { block: kind == "b", number: Device { major, minor } })
            }
            Some(_) => return None,
        };
        words.next().is_none().then_some(Self { uid, gid, device })
    }

    fn capability(&self) -> [u8; 20] {
        let mut value = [0; 20];
        for (place, word) in value.chunks_exact_mut(4).zip([REVISION, MAGIC, self.uid, self.gid, 0]) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        value
    }

    /// Outside of the namespace that wrote it, the kernel shows the capability's own owner behind it, as revision 3.
    fn from_capability(value: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_le_bytes(value.get(at..at + 4)?.try_into().ok()?));
        let revision = word(0)?;
        let known =
            (revision == REVISION && value.len() == 20) || (revision == REVISION_3 && value.len() == 24);
        (known && word(4)? == MAGIC).then_some(Self { uid: word(8)?, gid: word(12)?, device: None })
    }
}

/// Whether the type takes `user.*` attributes.
fn plain(file_type: FileType) -> bool {
    !matches!(file_type, FileType::Symlink | FileType::Fifo | FileType::Socket)
}

fn attribute(file_type: FileType) -> &'static str {
    if plain(file_type) { OWNER_ATTRIBUTE } else { CAPABILITY }
}

/// Whether the attribute `name` of something of this type is a record.
pub fn is_owner_attribute(name: &[u8], file_type: FileType) -> bool {
    name.starts_with(OWN_PREFIX) || (!plain(file_type) && name == CAPABILITY.as_bytes())
}

/// Whether the file system of `directory` keeps records.
pub(crate) fn probe(directory: &Path) -> io::Result<()> {
    OwnerRecord::new(1, 1).write(directory, FileType::Directory, true)?;
    Ok(OwnerRecord::default().write(directory, FileType::Directory, true)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_written() {
        let device = RecordedDevice { block: true, number: Device { major: 8, minor: 300 } };
        for record in [
            OwnerRecord::new(0, 5),
            OwnerRecord::new(4_000_000_000, 1),
            OwnerRecord { uid: 0, gid: 6, device: Some(device) },
        ] {
            assert_eq!(OwnerRecord::parse(record.text().as_bytes()), Some(record));
        }
        for text in ["", "1", "1:", "1:2:", "1:2:c:1", "1:2:c:1:2:3", "1:2:d:1:2", "-1:2", "1:4294967296"] {
            assert_eq!(OwnerRecord::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_capability_that_is_one_is_no_record() {
        let record = OwnerRecord::new(33, 44);
        let ours = record.capability();
        assert_eq!(OwnerRecord::from_capability(&ours), Some(record));
        let mut outside = ours.to_vec();
        outside[3] = 3;
        outside.extend([0, 0, 0, 0]);
        assert_eq!(OwnerRecord::from_capability(&outside), Some(record));
        let real = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(OwnerRecord::from_capability(&real), None);
        assert_eq!(OwnerRecord::from_capability(&ours[..19]), None);
    }
}
