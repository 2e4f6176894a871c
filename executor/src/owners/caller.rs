//! The thread that waits for its answer: its memory, its credentials, what the kernel tells of it.

use std::ffi::CString;
use std::io::Read as _;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use super::calls::I386;
use super::credentials::Credentials;
use super::supervisor::Shared;
use crate::sys::notify::{self, Call};

/// What becomes of a call.
#[derive(Debug)]
pub(super) enum Reply {
    /// The kernel does it.
    Continue,
    Value(i64),
    /// It returns this file, closed on exec or not.
    File(OwnedFd, bool),
}

/// A reply, or how the call fails.
pub(super) type Outcome = Result<Reply, Errno>;

/// A waiting thread and what it asks.
#[derive(Debug)]
pub(super) struct Caller<'a> {
    pub(super) shared: &'a Shared,
    pub(super) call: &'a Call,
}

const PAGE: u64 = 4096;
/// With the zero at the end.
const LONGEST_PATH: usize = 4096;

pub(super) fn errno(error: &std::io::Error) -> Errno {
    Errno::from_raw_os_error(error.raw_os_error().unwrap_or(libc::EIO))
}

impl Caller<'_> {
    pub(super) fn argument(&self, index: usize) -> u64 {
        self.call.arguments[index]
    }

    /// An argument of 32 bits: the kernel looks at no more.
    pub(super) fn word(&self, index: usize) -> u32 {
        self.call.arguments[index] as u32
    }

    /// An id argument, where -1 is none.
    pub(super) fn id(&self, index: usize) -> Option<u32> {
        Some(self.word(index)).filter(|id| *id != u32::MAX)
    }

    /// Whether its words have 32 bits.
    pub(super) fn is_narrow(&self) -> bool {
        self.call.arch == I386
    }

    pub(super) fn thread(&self) -> i32 {
        self.call.thread
    }

    /// Whether what was read of the thread's number was of this thread.
    pub(super) fn still_waits(&self) -> Result<(), Errno> {
        // Whoever is gone reads no answer.
        if notify::call_waits(&self.shared.listener, self.call.id) { Ok(()) } else { Err(Errno::SRCH) }
    }

    /// A text in its memory.
    pub(super) fn text(&self, address: u64) -> Result<CString, Errno> {
        let mut text = Vec::new();
        let mut at = address;
        while text.len() < LONGEST_PATH {
            let mut piece = [0; PAGE as usize];
            let room = (PAGE - at % PAGE) as usize;
            let count = notify::read_memory(self.thread(), at, &mut piece[..room]).map_err(|e| errno(&e))?;
            if let Some(end) = piece[..count].iter().position(|byte| *byte == 0) {
                text.extend_from_slice(&piece[..end]);
                return match text.len() < LONGEST_PATH {
                    true => CString::new(text).map_err(|_| Errno::INVAL),
                    false => Err(Errno::NAMETOOLONG),
                };
            }
            text.extend_from_slice(&piece[..count]);
            at += room as u64;
        }
        Err(Errno::NAMETOOLONG)
    }

    /// Exactly as many bytes of its memory as `into` has.
    pub(super) fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Errno> {
        match notify::read_memory(self.thread(), address, into) {
            Ok(count) if count == into.len() => Ok(()),
            Ok(_) => Err(Errno::FAULT),
            Err(error) => Err(errno(&error)),
        }
    }

    /// A list of 32-bit numbers in its memory.
    pub(super) fn read_words(&self, address: u64, count: usize) -> Result<Vec<u32>, Errno> {
        let mut bytes = vec![0; count * 4];
        self.read(address, &mut bytes)?;
        Ok(bytes
            .chunks_exact(4)
            .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
            .collect())
    }

    pub(super) fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        notify::write_memory(self.thread(), address, bytes).map_err(|error| errno(&error))
    }

    pub(super) fn write_word(&self, address: u64, word: u32) -> Result<(), Errno> {
        self.write(address, &word.to_le_bytes())
    }

    /// Who it believes to be.
    pub(super) fn credentials(&self) -> Result<Credentials, Errno> {
        self.shared.credentials_of(self.thread())
    }

    /// Makes it believe to be somebody else.
    pub(super) fn become_other(&self, credentials: &Credentials) -> Result<(), Errno> {
        self.still_waits()?;
        let number = self.shared.table.number(credentials);
        notify::lock_limit(self.thread(), Some(number)).map_err(|error| errno(&error))?;
        Ok(())
    }

    /// A number in its `status` file.
    pub(super) fn status(&self, field: &str, radix: u32) -> Result<u32, Errno> {
        status(&self.shared.proc, self.thread(), field, radix)
    }

    /// The bits that it takes from the modes of what it makes.
    pub(super) fn umask(&self) -> Result<u32, Errno> {
        self.status("Umask:", 8)
    }
}

/// The last number of a line of a process's `status`.
pub(super) fn status(proc: &OwnedFd, process: i32, field: &str, radix: u32) -> Result<u32, Errno> {
    let file = openat(proc, format!("{process}/status"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = String::new();
    std::fs::File::from(file).read_to_string(&mut text).map_err(|error| errno(&error))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)).ok_or(Errno::SRCH)?;
    let number = line.split_whitespace().next_back().ok_or(Errno::SRCH)?;
    u32::from_str_radix(number, radix).map_err(|_| Errno::SRCH)
}

/// Opens a directory of the private procfs, in which the supervisor's threads stand.
pub(super) fn open_path(path: &str) -> Result<OwnedFd, Errno> {
    openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}
