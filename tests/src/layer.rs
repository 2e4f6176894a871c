//! The entries of a layer's tar, in the form of the golden results.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;

use sha2::{Digest, Sha256};
use tar::EntryType;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// Another name of a file of the same layer.
    Hardlink,
    /// A character device.
    Char,
    /// A block device.
    Block,
    /// A named pipe.
    Fifo,
}

impl Kind {
    /// Its name in golden results.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Dir => "dir",
            Self::Symlink => "symlink",
            Self::Hardlink => "hardlink",
            Self::Char => "char",
            Self::Block => "block",
            Self::Fifo => "fifo",
        }
    }
}

/// An entry of a layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Without a leading slash; a directory's ends in one.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// Twelve bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Seconds since 1970.
    pub mtime: i64,
    /// Bytes of a regular file.
    pub size: u64,
    /// SHA-256 of a regular file's bytes, in hex; none if it is empty.
    pub sha256: Option<String>,
    /// Where a link points.
    pub link: Option<String>,
    /// Major and minor number of a device.
    pub dev: Option<(u32, u32)>,
    /// PAX records other than path, link path, size, ids and times.
    pub pax: BTreeMap<String, String>,
    /// User and group name, if either is given.
    pub names: Option<(String, String)>,
    /// The first bytes of a regular file, for tests that look into it.
    pub content: Vec<u8>,
}

/// How much of a file's content is kept.
const KEPT: usize = 16 * 1024;

/// Reads an uncompressed layer, in the order of the tar.
pub fn read_layer(tar: impl Read) -> std::io::Result<Vec<Entry>> {
    tar::Archive::new(tar).entries()?.map(|entry| read_entry(entry?)).collect()
}

fn read_entry<R: Read>(mut entry: tar::Entry<'_, R>) -> std::io::Result<Entry> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut pax = BTreeMap::new();
    if let Some(records) = entry.pax_extensions()? {
        for record in records.flatten() {
            pax.insert(text(record.key_bytes()), text(record.value_bytes()));
        }
    }
    let known = ["path", "linkpath", "size", "uid", "gid", "mtime", "atime", "ctime"];
    pax.retain(|name, _| !known.contains(&name.as_str()));

    let header = entry.header();
    let kind = match header.entry_type() {
        EntryType::Directory => Kind::Dir,
        EntryType::Symlink => Kind::Symlink,
        EntryType::Link => Kind::Hardlink,
        EntryType::Char => Kind::Char,
        EntryType::Block => Kind::Block,
        EntryType::Fifo => Kind::Fifo,
        EntryType::Regular | EntryType::Continuous => Kind::File,
        other => return Err(std::io::Error::other(format!("a layer may not hold a {other:?}"))),
    };
    let name = |bytes: Option<&[u8]>| bytes.map(text).unwrap_or_default();
    let names = (name(header.username_bytes()), name(header.groupname_bytes()));
    let device = matches!(kind, Kind::Char | Kind::Block);
    let mut path = text(&entry.path_bytes());
    if kind == Kind::Dir && !path.ends_with('/') {
        path.push('/');
    }
    let mut read = Entry {
        path,
        kind,
        mode: header.mode()? & 0o7777,
        uid: header.uid()?,
        gid: header.gid()?,
        mtime: i64::try_from(header.mtime()?).unwrap_or(0),
        size: 0,
        sha256: None,
        link: entry.link_name_bytes().map(|link| text(&link)),
        dev: if device { header.device_major()?.zip(header.device_minor()?) } else { None },
        pax,
        names: (names != Default::default()).then_some(names),
        content: Vec::new(),
    };
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let n = entry.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
        let room = KEPT.saturating_sub(read.content.len()).min(n);
        read.content.extend_from_slice(&buffer[..room]);
        read.size += n as u64;
    }
    read.sha256 = (read.size > 0).then(|| hex(&hasher.finalize()));
    Ok(read)
}

/// `sha256:…` of bytes.
pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What remains when layers are laid upon each other: whiteouts are obeyed and gone. Keys have no trailing slash.
pub fn merge<'a>(layers: impl IntoIterator<Item = &'a [Entry]>) -> BTreeMap<String, Entry> {
    let mut merged: BTreeMap<String, Entry> = BTreeMap::new();
    for layer in layers {
        for entry in layer {
            let (dir, name) =
                entry.path.rsplit_once('/').map_or(("", &*entry.path), |(dir, name)| (dir, name));
            if name == ".wh..wh..opq" {
                merged.retain(|key, _| !key.starts_with(&format!("{dir}/")));
            } else if let Some(gone) = name.strip_prefix(".wh.") {
                let gone = if dir.is_empty() { gone.to_owned() } else { format!("{dir}/{gone}") };
                merged.retain(|key, _| *key != gone && !key.starts_with(&format!("{gone}/")));
            }
        }
        for entry in layer.iter().filter(|entry| !entry.path.contains(".wh.")) {
            let path = entry.path.trim_end_matches('/');
            if entry.kind != Kind::Dir {
                merged.retain(|key, _| !key.starts_with(&format!("{path}/")));
            }
            merged.insert(path.to_owned(), entry.clone());
        }
    }
    merged
}

/// `f 0644 /out 5`: kind, mode, path, size or target, and the owner where it is not root.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = match self.kind {
            Kind::File => 'f',
            Kind::Dir => 'd',
            Kind::Symlink => 'l',
            Kind::Hardlink => 'h',
            Kind::Char => 'c',
            Kind::Block => 'b',
            Kind::Fifo => 'p',
        };
        write!(f, "{letter} {:04o} /{}", self.mode, self.path)?;
        match (self.kind, &self.link) {
            (Kind::File, _) => write!(f, " {}", self.size)?,
            (_, Some(link)) => write!(f, " -> {link}")?,
            _ => {}
        }
        if (self.uid, self.gid) != (0, 0) {
            write!(f, " {}:{}", self.uid, self.gid)?;
        }
        Ok(())
    }
}
