//! Files with holes: GNU's own header and the three PAX forms.

use std::io::{self, Read};

use super::header::Header;
use super::pax::{Extensions, parse};
use super::{Archive, ArchiveError, BLOCK};

/// Where a sparse file's bytes belong.
#[derive(Debug)]
pub(super) struct Segments {
    /// Offset and length, ascending and apart.
    map: std::vec::IntoIter<(u64, u64)>,
    current: Option<(u64, u64)>,
    at: u64,
    size: u64,
}

/// As many as are kept: 16 bytes each.
const MOST: usize = 1 << 20;

impl Segments {
    fn new(map: Vec<(u64, u64)>, size: u64, stored: u64) -> Option<Self> {
        let mut end = 0_u64;
        let mut total = 0_u64;
        for &(offset, length) in &map {
            if offset < end {
                return None;
            }
            end = offset.checked_add(length)?;
            total = total.checked_add(length)?;
        }
        if end > size || total > stored {
            return None;
        }
        let mut map = map.into_iter();
        Some(Self { current: map.next(), map, at: 0, size })
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn read<R: Read>(&mut self, archive: &mut Archive<R>, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_some_and(|(offset, length)| self.at >= offset + length) {
            self.current = self.map.next();
        }
        let next = self.current.map_or(self.size, |(offset, _)| offset);
        if self.at < next {
            let hole = (next - self.at).min(buffer.len() as u64) as usize;
            buffer[..hole].fill(0);
            self.at += hole as u64;
            return Ok(hole);
        }
        let Some((offset, length)) = self.current else { return Ok(0) };
        let wanted = (offset + length - self.at).min(buffer.len() as u64) as usize;
        let count = archive.read_body(&mut buffer[..wanted])?;
        self.at += count as u64;
        Ok(count)
    }
}

/// GNU's own form: four segments in the header, 21 in each block that follows.
pub(super) fn gnu<R: Read>(archive: &mut Archive<R>, header: &Header<'_>) -> Result<Segments, ArchiveError> {
    const BAD: &str = "its map of holes is impossible";
    let gnu = header.raw().as_gnu().ok_or_else(|| archive.bad(BAD))?;
    let size = gnu.real_size().map_err(|_| archive.bad(BAD))?;
    let stored = archive.left;
    let mut map = Vec::new();
    let mut add = |segments: &[tar::GnuSparseHeader]| {
        for segment in segments.iter().filter(|segment| !segment.is_empty()) {
            map.push((segment.offset().ok()?, segment.length().ok()?));
        }
        (map.len() <= MOST).then_some(())
    };
    add(&gnu.sparse).ok_or_else(|| archive.bad(BAD))?;
    let mut more = gnu.is_extended();
    while more {
        let block = archive.block(false)?.ok_or_else(|| archive.truncated())?;
        let mut extended = tar::GnuExtSparseHeader::new();
        extended.as_mut_bytes().copy_from_slice(&block);
        add(extended.sparse()).ok_or_else(|| archive.bad(BAD))?;
        more = extended.is_extended();
    }
    Segments::new(map, size, stored).ok_or_else(|| archive.bad(BAD))
}

/// PAX: the map in the extended header (0.0, 0.1) or at the start of the content (1.0).
pub(super) fn pax<R: Read>(
    archive: &mut Archive<R>,
    extensions: &Extensions,
) -> Result<Segments, ArchiveError> {
    const BAD: &str = "its map of holes is impossible";
    let number = |keyword| extensions.get(keyword).and_then(parse);
    let size = number("GNU.sparse.realsize").or_else(|| number("GNU.sparse.size"));
    let size = size.ok_or_else(|| archive.bad(BAD))?;
    let numbers: Vec<u64> = if number("GNU.sparse.major") == Some(1) {
        stored_map(archive)?
    } else if let Some(map) = extensions.get("GNU.sparse.map") {
        let numbers: Option<Vec<u64>> = map.split(|&byte| byte == b',').map(parse).collect();
        numbers.ok_or_else(|| archive.bad(BAD))?
    } else {
        extensions.sparse_pairs.clone()
    };
    if !numbers.len().is_multiple_of(2) {
        return Err(archive.bad(BAD));
    }
    let map = numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
    Segments::new(map, size, archive.left).ok_or_else(|| archive.bad(BAD))
}

/// The map at the start of the content: a count and then the numbers, a line each, padded to a block.
fn stored_map<R: Read>(archive: &mut Archive<R>) -> Result<Vec<u64>, ArchiveError> {
    const BAD: &str = "its map of holes is impossible";
    let mut numbers: Vec<u64> = Vec::new();
    let mut line = Vec::new();
    let mut expected = None;
    while expected != Some(numbers.len()) {
        let mut block = [0; BLOCK];
        archive.fill(&mut block)?;
        for byte in block {
            if expected == Some(numbers.len()) {
                break;
            }
            if byte != b'\n' {
                line.push(byte);
                if line.len() > 20 {
                    return Err(archive.bad(BAD));
                }
                continue;
            }
            let number = parse(&line).ok_or_else(|| archive.bad(BAD))?;
            line.clear();
            if expected.is_some() {
                numbers.push(number);
            } else {
                let count = usize::try_from(number).ok().filter(|&count| count <= MOST);
                expected = Some(count.ok_or_else(|| archive.bad(BAD))? * 2);
            }
        }
    }
    Ok(numbers)
}
