//! eStargz (stargz-snapshotter, docs/estargz.md): a gzip layer of which single files can be fetched.
//!
//! Every piece of a file's content is a gzip member of its own. The last file of the tar, `stargz.index.json`, is the table
//! of contents (TOC): each entry's attributes and, for contents, where their members begin and what their digests are.
//! An empty member at the end, the footer, says where the TOC begins. To everybody else it is a gzip layer with one small
//! file more at each end.
//!
//! Written by one thread: members are of the files' sizes, and so small ones cannot be told to many.

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;

use kiln_core::{DiffId, Digest, DigestWriter};
use libdeflater::{CompressionLvl, Compressor};
use serde_json::{Map, Value, json};

use super::super::entry::{Entry, Kind};
use super::super::error::LayerError;
use super::super::layers::Layer;
use super::tar::{self, Parts};
use crate::index::PackedLayer;

/// The TOC's name in the tar.
pub(super) const TOC: &str = "stargz.index.json";
/// Says that nothing is worth fetching before it is asked for.
const LANDMARK: &str = ".no.prefetch.landmark";
/// The longest piece of a file.
const CHUNK: u64 = 4 << 20;

/// The layer as an eStargz blob, and the digest of its TOC.
pub(crate) fn pack(
    layer: &Layer,
    epoch: Option<i64>,
    level: CompressionLvl,
    into: impl Write,
) -> Result<(PackedLayer, Digest), LayerError> {
    let mut writer = Writer {
        out: DigestWriter::new(into),
        plain: DigestWriter::new(io::sink()),
        compressor: Compressor::new(level),
        member: Vec::new(),
        toc: Vec::new(),
        content: None,
        epoch,
        toc_at: None,
    };
    writer.landmark().map_err(LayerError::Output)?;
    tar::write(layer, epoch, &mut writer)?;
    writer.finish().map_err(LayerError::Output)
}

struct Writer<W> {
    /// The blob.
    out: DigestWriter<W>,
    /// The tar.
    plain: DigestWriter<io::Sink>,
    compressor: Compressor,
    /// What the next member will hold.
    member: Vec<u8>,
    toc: Vec<Map<String, Value>>,
    content: Option<Content>,
    epoch: Option<i64>,
    /// Where the TOC's member begins, and its digest.
    toc_at: Option<(u64, Digest)>,
}

/// A file's content on its way.
struct Content {
    /// The file's place in the TOC.
    entry: usize,
    name: Value,
    left: u64,
    /// Where the piece that is being gathered begins in the file.
    start: u64,
    whole: DigestWriter<io::Sink>,
}

impl<W: Write> Writer<W> {
    /// Ends the member.
    fn cut(&mut self) -> io::Result<()> {
        if self.member.is_empty() {
            return Ok(());
        }
        let mut packed = vec![0; self.compressor.gzip_compress_bound(self.member.len())];
        let size = self.compressor.gzip_compress(&self.member, &mut packed).expect("the bound is enough");
        self.member.clear();
        self.out.write_all(&packed[..size])
    }

    fn landmark(&mut self) -> io::Result<()> {
        let header = header(LANDMARK, 0, 1)?;
        self.write_all(header.as_bytes())?;
        let entry = json!({"name": LANDMARK, "type": "reg", "size": 1, "mode": 0, "modtime": time(0)});
        self.toc.extend(entry.as_object().cloned());
        self.begin_content(1)?;
        self.write_all(&[0x0f])?;
        self.write_all(&[0; 511])
    }

    fn begin_content(&mut self, size: u64) -> io::Result<()> {
        self.cut()?;
        let entry = self.toc.len() - 1;
        let name = self.toc[entry]["name"].clone();
        let whole = DigestWriter::new(io::sink());
        self.content = Some(Content { entry, name, left: size, start: 0, whole });
        Ok(())
    }

    /// The bytes of one piece of a file, all of them gathered in the member.
    fn end_piece(&mut self, content: &mut Content) -> io::Result<()> {
        let (length, digest) = (self.member.len() as u64, Digest::of(&self.member));
        let offset = self.out.written();
        self.cut()?;
        if content.start > 0 {
            let piece = json!({"name": content.name, "type": "chunk"});
            self.toc.extend(piece.as_object().cloned());
        }
        let at = if content.start > 0 { self.toc.len() - 1 } else { content.entry };
        let entry = &mut self.toc[at];
        entry.insert("offset".to_owned(), offset.into());
        if content.start > 0 {
            entry.insert("chunkOffset".to_owned(), content.start.into());
        }
        if content.left > 0 {
            entry.insert("chunkSize".to_owned(), length.into());
        }
        entry.insert("chunkDigest".to_owned(), digest.to_string().into());
        content.start += length;
        Ok(())
    }

    fn content(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(mut content) = self.content.take() else { return Ok(0) };
        let room = CHUNK - self.member.len() as u64;
        let count = (bytes.len() as u64).min(content.left).min(room) as usize;
        self.member.extend_from_slice(&bytes[..count]);
        content.whole.write_all(&bytes[..count])?;
        content.left -= count as u64;
        if self.member.len() as u64 == CHUNK || content.left == 0 {
            self.end_piece(&mut content)?;
        }
        if content.left > 0 {
            self.content = Some(content);
        } else {
            let (_, digest, _) = content.whole.finish();
            self.toc[content.entry].insert("digest".to_owned(), digest.to_string().into());
        }
        Ok(count)
    }

    /// The footer, and what it all became.
    fn finish(mut self) -> io::Result<(PackedLayer, Digest)> {
        self.cut()?;
        let (at, toc) = self.toc_at.expect("the tar's end was written");
        self.out.write_all(&footer(at))?;
        let (mut inner, blob, size) = self.out.finish();
        inner.flush()?;
        let (_, diff_id, tar_size) = self.plain.finish();
        Ok((PackedLayer { diff_id: DiffId(diff_id), blob, size, tar_size }, toc))
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = if self.content.is_some() {
            self.content(bytes)?
        } else {
            self.member.extend_from_slice(bytes);
            bytes.len()
        };
        self.plain.write_all(&bytes[..count])?;
        // Many headers without contents between them: no member grows without end.
        if self.content.is_none() && self.member.len() as u64 >= CHUNK {
            self.cut()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> Parts for Writer<W> {
    fn entry(&mut self, entry: &Entry, name: &[u8]) -> io::Result<()> {
        let attributes = &entry.attributes;
        let seconds = attributes.mtime.seconds;
        let mut described = Map::new();
        let text = |bytes: &[u8]| Value::from(String::from_utf8_lossy(bytes).into_owned());
        let mut put = |key: &str, value: Value| described.insert(key.to_owned(), value);
        put("name", text(name));
        put("mode", attributes.mode.into());
        put("uid", attributes.uid.into());
        put("gid", attributes.gid.into());
        put("modtime", time(self.epoch.map_or(seconds, |epoch| seconds.min(epoch))).into());
        let kind = match &entry.kind {
            Kind::Dir => "dir",
            Kind::File(content) => {
                put("size", content.size.into());
                if content.size == 0 {
                    put("digest", Digest::of(b"").to_string().into());
                }
                "reg"
            }
            Kind::Whiteout => "reg",
            Kind::HardLink { to } => {
                put("linkName", text(to.as_os_str().as_bytes()));
                "hardlink"
            }
            Kind::Symlink { target } => {
                put("linkName", text(target.as_os_str().as_bytes()));
                "symlink"
            }
            Kind::Char(device) | Kind::Block(device) => {
                put("devMajor", device.major.into());
                put("devMinor", device.minor.into());
                if matches!(entry.kind, Kind::Char(_)) { "char" } else { "block" }
            }
            Kind::Fifo => "fifo",
        };
        put("type", kind.into());
        if let Some(capability) = attributes.xattrs.get(b"security.capability".as_slice())
            && kind != "hardlink"
        {
            put("xattrs", json!({"security.capability": base64(capability)}));
        }
        self.toc.push(described);
        Ok(())
    }

    fn content(&mut self, size: u64) -> io::Result<()> {
        self.begin_content(size)
    }

    /// The TOC as the tar's last file, in a member of its own.
    fn end(&mut self) -> io::Result<()> {
        self.cut()?;
        let entries: Vec<Value> = std::mem::take(&mut self.toc).into_iter().map(Value::Object).collect();
        let toc = serde_json::to_vec_pretty(&json!({"version": 1, "entries": entries}))?;
        self.toc_at = Some((self.out.written(), Digest::of(&toc)));
        let header = header(TOC, 0o444, toc.len() as u64)?;
        // One member, however long it is: readers begin there and read it to its end.
        let padding = vec![0; (toc.len().wrapping_neg()) % 512];
        for bytes in [header.as_bytes().as_slice(), &toc, &padding] {
            self.member.extend_from_slice(bytes);
            self.plain.write_all(bytes)?;
        }
        Ok(())
    }
}

/// Of a file of the format's own. Every number is there: not all readers take a blank one for nought.
fn header(name: &str, mode: u32, size: u64) -> io::Result<::tar::Header> {
    let mut header = ::tar::Header::new_ustar();
    header.set_path(name)?;
    header.set_size(size);
    header.set_mode(mode);
    for set in [::tar::Header::set_uid, ::tar::Header::set_gid, ::tar::Header::set_mtime] {
        set(&mut header, 0);
    }
    for set in [::tar::Header::set_device_major, ::tar::Header::set_device_minor] {
        set(&mut header, 0)?;
    }
    header.set_cksum();
    Ok(header)
}

/// An empty gzip member whose extra field says where the TOC's begins: 51 bytes.
fn footer(at: u64) -> Vec<u8> {
    let mut footer = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x1a\0SG\x16\0".to_vec();
    footer.extend_from_slice(format!("{at:016x}STARGZ").as_bytes());
    footer.extend_from_slice(b"\x01\0\0\xff\xff\0\0\0\0\0\0\0\0");
    footer
}

/// RFC 3339, to the second.
fn time(seconds: i64) -> String {
    // Years that RFC 3339 cannot say are said by its last.
    let seconds = seconds.clamp(-62_135_596_800, 253_402_300_799);
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since 0000-03-01 in eras of 400 years (Howard Hinnant, chrono-Compatible Low-Level Date Algorithms).
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year + era * 400 + later;
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{of_month:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// As Go's JSON writes bytes.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let number = three.iter().fold(0_usize, |number, byte| number << 8 | usize::from(*byte))
            << (8 * (3 - three.len()));
        for digit in 0..4 {
            let shown = digit <= three.len();
            text.push(if shown { char::from(DIGITS[number >> (18 - 6 * digit) & 63]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::super::super::testing::{TestLayers, write};
    use super::super::super::{Archive, Attributes, Decompressor};
    use super::*;

    fn member(blob: &[u8], at: u64) -> Vec<u8> {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&blob[at as usize..]).read_to_end(&mut plain).unwrap();
        plain
    }

    /// Reads as a lazy puller does: footer, TOC, single members.
    #[test]
    fn a_reader_finds_every_file_by_the_footer() {
        let store = TestLayers::new();
        let draft = store.layers.draft().unwrap();
        let writer = draft.writer().unwrap();
        write(&writer, "d a\nf a/one =hello\nh a/two ==a/one\nl b ->/somewhere\nf empty\nw gone");
        let big: Vec<u8> = (0..9_000_000_u32).map(|n| (n / 7 % 251) as u8).collect();
        writer.file("big".as_ref(), &Attributes::root(0o644), &mut &big[..]).unwrap();
        let layer = draft.commit(writer.finish().unwrap()).unwrap();
        let mut blob = Vec::new();
        let level = CompressionLvl::new(6).unwrap();
        let (packed, toc_digest) = pack(&layer, None, level, &mut blob).unwrap();
        assert_eq!((packed.blob, packed.size), (Digest::of(&blob), blob.len() as u64));

        let footer = &blob[blob.len() - 51..];
        assert_eq!(&footer[..16], b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x1a\0SG\x16\0");
        assert_eq!(&footer[32..38], b"STARGZ");
        let at = u64::from_str_radix(std::str::from_utf8(&footer[16..32]).unwrap(), 16).unwrap();
        let tar = member(&blob, at);
        let size = usize::from_str_radix(std::str::from_utf8(&tar[124..135]).unwrap().trim(), 8).unwrap();
        assert_eq!(&tar[..TOC.len()], TOC.as_bytes());
        let toc = &tar[512..512 + size];
        assert_eq!(Digest::of(toc), toc_digest);
        let toc: Value = serde_json::from_slice(toc).unwrap();
        assert_eq!(toc["version"], 1);

        let mut files: std::collections::BTreeMap<String, Vec<u8>> = std::collections::BTreeMap::new();
        for entry in toc["entries"].as_array().unwrap() {
            let name = entry["name"].as_str().unwrap().to_owned();
            let Some(offset) = entry["offset"].as_u64() else { continue };
            let piece = member(&blob, offset);
            assert_eq!(entry["chunkDigest"], Digest::of(&piece).to_string(), "{name}");
            let whole = files.entry(name).or_default();
            assert_eq!(entry["chunkOffset"].as_u64().unwrap_or(0), whole.len() as u64);
            whole.extend(piece);
        }
        assert_eq!(files["a/one"], b"hello");
        assert!(files["big"] == big);
        assert_eq!(files[LANDMARK], [0x0f]);
        let types: Vec<String> = toc["entries"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| format!("{} {}", e["type"].as_str().unwrap(), e["name"].as_str().unwrap()))
            .collect();
        for wanted in ["dir a/", "hardlink a/two", "symlink b", "reg empty", "reg .wh.gone", "chunk big"] {
            assert!(types.iter().any(|t| t == wanted), "{wanted}: {types:?}");
        }
        // To everybody else it is a gzip layer.
        let mut plain = Vec::new();
        Decompressor::detect(&blob[..]).unwrap().read_to_end(&mut plain).unwrap();
        assert_eq!((packed.diff_id.0, packed.tar_size), (Digest::of(&plain), plain.len() as u64));
        let mut archive = Archive::new(&plain[..]);
        let mut members = 0;
        while archive.next_member().unwrap().is_some() {
            members += 1;
        }
        assert_eq!(members, 9);
    }

    #[test]
    fn times_and_bytes_are_in_gos_form() {
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(time(1_735_689_599), "2024-12-31T23:59:59Z");
        assert_eq!(time(-1), "1969-12-31T23:59:59Z");
        assert_eq!(["", "f", "fo", "foo"].map(|text| base64(text.as_bytes())), ["", "Zg==", "Zm8=", "Zm9v"]);
    }
}
