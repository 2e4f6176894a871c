//! What `stat` and its kin say of a file, in the words of each entry into the kernel.

use kiln_cache::OwnerRecord;
use rustix::fs::FileType;

use crate::sys::notify::StatxBytes;

/// A file as statx(2) describes it.
#[derive(Debug, Clone)]
pub(super) struct Looks(StatxBytes);

// Offsets in struct statx.
const BLOCK_SIZE: usize = 4;
const LINKS: usize = 16;
const UID: usize = 20;
const GID: usize = 24;
const MODE: usize = 28;
const INODE: usize = 32;
const SIZE: usize = 40;
const BLOCKS: usize = 48;
const ACCESSED: usize = 64;
const CHANGED: usize = 96;
const MODIFIED: usize = 112;
const DEVICE_NUMBER: usize = 128;
const ON_DEVICE: usize = 136;

impl Looks {
    pub(super) fn new(bytes: StatxBytes) -> Self {
        Self(bytes)
    }

    fn word(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.0[at..at + 4].try_into().expect("four bytes"))
    }

    fn long(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.0[at..at + 8].try_into().expect("eight bytes"))
    }

    fn set_word(&mut self, at: usize, word: u32) {
        self.0[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }

    pub(super) fn uid(&self) -> u32 {
        self.word(UID)
    }

    pub(super) fn mode(&self) -> u32 {
        u32::from(u16::from_le_bytes([self.0[MODE], self.0[MODE + 1]]))
    }

    pub(super) fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.mode())
    }

    /// As the record has it.
    pub(super) fn owned(mut self, record: &OwnerRecord) -> Self {
        self.set_word(UID, record.uid);
        self.set_word(GID, record.gid);
        if let Some(device) = record.device {
            let mode = (self.mode() & 0o7777 | device.file_type().as_raw_mode()) as u16;
            self.0[MODE..MODE + 2].copy_from_slice(&mode.to_le_bytes());
            self.set_word(DEVICE_NUMBER, device.number.major);
            self.set_word(DEVICE_NUMBER + 4, device.number.minor);
            self.0[SIZE..SIZE + 8].fill(0);
            self.0[BLOCKS..BLOCKS + 8].fill(0);
        }
        self
    }

    pub(super) fn statx(&self) -> &[u8] {
        &self.0
    }

    /// A device's number in the kernel's own form.
    fn device(&self, at: usize) -> u64 {
        let (major, minor) = (u64::from(self.word(at)), u64::from(self.word(at + 4)));
        minor & 0xff | major << 8 | (minor & !0xff) << 12
    }

    /// `struct stat` of a 64-bit entry.
    pub(super) fn stat(&self) -> Vec<u8> {
        let mut into = Vec::with_capacity(144);
        let mut long = |value: u64| into.extend_from_slice(&value.to_le_bytes());
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        long(self.device(ON_DEVICE));
        long(self.long(INODE));
        if cfg!(target_arch = "x86_64") {
            long(u64::from(self.word(LINKS)));
            long(pair(self.mode(), self.uid()));
            long(u64::from(self.word(GID)));
            long(self.device(DEVICE_NUMBER));
            long(self.long(SIZE));
            long(u64::from(self.word(BLOCK_SIZE)));
            long(self.long(BLOCKS));
        } else {
            // The generic one (asm-generic/stat.h).
            long(pair(self.mode(), self.word(LINKS)));
            long(pair(self.uid(), self.word(GID)));
            long(self.device(DEVICE_NUMBER));
            long(0);
            long(self.long(SIZE));
            long(u64::from(self.word(BLOCK_SIZE)));
            long(self.long(BLOCKS));
        }
        for time in [ACCESSED, MODIFIED, CHANGED] {
            long(self.long(time));
            long(u64::from(self.word(time + 8)));
        }
        into.resize(if cfg!(target_arch = "x86_64") { 144 } else { 128 }, 0);
        into
    }

    /// `struct stat64` of i386, whose 64-bit numbers stand at any multiple of four.
    pub(super) fn narrow_stat(&self) -> Vec<u8> {
        let mut into = Vec::with_capacity(96);
        let mut put = |bytes: &[u8]| into.extend_from_slice(bytes);
        put(&self.device(ON_DEVICE).to_le_bytes());
        put(&[0; 4]);
        for word in [self.long(INODE) as u32, self.mode(), self.word(LINKS), self.uid(), self.word(GID)] {
            put(&word.to_le_bytes());
        }
        put(&self.device(DEVICE_NUMBER).to_le_bytes());
        put(&[0; 4]);
        put(&self.long(SIZE).to_le_bytes());
        put(&self.word(BLOCK_SIZE).to_le_bytes());
        put(&self.long(BLOCKS).to_le_bytes());
        for time in [ACCESSED, MODIFIED, CHANGED] {
            put(&(self.long(time) as u32).to_le_bytes());
            put(&self.word(time + 8).to_le_bytes());
        }
        put(&self.long(INODE).to_le_bytes());
        into
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::notify::statx_bytes;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn stat_is_what_the_kernel_would_have_written() {
        use std::os::unix::fs::MetadataExt as _;
        for path in [c"/dev/null", c"/etc/passwd", c"/"] {
            let looks = Looks::new(statx_bytes(path, 0, libc::STATX_BASIC_STATS).unwrap());
            let metadata = std::fs::metadata(path.to_str().unwrap()).unwrap();
            let stat = looks.stat();
            let long = |at: usize| u64::from_le_bytes(stat[at..at + 8].try_into().unwrap());
            let word = |at: usize| u32::from_le_bytes(stat[at..at + 4].try_into().unwrap());
            assert_eq!((stat.len(), long(0), long(8)), (144, metadata.dev(), metadata.ino()));
            assert_eq!((long(16), word(24)), (metadata.nlink(), metadata.mode()));
            assert_eq!((word(28), word(32), long(40)), (metadata.uid(), metadata.gid(), metadata.rdev()));
            assert_eq!((long(48), long(88)), (metadata.size(), metadata.mtime() as u64));
            assert_eq!(looks.narrow_stat().len(), 96);
        }
    }
}
