//! A manifest as bytes, and the two identities that come from them.
//!
//! ```text
//! "kiln manifest 1\n"      magic and version
//! content id               32 bytes
//! count                    of entries
//! entry*                   shared: bytes of the path that equal the previous path's
//!                          length and bytes of the rest of the path
//!                          tag: kind, and which of the optional fields follow
//!                          mode, [uid, gid], seconds, [nanoseconds]
//!                          by kind: size and 32 bytes of hash | target | first name | major, minor
//!                          [count, (name, value)*] of xattrs
//! ```
//!
//! Numbers are LEB128, the seconds zigzag. There is one encoding of a manifest. `LayerId` is the BLAKE3 of all bytes;
//! `ContentId` is that of the same encoding without magic, content id and times.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use kiln_core::{ContentHash, ContentId, LayerId};

use super::entry::{self, Attributes, Device, Entry, FileContent, Kind, Timestamp, Xattrs};
use super::manifest::{Manifest, ManifestError};

const MAGIC: &[u8; 16] = b"kiln manifest 1\n";
/// The bytes before the entries' count: enough to know the content id.
pub(crate) const HEAD: usize = MAGIC.len() + 32;

const OWNED: u8 = 0x10;
const NANOSECONDS: u8 = 0x20;
const XATTRS: u8 = 0x40;

/// A manifest ready to be written, and who it is.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// The file's bytes.
    pub bytes: Vec<u8>,
    /// Of all of it.
    pub id: LayerId,
    /// Of all but the times.
    pub content: ContentId,
}

/// Bytes that are no manifest.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The magic is missing: another version or another file.
    #[error("not a manifest of this version")]
    Version,
    /// The bytes end early, go on after the last entry or hold an impossible value.
    #[error("the manifest is damaged at byte {at}")]
    Damaged {
        /// Offset from the start.
        at: usize,
    },
    /// The bytes have another hash than their name says.
    #[error("the manifest has the id {actual}")]
    Identity {
        /// As hashed.
        actual: ContentHash,
    },
    /// The entries break the invariant of manifests.
    #[error("the manifest holds what no layer can")]
    Invalid(#[source] ManifestError),
}

impl Manifest {
    /// The one encoding.
    pub fn encode(&self) -> Encoded {
        let content = ContentHash::of(&self.body(false));
        let body = self.body(true);
        let mut bytes = Vec::with_capacity(HEAD + body.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(content.as_bytes());
        bytes.extend_from_slice(&body);
        Encoded { id: LayerId(ContentHash::of(&bytes)), content: ContentId(content), bytes }
    }

    /// Reads an encoding and checks that it is the one of `id`.
    ///
    /// # Errors
    /// Bytes that are no manifest, or another one.
    pub fn decode(bytes: &[u8], id: &LayerId) -> Result<(Self, ContentId), DecodeError> {
        let actual = ContentHash::of(bytes);
        let content = decode_head(bytes)?;
        if actual != id.0 {
            return Err(DecodeError::Identity { actual });
        }
        let mut reader = Reader { bytes, at: HEAD };
        let count = reader.length()?;
        let mut entries = Vec::with_capacity(count);
        let mut path = Vec::new();
        for _ in 0..count {
            entries.push(decode_entry(&mut reader, &mut path)?);
        }
        if reader.at != bytes.len() {
            return Err(reader.damaged());
        }
        Ok((Self::new(entries).map_err(DecodeError::Invalid)?, content))
    }

    fn body(&self, with_times: bool) -> Vec<u8> {
        let mut into = Vec::with_capacity(self.entries().len() * 80);
        number(&mut into, self.entries().len() as u64);
        let mut previous = Path::new("");
        for entry in self.entries() {
            encode_entry(&mut into, entry, previous, with_times);
            previous = &entry.path;
        }
        into
    }
}

/// The content id that stands at the start of an encoded manifest, unverified.
pub(crate) fn decode_head(bytes: &[u8]) -> Result<ContentId, DecodeError> {
    let head = bytes.get(..HEAD).filter(|head| head.starts_with(MAGIC)).ok_or(DecodeError::Version)?;
    let content = head[MAGIC.len()..].try_into().expect("the length was asked for");
    Ok(ContentId(ContentHash::from_bytes(content)))
}

fn encode_entry(into: &mut Vec<u8>, entry: &Entry, previous: &Path, with_times: bool) {
    let (path, previous) = (entry::bytes(&entry.path), entry::bytes(previous));
    let shared = entry::shared(path, previous);
    number(into, shared as u64);
    text(into, &path[shared..]);

    let Attributes { mode, uid, gid, mtime, xattrs } = &entry.attributes;
    let owned = (*uid, *gid) != (0, 0);
    let nanoseconds = with_times && mtime.nanoseconds != 0;
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    into.push(
        kind_tag(&entry.kind)
            | flag(owned, OWNED)
            | flag(nanoseconds, NANOSECONDS)
            | flag(!xattrs.is_empty(), XATTRS),
    );
    number(into, u64::from(*mode));
    if owned {
        number(into, u64::from(*uid));
        number(into, u64::from(*gid));
    }
    if with_times {
        number(into, zigzag(mtime.seconds));
    }
    if nanoseconds {
        number(into, u64::from(mtime.nanoseconds));
    }
    match &entry.kind {
        Kind::Dir | Kind::Fifo | Kind::Whiteout => {}
        Kind::File(content) => {
            number(into, content.size);
            into.extend_from_slice(content.hash.as_bytes());
        }
        Kind::HardLink { to: path } | Kind::Symlink { target: path } => text(into, entry::bytes(path)),
        Kind::Char(device) | Kind::Block(device) => {
            number(into, u64::from(device.major));
            number(into, u64::from(device.minor));
        }
    }
    if !xattrs.is_empty() {
        number(into, xattrs.len() as u64);
        for (name, value) in xattrs {
            text(into, name);
            text(into, value);
        }
    }
}

fn decode_entry(reader: &mut Reader<'_>, path: &mut Vec<u8>) -> Result<Entry, DecodeError> {
    let shared = reader.length()?;
    if shared > path.len() {
        return Err(reader.damaged());
    }
    path.truncate(shared);
    path.extend_from_slice(reader.text()?);
    let tag = reader.take(1)?[0];
    let mut attributes = Attributes { mode: reader.small()?, ..Attributes::default() };
    if tag & OWNED != 0 {
        attributes.uid = reader.small()?;
        attributes.gid = reader.small()?;
    }
    attributes.mtime = Timestamp::seconds(unzigzag(reader.number()?));
    if tag & NANOSECONDS != 0 {
        attributes.mtime.nanoseconds = reader.small()?;
    }
    let kind = match tag & 0x0f {
        0 => Kind::Dir,
        1 => {
            let size = reader.number()?;
            let hash = reader.take(32)?.try_into().expect("the length was asked for");
            Kind::File(FileContent { size, hash: ContentHash::from_bytes(hash) })
        }
        2 => Kind::HardLink { to: reader.path()? },
        3 => Kind::Symlink { target: reader.path()? },
        4 => Kind::Char(reader.device()?),
        5 => Kind::Block(reader.device()?),
        6 => Kind::Fifo,
        7 => Kind::Whiteout,
        _ => return Err(reader.damaged()),
    };
    if tag & XATTRS != 0 {
        let mut xattrs = Xattrs::new();
        for _ in 0..reader.length()? {
            xattrs.insert(reader.text()?.to_vec(), reader.text()?.to_vec());
        }
        attributes.xattrs = xattrs;
    }
    Ok(Entry { path: OsString::from_vec(path.clone()).into(), kind, attributes })
}

fn kind_tag(kind: &Kind) -> u8 {
    match kind {
        Kind::Dir => 0,
        Kind::File(_) => 1,
        Kind::HardLink { .. } => 2,
        Kind::Symlink { .. } => 3,
        Kind::Char(_) => 4,
        Kind::Block(_) => 5,
        Kind::Fifo => 6,
        Kind::Whiteout => 7,
    }
}

fn number(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

fn text(into: &mut Vec<u8>, bytes: &[u8]) {
    number(into, bytes.len() as u64);
    into.extend_from_slice(bytes);
}

fn zigzag(value: i64) -> u64 {
    (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn damaged(&self) -> DecodeError {
        DecodeError::Damaged { at: self.at }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.at.checked_add(count).ok_or_else(|| self.damaged())?;
        let taken = self.bytes.get(self.at..end).ok_or_else(|| self.damaged())?;
        self.at = end;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.damaged())
    }

    fn small(&mut self) -> Result<u32, DecodeError> {
        let number = self.number()?;
        number.try_into().map_err(|_| self.damaged())
    }

    /// A count of things that take at least a byte each, so that no allocation outgrows the input.
    fn length(&mut self) -> Result<usize, DecodeError> {
        let number = self.number()?;
        usize::try_from(number).ok().filter(|&n| n <= self.bytes.len()).ok_or_else(|| self.damaged())
    }

    fn text(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.length()?;
        self.take(length)
    }

    fn path(&mut self) -> Result<PathBuf, DecodeError> {
        Ok(OsString::from_vec(self.text()?.to_vec()).into())
    }

    fn device(&mut self) -> Result<Device, DecodeError> {
        Ok(Device { major: self.small()?, minor: self.small()? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::TestLayers;
    use super::*;

    fn attributes() -> impl Strategy<Value = Attributes> {
        let xattrs = proptest::collection::btree_map(
            proptest::collection::vec(1_u8.., 1..8),
            proptest::collection::vec(any::<u8>(), 0..8),
            0..2,
        );
        (0..0o10000_u32, any::<u32>(), any::<u32>(), any::<i64>(), 0..1_000_000_000_u32, xattrs).prop_map(
            |(mode, uid, gid, seconds, nanoseconds, xattrs)| Attributes {
                mode,
                uid,
                gid,
                mtime: Timestamp { seconds, nanoseconds },
                xattrs,
            },
        )
    }

    fn manifest() -> impl Strategy<Value = Manifest> {
        let kind = prop_oneof![
            (any::<u64>(), any::<[u8; 32]>()).prop_map(|(size, hash)| Kind::File(FileContent {
                size,
                hash: ContentHash::from_bytes(hash)
            })),
            "[a-z/.]{1,20}".prop_map(|target| Kind::Symlink { target: target.into() }),
            (any::<u32>(), any::<u32>()).prop_map(|(major, minor)| Kind::Char(Device { major, minor })),
            Just(Kind::Fifo),
        ];
        proptest::collection::btree_map("[a-c]{1,2}", (kind, attributes()), 0..20).prop_map(|entries| {
            let mut all: Vec<Entry> = vec![];
            for (name, (kind, attributes)) in entries {
                let dir = name[..1].to_owned() + "-dir";
                if all.last().is_none_or(|last| !last.path.starts_with(&dir)) {
                    all.push(Entry {
                        path: dir.clone().into(),
                        kind: Kind::Dir,
                        attributes: attributes.clone(),
                    });
                }
                all.push(Entry { path: Path::new(&dir).join(name), kind, attributes });
            }
            Manifest::new(all).unwrap()
        })
    }

    proptest! {
        #[test]
        fn a_manifest_survives_its_bytes(manifest in manifest()) {
            let Encoded { bytes, id, content } = manifest.encode();
            prop_assert_eq!(Manifest::decode(&bytes, &id).unwrap(), (manifest, content));
        }

        #[test]
        fn a_damaged_manifest_is_refused(manifest in manifest(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let Encoded { mut bytes, id, .. } = manifest.encode();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(Manifest::decode(&bytes, &id).is_err());
            // Somebody's own id for nonsense: an error or a manifest, but no panic.
            let _ = Manifest::decode(&bytes, &LayerId(ContentHash::of(&bytes)));
            let _ = Manifest::decode(&bytes[..at], &LayerId(ContentHash::of(&bytes[..at])));
        }

        #[test]
        fn times_are_in_the_layer_id_and_not_in_the_content_id(manifest in manifest(), by in 1..1000_i64) {
            prop_assume!(!manifest.entries().is_empty());
            let mut entries = manifest.entries().to_vec();
            for entry in &mut entries {
                entry.attributes.mtime.seconds = entry.attributes.mtime.seconds.wrapping_add(by);
                entry.attributes.mtime.nanoseconds ^= 1;
            }
            let (a, b) = (manifest.encode(), Manifest::new(entries).unwrap().encode());
            prop_assert_ne!(a.id, b.id);
            prop_assert_eq!(a.content, b.content);
        }
    }

    #[test]
    fn the_encoding_is_what_stores_already_hold() {
        let layer = TestLayers::new().layer("d a 0700 5:6\nf a/b =hello\nl c ->/x\nw gone");
        let id = layer.id.0.hex();
        expect_test::expect!["609e56928336a62f7c5c67e3415d149f11a17690edc55ef4167da07a1667b054"]
            .assert_eq(&id);
    }
}
