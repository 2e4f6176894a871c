//! Tars that no tar program writes: names are put into the headers as they stand.

use tar::{Builder, EntryType, Header};

/// A tar under construction.
pub(crate) struct HostileTar(Builder<Vec<u8>>);

impl HostileTar {
    pub(crate) fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    fn entry(mut self, kind: EntryType, name: &str, link: &str, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
        header.set_size(content.len() as u64);
        header.set_mtime(1);
        header.set_uid(0);
        header.set_gid(0);
        {
            let old = header.as_old_mut();
            assert!(name.len() <= old.name.len() && link.len() <= old.linkname.len(), "a short name");
            old.name[..name.len()].copy_from_slice(name.as_bytes());
            old.linkname[..link.len()].copy_from_slice(link.as_bytes());
        }
        if matches!(kind, EntryType::Block | EntryType::Char) {
            header.set_device_major(1).expect("gnu");
            header.set_device_minor(3).expect("gnu");
        }
        header.set_cksum();
        self.0.append(&header, content).expect("write to memory");
        self
    }

    pub(crate) fn file(self, name: &str, content: &str) -> Self {
        self.entry(EntryType::Regular, name, "", content.as_bytes())
    }

    pub(crate) fn dir(self, name: &str) -> Self {
        self.entry(EntryType::Directory, name, "", b"")
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, name, target, b"")
    }

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Link, name, target, b"")
    }

    pub(crate) fn device(self, name: &str) -> Self {
        self.entry(EntryType::Char, name, "", b"")
    }

    pub(crate) fn fifo(self, name: &str) -> Self {
        self.entry(EntryType::Fifo, name, "", b"")
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        self.0.into_inner().expect("write to memory")
    }
}
