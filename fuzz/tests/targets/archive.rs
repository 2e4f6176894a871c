//! Tar archives and what they are packed in, read member by member.

use std::io::{BufReader, Read};

use kiln_cache::{Archive, Decompressor};
use kiln_fuzz::{Campaign, Random, Trace, corpus_files};

/// Members and bytes that are looked at: files may have holes of any size.
const MEMBERS: usize = 500;
const BYTES: u64 = 1 << 20;

pub(crate) const WORDS: &[&str] = &[
    "ustar\0",
    "ustar  \0",
    "0000644\0",
    "00000000017\0",
    "\u{80}",
    "PaxHeader",
    "././@LongLink",
    "../",
    "/",
    "a/b",
    ".wh.",
    ".wh..wh..opq",
    "20 path=a\n",
    "GNU.sparse.major=1",
    "GNU.sparse.map=0,1,5,1",
    "SCHILY.xattr.user.a=b",
    "12 size=99\n",
    "30 mtime=-1.99999999999\n",
    "security.capability",
    "0",
    "1",
    "2",
    "3",
    "5",
    "6",
    "7",
    "x",
    "g",
    "L",
    "K",
    "S",
    "V",
    "\0",
    "\n",
    "=",
    " ",
    "7777777",
    "-1",
    "99999999999999999999",
    "18 linkpath=../..\n",
];

const BLOCK: usize = 512;

/// An archive with a member of every kind.
fn every_kind() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o4755);
    let kinds = [
        (tar::EntryType::Directory, "d", ""),
        (tar::EntryType::Regular, "d/f", ""),
        (tar::EntryType::Symlink, "d/l", "f"),
        (tar::EntryType::Link, "d/h", "d/f"),
        (tar::EntryType::Symlink, "out", "../../out"),
        (tar::EntryType::Regular, "out/g", ""),
        (tar::EntryType::Char, "c", ""),
        (tar::EntryType::Fifo, "p", ""),
        (tar::EntryType::Regular, "d/.wh.x", ""),
        (tar::EntryType::Regular, "d/.wh..wh..opq", ""),
    ];
    for (kind, path, link) in kinds {
        header.set_entry_type(kind);
        let content: &[u8] = if kind == tar::EntryType::Regular { b"hello" } else { b"" };
        header.set_size(content.len() as u64);
        header.set_device_major(1).unwrap();
        header.set_device_minor(3).unwrap();
        if link.is_empty() {
            tar.append_data(&mut header, path, content).unwrap();
        } else {
            tar.append_link(&mut header, path, link).unwrap();
        }
    }
    let records =
        [("path", &b"long/name"[..]), ("SCHILY.xattr.user.a", b"b"), ("mtime", b"1.5"), ("size", b"5")];
    tar.append_pax_extensions(records).unwrap();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(5);
    tar.append_data(&mut header, "n".repeat(150), &b"hello"[..]).unwrap();
    tar.into_inner().unwrap()
}

/// A sparse file of each form, and a header in base 256.
fn sparse() -> Vec<Vec<u8>> {
    let mut gnu = tar::Header::new_gnu();
    gnu.set_path("holes").unwrap();
    gnu.set_entry_type(tar::EntryType::GNUSparse);
    gnu.set_size(5);
    let fields = gnu.as_gnu_mut().unwrap();
    fields.sparse[0].offset.copy_from_slice(b"00000001000\0");
    fields.sparse[0].numbytes.copy_from_slice(b"00000000005\0");
    fields.realsize.copy_from_slice(b"00000002000\0");
    let mut old = gnu.as_bytes().to_vec();
    old.extend_from_slice(b"hello");
    old.resize(4 * BLOCK, 0);

    let mut tar = tar::Builder::new(Vec::new());
    let records = [
        ("GNU.sparse.major", &b"1"[..]),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"h"),
        ("GNU.sparse.realsize", b"4096"),
    ];
    tar.append_pax_extensions(records).unwrap();
    let mut content = b"1\n1024\n5\n".to_vec();
    content.resize(BLOCK, 0);
    content.extend_from_slice(b"hello");
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, "x", &content[..]).unwrap();
    let one = tar.into_inner().unwrap();

    let mut tar = tar::Builder::new(Vec::new());
    let map = [("GNU.sparse.map", &b"0,1,5,1"[..]), ("GNU.sparse.size", b"9")];
    tar.append_pax_extensions(map).unwrap();
    header.set_size(2);
    tar.append_data(&mut header, "y", &b"ab"[..]).unwrap();
    let zero = tar.into_inner().unwrap();

    let mut large = tar::Header::new_gnu();
    large.set_path("large").unwrap();
    large.set_size(1 << 40);
    large.set_mtime(1 << 40);
    vec![old, one, zero, large.as_bytes().to_vec()]
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = corpus_files("corpus", &|name| name.ends_with(".tar"));
    seeds.push(every_kind());
    seeds.extend(sparse());
    seeds
}

/// Moves the headers, which insertions have moved, back to whole blocks.
fn align(input: &mut Vec<u8>) {
    let magic = input.windows(5).enumerate().filter(|(_, word)| *word == b"ustar").map(|(at, _)| at);
    let mut starts: Vec<usize> = magic.filter_map(|at| at.checked_sub(257)).collect();
    starts.insert(0, 0);
    starts.push(input.len());
    let mut aligned = Vec::with_capacity(input.len() + starts.len() * BLOCK);
    for pair in starts.windows(2) {
        aligned.extend_from_slice(&input[pair[0]..pair[1].max(pair[0])]);
        aligned.resize(aligned.len().div_ceil(BLOCK) * BLOCK, 0);
    }
    *input = aligned;
}

/// Makes whatever may be a header one: it stands where it is looked for, and its checksum is right.
pub(crate) fn repair(input: &mut Vec<u8>, random: &mut Random) {
    if random.one_in(10) {
        return;
    }
    if !random.one_in(3) {
        align(input);
    }
    for block in input.chunks_exact_mut(BLOCK) {
        let looks_like_one = &block[257..262] == b"ustar" || random.one_in(8);
        if looks_like_one && block.iter().any(|&byte| byte != 0) {
            block[148..156].copy_from_slice(b"        ");
            let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
}

/// Reads all members, within bounds.
fn read(tar: impl Read, trace: &mut Trace) {
    let mut archive = Archive::new(tar);
    for number in 0..MEMBERS {
        match archive.next_member() {
            Ok(None) => return trace.counted("members", number),
            Err(error) => {
                return trace.said(&format!(
                    "{error} {:?}",
                    std::error::Error::source(&error).map(ToString::to_string)
                ));
            }
            Ok(Some(mut member)) => {
                trace.reached((std::mem::discriminant(&member.kind), member.attributes.xattrs.len().min(3)));
                trace.reached((
                    number.min(8),
                    member.attributes.mode & 0o7000,
                    member.attributes.mtime.nanoseconds > 0,
                ));
                trace.counted("size", member.size.min(1 << 40) as usize);
                trace.counted("path", member.path.as_os_str().len());
                let size = member.size;
                match std::io::copy(&mut (&mut member).take(BYTES), &mut std::io::sink()) {
                    Ok(count) => assert_eq!(count, size.min(BYTES), "as long as it says"),
                    Err(error) => trace.said(&error.to_string()),
                }
            }
        }
    }
}

#[test]
fn archives() {
    let campaign = Campaign::new("archive", seeds(), WORDS).repairing(repair);
    campaign.run(|input, trace| read(input, trace));
}

#[test]
fn packed_archives() {
    let mut seeds = corpus_files("corpus", &|name| name.ends_with(".gz") || name.ends_with(".tgz"));
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, &every_kind()).unwrap();
    seeds.push(packed.finish().unwrap());
    let words = ["\u{1f}", "BZh9", "\u{28}", "7zXZ", "\0", "\u{8}"];
    Campaign::new("packed", seeds, &words).run(|input, trace| {
        match Decompressor::detect(BufReader::new(input)) {
            Ok(unpacked) => {
                trace.reached(std::mem::discriminant(&unpacked.format()));
                read(unpacked.take(4 * BYTES), trace);
            }
            Err(error) => trace.said(&error.to_string()),
        }
    });
}
