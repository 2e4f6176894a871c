//! The members of a tar, none of them trusted: bounded headers, checked sizes, all dialects that are met in the wild.
//!
//! Headers are read through the `tar` crate's types; the walk over them is kiln's, because a long name or a PAX header
//! of a gigabyte must not be read into memory.

mod header;
mod pax;
mod sparse;
#[cfg(test)]
pub(crate) mod tests;

use std::io::{self, Read};
use std::path::PathBuf;

use super::entry::{Attributes, Device};
use sparse::Segments;

/// Reads the members of a tar one after the other.
#[derive(Debug)]
pub struct Archive<R> {
    reader: R,
    /// Bytes read so far, for messages.
    at: u64,
    /// What is left of the current member's bytes in the archive, and of the padding after them.
    left: u64,
    padding: u64,
    ended: bool,
}

/// One member. Reading it gives a file's content, holes filled.
#[derive(Debug)]
pub struct Member<'a, R> {
    /// As written, links and `..` and all.
    pub path: PathBuf,
    /// What it is.
    pub kind: MemberKind,
    /// Owner, mode, time and all extended attributes that it came with.
    pub attributes: Attributes,
    /// Of a file, in bytes, holes included.
    pub size: u64,
    archive: &'a mut Archive<R>,
    segments: Option<Segments>,
}

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink {
        /// As written.
        target: PathBuf,
    },
    /// Another name of a file.
    HardLink {
        /// As written, from the archive's root.
        to: PathBuf,
    },
    /// A character device.
    Char(Device),
    /// A block device.
    Block(Device),
    /// A named pipe.
    Fifo,
}

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The input itself fails.
    #[error("cannot read the input")]
    Read(#[source] io::Error),
    /// It ends in the middle.
    #[error("it ends in the middle of a member, at byte {at}")]
    Truncated {
        /// Of the tar.
        at: u64,
    },
    /// A header is none.
    #[error("no valid header at byte {at}: {what}")]
    Header {
        /// Of the tar.
        at: u64,
        /// What is wrong with it.
        what: &'static str,
    },
}

const BLOCK: usize = 512;
/// As much as is read of a member's extended headers: a path has at most 4 KiB, an attribute 64 KiB.
const EXTENSION: u64 = 1024 * 1024;

impl<R: Read> Archive<R> {
    /// Reads from `reader`, which is already decompressed.
    pub fn new(reader: R) -> Self {
        Self { reader, at: 0, left: 0, padding: 0, ended: false }
    }

    /// The next member; what is left of the one before is skipped. `None` at the end.
    ///
    /// # Errors
    /// The input fails, ends early or is no tar.
    pub fn next_member(&mut self) -> Result<Option<Member<'_, R>>, ArchiveError> {
        let mut extensions = pax::Extensions::default();
        let mut room = EXTENSION;
        loop {
            self.skip_rest()?;
            let Some(block) = self.block(true)? else {
                return if extensions.is_empty() { Ok(None) } else { Err(self.truncated()) };
            };
            let header = header::Header::check(&block).map_err(|what| self.bad(what))?;
            match header.flag() {
                b'g' | b'V' => self.body(header.size().map_err(|what| self.bad(what))?),
                b'x' => {
                    let text = self.extension(&header, &mut room)?;
                    extensions.read(&text).map_err(|what| self.bad(what))?;
                }
                b'L' => extensions.long_name = Some(self.extension(&header, &mut room)?),
                b'K' => extensions.long_link = Some(self.extension(&header, &mut room)?),
                _ => return self.member(&header, &extensions).map(Some),
            }
        }
    }

    /// The reader, of which everything up to the end mark has been read.
    pub fn into_inner(self) -> R {
        self.reader
    }

    fn member(
        &mut self,
        header: &header::Header<'_>,
        extensions: &pax::Extensions,
    ) -> Result<Member<'_, R>, ArchiveError> {
        let parsed = header.member(extensions).map_err(|what| self.bad(what))?;
        self.body(parsed.stored);
        let mut size = parsed.stored;
        let segments = if header.flag() == b'S' {
            Some(sparse::gnu(self, header)?)
        } else if parsed.kind == MemberKind::File && extensions.is_sparse() {
            Some(sparse::pax(self, extensions)?)
        } else {
            None
        };
        if let Some(segments) = &segments {
            size = segments.size();
        }
        let header::Parsed { path, kind, attributes, .. } = parsed;
        Ok(Member { path, kind, attributes, size, archive: self, segments })
    }

    /// The next block; `None` at the archive's end, which is a block of zeros or simply the end of the input.
    fn block(&mut self, may_end: bool) -> Result<Option<[u8; BLOCK]>, ArchiveError> {
        if self.ended {
            return Ok(None);
        }
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.reader.read(&mut block[filled..]) {
                Ok(0) if filled == 0 && may_end => {
                    self.ended = true;
                    return Ok(None);
                }
                Ok(0) => return Err(self.truncated()),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ArchiveError::Read(error)),
            }
        }
        self.at += BLOCK as u64;
        if may_end && block.iter().all(|&byte| byte == 0) {
            self.ended = true;
            return Ok(None);
        }
        Ok(Some(block))
    }

    fn body(&mut self, size: u64) {
        self.left = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    /// An extended header's text. All that belong to one member share the `room`.
    fn extension(&mut self, header: &header::Header<'_>, room: &mut u64) -> Result<Vec<u8>, ArchiveError> {
        let size = header.size().map_err(|what| self.bad(what))?;
        let left = room.checked_sub(size.max(BLOCK as u64));
        *room = left.ok_or_else(|| self.bad("its extended headers have more than a megabyte"))?;
        self.body(size);
        let mut text = vec![0; size as usize];
        self.fill(&mut text)?;
        Ok(text)
    }

    /// Reads a part of the current member that must be there.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), ArchiveError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_body(&mut buffer[filled..]).map_err(ArchiveError::Read)? {
                0 => return Err(self.truncated()),
                count => filled += count,
            }
        }
        Ok(())
    }

    fn read_body(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = self.left.min(buffer.len() as u64) as usize;
        if wanted == 0 {
            return Ok(0);
        }
        let count = self.reader.read(&mut buffer[..wanted])?;
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, self.truncated()));
        }
        self.left -= count as u64;
        self.at += count as u64;
        Ok(count)
    }

    fn skip_rest(&mut self) -> Result<(), ArchiveError> {
        let rest = self.left.checked_add(self.padding).ok_or_else(|| self.bad("its size is impossible"))?;
        let skipped = io::copy(&mut (&mut self.reader).take(rest), &mut io::sink());
        let skipped = skipped.map_err(ArchiveError::Read)?;
        self.at += skipped;
        // A last member without its padding is whole all the same.
        if skipped < self.left {
            return Err(self.truncated());
        }
        (self.left, self.padding) = (0, 0);
        Ok(())
    }

    fn truncated(&self) -> ArchiveError {
        ArchiveError::Truncated { at: self.at }
    }

    fn bad(&self, what: &'static str) -> ArchiveError {
        ArchiveError::Header { at: self.at.saturating_sub(BLOCK as u64), what }
    }
}

impl<R: Read> Read for Member<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.segments {
            None => self.archive.read_body(buffer),
            Some(segments) => segments.read(self.archive, buffer),
        }
    }
}
