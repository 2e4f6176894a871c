//! A root file system as one tar: `type=tar`.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use tar::{EntryType, Header};

use crate::error::ExportError;
use crate::tree::{FileTree, TreeEntry, TreeKind, plain};

/// The longest name and link of a header without an extension.
const SHORT: usize = 100;
/// The largest number of an octal field of a header for sizes and times, and for owners.
const LARGE: u64 = 0o77_777_777_777;
const LARGE_ID: u32 = 0o7_777_777;

/// Writes a root file system as a tar in the form of POSIX 1003.1-2001 (pax). With `epoch`, all times are that one.
///
/// # Errors
/// If the tree cannot be read or `out` fails. What was written then is no archive.
pub fn write_rootfs_tar(
    out: &mut dyn Write,
    tree: &dyn FileTree,
    epoch: Option<i64>,
) -> Result<(), ExportError> {
    tree.visit(&mut |entry| {
        if entry.path.as_os_str().is_empty() {
            return Ok(());
        }
        plain(&entry.path)?;
        header(out, entry, epoch).map_err(ExportError::stream())?;
        match &entry.kind {
            TreeKind::File { size } => content(out, tree, &entry.path, *size),
            _ => Ok(()),
        }
    })?;
    out.write_all(&[0; 1024]).map_err(ExportError::stream())
}

fn content(out: &mut dyn Write, tree: &dyn FileTree, path: &Path, size: u64) -> Result<(), ExportError> {
    let unreadable = |cause| ExportError::Tree { path: path.to_owned(), cause };
    let mut bytes = tree.open(path).map_err(unreadable)?;
    let mut left = size;
    let mut buffer = vec![0; 64 << 10];
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        match bytes.read(&mut buffer[..want]) {
            Ok(0) => return Err(unreadable(io::ErrorKind::UnexpectedEof.into())),
            Ok(n) => {
                out.write_all(&buffer[..n]).map_err(ExportError::stream())?;
                left -= n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(unreadable(cause)),
        }
    }
    let missing = usize::try_from(size.next_multiple_of(512) - size).expect("less than a block");
    out.write_all(&[0; 512][..missing]).map_err(ExportError::stream())
}

fn header(out: &mut dyn Write, entry: &TreeEntry, epoch: Option<i64>) -> io::Result<()> {
    let (kind, size, link) = match &entry.kind {
        TreeKind::Dir => (EntryType::Directory, 0, None),
        TreeKind::File { size } => (EntryType::Regular, *size, None),
        TreeKind::HardLink { to } => (EntryType::Link, 0, Some(to.as_os_str())),
        TreeKind::Symlink { target } => (EntryType::Symlink, 0, Some(target.as_os_str())),
        TreeKind::Char(..) => (EntryType::Char, 0, None),
        TreeKind::Block(..) => (EntryType::Block, 0, None),
        TreeKind::Fifo => (EntryType::Fifo, 0, None),
    };
    let mut name = entry.path.as_os_str().as_bytes().to_vec();
    if kind == EntryType::Directory {
        name.push(b'/');
    }
    let (seconds, nanoseconds) = epoch.map_or(entry.mtime, |epoch| (epoch, 0));

    let mut header = Header::new_ustar();
    let mut records = Records::default();
    header.set_entry_type(kind);
    header.set_mode(entry.mode & 0o7777);
    header.set_size(if size > LARGE { records.number("size", size) } else { size });
    header.set_uid(records.id("uid", entry.uid));
    header.set_gid(records.id("gid", entry.gid));
    match u64::try_from(seconds) {
        Ok(seconds) if seconds <= LARGE && nanoseconds == 0 => header.set_mtime(seconds),
        _ => header.set_mtime(records.time(seconds, nanoseconds)),
    }
    if let TreeKind::Char(major, minor) | TreeKind::Block(major, minor) = entry.kind {
        header.set_device_major(major)?;
        header.set_device_minor(minor)?;
    }
    let fields = header.as_ustar_mut().expect("made as one above");
    records.text("path", &name, &mut fields.name);
    if let Some(link) = link {
        records.text("linkpath", OsStr::as_bytes(link), &mut fields.linkname);
    }
    for (name, value) in &entry.xattrs {
        records.add(&[b"SCHILY.xattr.", name.as_slice()].concat(), value);
    }
    records.write(out)?;
    header.set_cksum();
    out.write_all(header.as_bytes())
}

/// The extensions of one header.
#[derive(Default)]
struct Records(Vec<u8>);

impl Records {
    /// `<length> <key>=<value>\n`, where the length counts itself.
    fn add(&mut self, key: &[u8], value: &[u8]) {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        self.0.extend(length.to_string().bytes());
        self.0.extend([b" ", key, b"=", value, b"\n"].concat());
    }

    /// Puts a name into its field, and into a record if the field is too short or the name is no ASCII.
    fn text(&mut self, key: &str, name: &[u8], field: &mut [u8; SHORT]) {
        if name.len() > SHORT || !name.is_ascii() {
            self.add(key.as_bytes(), name);
        }
        let n = name.len().min(SHORT);
        field[..n].copy_from_slice(&name[..n]);
    }

    fn number(&mut self, key: &str, number: u64) -> u64 {
        self.add(key.as_bytes(), number.to_string().as_bytes());
        0
    }

    fn id(&mut self, key: &str, id: u32) -> u64 {
        if id > LARGE_ID { self.number(key, u64::from(id)) } else { u64::from(id) }
    }

    /// A time with a fraction, or before 1970. Returns what stands in the field.
    fn time(&mut self, seconds: i64, nanoseconds: u32) -> u64 {
        // Written towards zero from the value: -0.5 s is second -1 and 500,000,000 ns here.
        let total = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
        let (sign, total) = (if total < 0 { "-" } else { "" }, total.unsigned_abs());
        let fraction = format!("{:09}", total % 1_000_000_000);
        let fraction = fraction.trim_end_matches('0');
        let dot = if fraction.is_empty() { "" } else { "." };
        self.add(b"mtime", format!("{sign}{}{dot}{fraction}", total / 1_000_000_000).as_bytes());
        u64::try_from(seconds).unwrap_or(0).min(LARGE)
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        header.set_path("PaxHeaders.0/entry")?;
        header.set_mode(0o644);
        header.set_size(self.0.len() as u64);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        out.write_all(header.as_bytes())?;
        out.write_all(&self.0)?;
        out.write_all(&[0; 512][..self.0.len().next_multiple_of(512) - self.0.len()])
    }
}
