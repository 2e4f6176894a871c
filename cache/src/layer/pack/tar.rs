//! The deterministic tar of a layer.
//!
//! As BuildKit writes them: parents before children, whiteouts before their siblings (a reader that applies entries in
//! order must have emptied the place before it meets what is new there: image-spec, layer.md), no root entry, no user
//! or group names, times in whole seconds, PAX records only for what ustar cannot say.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;

use super::super::entry::{self, Attributes, Entry, Kind};
use super::super::error::LayerError;
use super::super::layers::Layer;
use super::super::rooted::Links;

/// The greatest numbers that fit the octal fields.
const MAX_ID: u64 = 0o777_7777;
const MAX_SIZE: u64 = 0o777_7777_7777;

/// What takes the tar, and wants to know its parts.
pub(super) trait Parts: Write {
    /// An entry's headers come, under this name.
    fn entry(&mut self, entry: &Entry, name: &[u8]) -> io::Result<()> {
        let _ = (entry, name);
        Ok(())
    }

    /// So many bytes of content come.
    fn content(&mut self, size: u64) -> io::Result<()> {
        let _ = size;
        Ok(())
    }

    /// The last entry was written; the two blocks of zeros come.
    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn write(layer: &Layer, epoch: Option<i64>, into: &mut impl Parts) -> Result<(), LayerError> {
    let count = layer.manifest.entries().len();
    let start = usize::from(layer.manifest.entries().first().is_some_and(|e| e.path.as_os_str().is_empty()));
    let mut writer = Writer { layer, epoch, into, buffer: vec![0; 64 * 1024] };
    writer.level(start..count)?;
    writer.into.end().map_err(LayerError::Output)?;
    writer.raw(&[0; 1024])?;
    writer.into.flush().map_err(LayerError::Output)
}

struct Writer<'a, W> {
    layer: &'a Layer,
    epoch: Option<i64>,
    into: &'a mut W,
    buffer: Vec<u8>,
}

impl<W: Parts> Writer<'_, W> {
    /// The content of one directory: first what it takes away, then the rest, each with what is below it.
    fn level(&mut self, range: Range<usize>) -> Result<(), LayerError> {
        let layer = self.layer;
        let entries = layer.manifest.entries();
        let mut children = Vec::new();
        let mut index = range.start;
        while index < range.end {
            let below = layer.manifest.below_in(index, range.end);
            children.push((&entries[index], below.clone()));
            index = below.end;
        }
        for (entry, _) in children.iter().filter(|(entry, _)| entry.is_whiteout()) {
            self.entry(entry)?;
        }
        for (entry, below) in children.into_iter().filter(|(entry, _)| !entry.is_whiteout()) {
            self.entry(entry)?;
            if !below.is_empty() {
                self.level(below)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Entry) -> Result<(), LayerError> {
        self.header(entry)?;
        if let Kind::File(content) = entry.kind
            && content.size > 0
        {
            self.into.content(content.size).map_err(LayerError::Output)?;
            self.content(entry, content.size)?;
        }
        Ok(())
    }

    fn header(&mut self, entry: &Entry) -> Result<(), LayerError> {
        let Attributes { mode, uid, gid, mtime, xattrs } = &entry.attributes;
        let mut name = entry::bytes(&entry.path).to_vec();
        let mut header = tar::Header::new_ustar();
        header.set_mode(*mode);
        let mut link: &[u8] = &[];
        let (entry_type, size) = match &entry.kind {
            Kind::Dir => {
                name.push(b'/');
                (tar::EntryType::Directory, 0)
            }
            Kind::File(content) => (tar::EntryType::Regular, content.size),
            Kind::HardLink { to } => {
                link = entry::bytes(to);
                (tar::EntryType::Link, 0)
            }
            Kind::Symlink { target } => {
                link = entry::bytes(target);
                (tar::EntryType::Symlink, 0)
            }
            Kind::Char(_) => (tar::EntryType::Char, 0),
            Kind::Block(_) => (tar::EntryType::Block, 0),
            Kind::Fifo => (tar::EntryType::Fifo, 0),
            Kind::Whiteout => {
                let at = name.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
                name.splice(at..at, *b".wh.");
                (tar::EntryType::Regular, 0)
            }
        };
        self.into.entry(entry, &name).map_err(LayerError::Output)?;
        header.set_entry_type(entry_type);
        let device = match &entry.kind {
            Kind::Char(device) | Kind::Block(device) => (device.major, device.minor),
            _ => (0, 0),
        };
        let numbers = header.set_device_major(device.0).and_then(|()| header.set_device_minor(device.1));
        numbers.expect("a ustar header has these fields");

        let mut records = BTreeMap::new();
        let mut number = |keyword: &str, value: u64, most: u64| {
            if value <= most {
                return value;
            }
            records.insert(keyword.to_owned(), value.to_string().into_bytes());
            0
        };
        header.set_uid(number("uid", u64::from(*uid), MAX_ID));
        header.set_gid(number("gid", u64::from(*gid), MAX_ID));
        header.set_size(number("size", size, MAX_SIZE));
        let mut seconds = mtime.seconds;
        if let Some(epoch) = self.epoch {
            seconds = seconds.min(epoch);
        }
        match u64::try_from(seconds) {
            Ok(seconds) if seconds <= MAX_SIZE => header.set_mtime(seconds),
            _ => {
                records.insert("mtime".to_owned(), seconds.to_string().into_bytes());
                header.set_mtime(0);
            }
        }
        if !set_name(&mut header, &name) {
            records.insert("path".to_owned(), name.clone());
        }
        if !set_link(&mut header, link) {
            records.insert("linkpath".to_owned(), link.to_vec());
        }
        // Capabilities alone, as every builder does: users' attributes are no part of an image.
        if let Some(capability) = xattrs.get(b"security.capability".as_slice())
            && !matches!(entry.kind, Kind::HardLink { .. })
        {
            records.insert("SCHILY.xattr.security.capability".to_owned(), capability.clone());
        }
        if !records.is_empty() {
            self.extended(&name, &records)?;
        }
        header.set_cksum();
        self.raw(header.as_bytes())
    }

    fn extended(&mut self, name: &[u8], records: &BTreeMap<String, Vec<u8>>) -> Result<(), LayerError> {
        let mut text = Vec::new();
        for (keyword, value) in records {
            record(&mut text, keyword, value);
        }
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::XHeader);
        for set in [tar::Header::set_uid, tar::Header::set_gid, tar::Header::set_mtime] {
            set(&mut header, 0);
        }
        header.set_mode(0);
        header.set_size(text.len() as u64);
        let name = name.strip_suffix(b"/").unwrap_or(name);
        let (parent, base) = entry::split(entry::from_bytes(name)).expect("the root is never written");
        let mut shown = entry::bytes(parent).to_vec();
        if !shown.is_empty() {
            shown.push(b'/');
        }
        shown.extend_from_slice(b"PaxHeaders.0/");
        shown.extend_from_slice(base.as_bytes());
        set_name(&mut header, &shown);
        header.set_cksum();
        self.raw(header.as_bytes())?;
        self.raw(&text)?;
        self.pad(text.len() as u64)
    }

    fn content(&mut self, entry: &Entry, size: u64) -> Result<(), LayerError> {
        let failed = |cause: io::Error| LayerError::io("read the layer's file", &entry.path)(cause);
        let mut file = self.layer.rooted()?.file(&entry.path, Links::Refused).map_err(failed)?;
        let mut left = size;
        while left > 0 {
            let wanted = left.min(self.buffer.len() as u64) as usize;
            let count = match file.read(&mut self.buffer[..wanted]) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(error)),
            };
            if count == 0 {
                let (id, path) = (self.layer.id, entry.path.clone());
                return Err(LayerError::Size { id, path, expected: size, actual: size - left });
            }
            self.into.write_all(&self.buffer[..count]).map_err(LayerError::Output)?;
            left -= count as u64;
        }
        let (id, path) = (self.layer.id, entry.path.clone());
        match file.metadata().map_err(failed)?.len() {
            actual if actual == size => self.pad(size),
            actual => Err(LayerError::Size { id, path, expected: size, actual }),
        }
    }

    fn pad(&mut self, size: u64) -> Result<(), LayerError> {
        let padding = (size.wrapping_neg() % 512) as usize;
        self.raw(&[0; 512][..padding])
    }

    fn raw(&mut self, bytes: &[u8]) -> Result<(), LayerError> {
        self.into.write_all(bytes).map_err(LayerError::Output)
    }
}

/// Puts the name into the header's two fields, as much of it as fits. Whether that is all of it.
fn set_name(header: &mut tar::Header, name: &[u8]) -> bool {
    let ustar = header.as_ustar_mut().expect("it was made as one");
    let room = ustar.name.len();
    if name.is_ascii() && name.len() > room {
        // The first part may have 155 bytes, the second 100; the slash between them is in neither.
        let first_slash = name.len() - room - 1;
        let slash =
            (first_slash..name.len().min(156)).find(|&at| name[at] == b'/' && at > 0 && at + 1 < name.len());
        if let Some(slash) = slash {
            ustar.prefix[..slash].copy_from_slice(&name[..slash]);
            ustar.name[..name.len() - slash - 1].copy_from_slice(&name[slash + 1..]);
            return true;
        }
    }
    put(&mut ustar.name, name)
}

fn set_link(header: &mut tar::Header, link: &[u8]) -> bool {
    put(&mut header.as_ustar_mut().expect("it was made as one").linkname, link)
}

fn put(field: &mut [u8; 100], text: &[u8]) -> bool {
    let ascii: Vec<u8> = text.iter().copied().filter(u8::is_ascii).take(field.len()).collect();
    field[..ascii.len()].copy_from_slice(&ascii);
    ascii == text
}

/// `length keyword=value\n`, where the length counts its own digits.
fn record(into: &mut Vec<u8>, keyword: &str, value: &[u8]) {
    let rest = keyword.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    into.extend_from_slice(format!("{length} {keyword}=").as_bytes());
    into.extend_from_slice(value);
    into.push(b'\n');
}
