//! One 512-byte header, with what extended headers say instead.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use super::super::entry::{Attributes, Device, Timestamp};
use super::MemberKind;
use super::pax::Extensions;

/// A header whose checksum is right.
pub(super) struct Header<'a> {
    raw: &'a tar::Header,
}

/// What a member's headers say together.
pub(super) struct Parsed {
    pub(super) path: PathBuf,
    pub(super) kind: MemberKind,
    pub(super) attributes: Attributes,
    /// The bytes that follow in the archive.
    pub(super) stored: u64,
}

type Bad = &'static str;

impl<'a> Header<'a> {
    pub(super) fn check(block: &'a [u8; 512]) -> Result<Self, Bad> {
        let raw = tar::Header::from_byte_slice(block);
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        let own: u32 = block[148..156].iter().map(|&byte| u32::from(byte)).sum();
        // Some old writers summed signed bytes.
        let signed: i32 = block.iter().map(|&byte| i32::from(byte.cast_signed())).sum();
        let signed_own: i32 = block[148..156].iter().map(|&byte| i32::from(byte.cast_signed())).sum();
        let blanks = 8 * 32;
        let stated = raw.cksum().map_err(|_| "its checksum is no number")?;
        if stated != sum - own + blanks
            && i64::from(stated) != i64::from(signed - signed_own) + i64::from(blanks)
        {
            return Err("its checksum does not match");
        }
        Ok(Self { raw })
    }

    pub(super) fn raw(&self) -> &tar::Header {
        self.raw
    }

    pub(super) fn flag(&self) -> u8 {
        self.raw.entry_type().as_byte()
    }

    pub(super) fn size(&self) -> Result<u64, Bad> {
        self.raw.entry_size().map_err(|_| "its size is no number")
    }

    pub(super) fn member(&self, extensions: &Extensions) -> Result<Parsed, Bad> {
        let path = extensions.path().map_or_else(|| self.raw.path_bytes().into_owned(), <[u8]>::to_vec);
        let link = || -> PathBuf {
            let link = extensions.link().map(<[u8]>::to_vec);
            let link = link.or_else(|| self.raw.link_name_bytes().map(std::borrow::Cow::into_owned));
            OsString::from_vec(link.unwrap_or_default()).into()
        };
        let kind = match self.flag() {
            // Old archives mark a directory by its slash alone.
            b'0' | 0 if path.ends_with(b"/") => MemberKind::Dir,
            b'0' | 0 | b'7' | b'S' => MemberKind::File,
            b'5' => MemberKind::Dir,
            b'1' => MemberKind::HardLink { to: link() },
            b'2' => MemberKind::Symlink { target: link() },
            b'3' => MemberKind::Char(self.device()?),
            b'4' => MemberKind::Block(self.device()?),
            b'6' => MemberKind::Fifo,
            _ => return Err("it is of an unknown type"),
        };
        // Only files have bytes; some writers state the size of what a link leads to.
        let stored = match kind {
            MemberKind::File => match extensions.number("size")? {
                Some(size) => size,
                None => self.size()?,
            },
            _ => 0,
        };
        Ok(Parsed {
            path: OsString::from_vec(path).into(),
            kind,
            attributes: self.attributes(extensions)?,
            stored,
        })
    }

    fn attributes(&self, extensions: &Extensions) -> Result<Attributes, Bad> {
        let small = |number: u64| u32::try_from(number).map_err(|_| "its owner is no possible one");
        let uid = match extensions.number("uid")? {
            Some(uid) => uid,
            None => owner(&self.raw.as_old().uid, || self.raw.uid())?,
        };
        let gid = match extensions.number("gid")? {
            Some(gid) => gid,
            None => owner(&self.raw.as_old().gid, || self.raw.gid())?,
        };
        let mtime = match extensions.time("mtime")? {
            Some(mtime) => mtime,
            None => Timestamp::seconds(signed(&self.raw.as_old().mtime)?),
        };
        Ok(Attributes {
            mode: if is_blank(&self.raw.as_old().mode) {
                0
            } else {
                self.raw.mode().map_err(|_| "its mode is no number")? & 0o7777
            },
            uid: small(uid)?,
            gid: small(gid)?,
            mtime,
            xattrs: extensions.xattrs(),
        })
    }

    fn device(&self) -> Result<Device, Bad> {
        let number = |number: io::Result<Option<u32>>| {
            number.map(Option::unwrap_or_default).map_err(|_| "its device number is none")
        };
        Ok(Device { major: number(self.raw.device_major())?, minor: number(self.raw.device_minor())? })
    }
}

use std::io;

/// Whether a field was left empty: writers of old do that, and readers take it for 0.
fn is_blank(field: &[u8]) -> bool {
    field.iter().all(|byte| matches!(byte, 0 | b' '))
}

fn owner(field: &[u8], read: impl FnOnce() -> io::Result<u64>) -> Result<u64, Bad> {
    if is_blank(field) { Ok(0) } else { read().map_err(|_| "its owner is no number") }
}

/// A number in octal, or in GNU's binary form, which alone can be negative.
fn signed(field: &[u8; 12]) -> Result<i64, Bad> {
    if field[0] & 0x80 == 0 {
        let text: Vec<u8> = field
            .iter()
            .copied()
            .skip_while(|byte| *byte == b' ')
            .take_while(|byte| !b"\0 ".contains(byte))
            .collect();
        let digit = |value: i64, byte: &u8| match byte {
            b'0'..=b'7' => Some(value * 8 + i64::from(byte - b'0')),
            _ => None,
        };
        return text.iter().try_fold(0, digit).ok_or("its time is no number");
    }
    let start = if field[0] == 0xff { -1_i64 } else { i64::from(field[0] & 0x7f) };
    let shift = |value: i64, byte: &u8| value.checked_mul(256).map(|value| value | i64::from(*byte));
    field[1..].iter().try_fold(start, shift).ok_or("its time is too far away")
}
