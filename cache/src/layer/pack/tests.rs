use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use expect_test::{Expect, expect};
use kiln_core::Snapshot;
use proptest::prelude::*;

use super::super::testing::{TestLayers, assert_tree_is_manifest, is_root, write};
use super::super::{Attributes, Decompressor, Limits, Timestamp};
use super::*;

const ALL: &str =
    "d a 0700 1:2\nf a/one =hello\nw a/was\nh a/two ==a/one\nl b ->/somewhere\nf z 04755 =setuid\nw 0";

fn tar_of(layer: &Layer, epoch: Option<i64>) -> Vec<u8> {
    let mut tar = Vec::new();
    let compression = Compression { format: CompressionFormat::Uncompressed, level: None };
    let packed = pack(layer, compression, epoch, &mut tar).unwrap();
    assert_eq!((packed.diff_id.0, packed.blob), (Digest::of(&tar), Digest::of(&tar)));
    assert_eq!((packed.size, packed.tar_size), (tar.len() as u64, tar.len() as u64));
    assert_eq!(diff_id(layer, epoch).unwrap(), packed.diff_id);
    tar
}

/// What GNU tar lists.
fn check_listing(layer: &Layer, epoch: Option<i64>, expected: &Expect) {
    let child = Command::new("tar")
        .args(["--utc", "--full-time", "--numeric-owner", "-tvf", "-"])
        .env("TZ", "UTC")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = child.unwrap();
    child.stdin.take().unwrap().write_all(&tar_of(layer, epoch)).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n");
    expected.assert_eq(&lines.collect::<String>());
}

#[test]
fn a_tar_holds_what_buildkit_writes() {
    if !is_root() {
        return;
    }
    check_listing(
        &TestLayers::new().layer(ALL),
        None,
        &expect![[r#"
            ---------- 0/0 0 1970-01-01 00:00:00 .wh.0
            drwx------ 1/2 0 1970-01-01 00:16:40 a/
            ---------- 0/0 0 1970-01-01 00:00:00 a/.wh.was
            -rw-r--r-- 0/0 5 1970-01-01 00:16:40 a/one
            hrw-r--r-- 0/0 0 1970-01-01 00:16:40 a/two link to a/one
            lrwxrwxrwx 0/0 0 1970-01-01 00:16:40 b -> /somewhere
            -rwsr-xr-x 0/0 6 1970-01-01 00:16:40 z
        "#]],
    );
}

#[test]
fn later_times_are_set_to_the_epoch_and_earlier_ones_stay() {
    let store = TestLayers::new();
    let draft = store.layers.draft().unwrap();
    let writer = draft.writer().unwrap();
    for (name, seconds) in [("old", 5), ("new", 2_000_000_000)] {
        let mtime = Timestamp { seconds, nanoseconds: 999_999_999 };
        let attributes = Attributes { mtime, ..Attributes::root(0o644) };
        writer.file(Path::new(name), &attributes, &mut &b""[..]).unwrap();
    }
    let layer = draft.commit(writer.finish().unwrap()).unwrap();
    check_listing(
        &layer,
        Some(1000),
        &expect![[r#"
        -rw-r--r-- 0/0 0 1970-01-01 00:16:40 new
        -rw-r--r-- 0/0 0 1970-01-01 00:00:05 old
    "#]],
    );
    check_listing(
        &layer,
        None,
        &expect![[r#"
        -rw-r--r-- 0/0 0 2033-05-18 03:33:20 new
        -rw-r--r-- 0/0 0 1970-01-01 00:00:05 old
    "#]],
    );
}

#[test]
fn the_empty_layer_is_two_blocks_of_zeros() {
    let layer = TestLayers::new().layer("");
    assert_eq!(tar_of(&layer, None), [0; 1024]);
    // The diff id that every builder gives it.
    let known = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";
    assert_eq!(diff_id(&layer, None).unwrap().0.to_string(), known);
}

#[test]
fn only_what_ustar_cannot_say_gets_an_extended_header() {
    let extended = |text: &str| {
        let tar = tar_of(&TestLayers::new().layer(text), None);
        tar.chunks(512).filter(|block| block[156] == b'x' && block.get(257..262) == Some(b"ustar")).count()
    };
    let long = "x".repeat(100);
    let deep = format!("d {long}\nf {long}/{}", "y".repeat(99));
    assert_eq!(extended(&format!("d {}", &long[..99])), 0);
    assert_eq!(extended(&deep), 1, "the directory has 101 bytes with its slash");
    assert_eq!(extended(&format!("f {long}x")), 1);
    assert_eq!(extended("f caf\u{e9}"), 1);
    assert_eq!(extended(&format!("l a ->{long}")), 0);
    assert_eq!(extended(&format!("l a ->{long}x")), 1);
    if is_root() {
        assert_eq!(extended("f a 2097151:0"), 0);
        assert_eq!(extended("f a 2097152:0"), 1);
    }
}

/// A tree of text, noise and empty files of about `size` bytes.
fn mixed(store: &TestLayers, size: usize) -> Layer {
    let draft = store.layers.draft().unwrap();
    let writer = draft.writer().unwrap();
    write(&writer, "d text\nd noise\nf empty");
    let mut noise = blake3::Hasher::new().finalize_xof();
    for n in 0..20 {
        let text: String = (0..size / 200).map(|word| format!("{}", word * n % 1000)).collect();
        let attributes = Attributes::root(0o644);
        writer.file(format!("text/{n}").as_ref(), &attributes, &mut text.as_bytes()).unwrap();
        let mut bytes = vec![0; size / 40];
        noise.fill(&mut bytes);
        writer.file(format!("noise/{n}").as_ref(), &attributes, &mut &bytes[..]).unwrap();
    }
    draft.commit(writer.finish().unwrap()).unwrap()
}

#[test]
fn every_compression_gives_the_tar_back_and_always_the_same_bytes() {
    let store = TestLayers::new();
    let layer = mixed(&store, 8_000_000);
    let tar = tar_of(&layer, None);
    for (format, level) in [
        (CompressionFormat::Gzip, None),
        (CompressionFormat::Gzip, Some(1)),
        (CompressionFormat::Gzip, Some(99)),
        (CompressionFormat::Zstd, None),
        (CompressionFormat::Zstd, Some(1)),
    ] {
        let mut blob = Vec::new();
        let packed = pack(&layer, Compression { format, level }, None, &mut blob).unwrap();
        assert_eq!((packed.blob, packed.size), (Digest::of(&blob), blob.len() as u64));
        assert_eq!((packed.diff_id.0, packed.tar_size), (Digest::of(&tar), tar.len() as u64));
        let mut back = Vec::new();
        io::Read::read_to_end(&mut Decompressor::detect(&blob[..]).unwrap(), &mut back).unwrap();
        assert!(back == tar, "{format:?}");
        assert!(blob.len() < tar.len() * 3 / 4, "{format:?}: {} of {}", blob.len(), tar.len());
        let again = pack(&layer, Compression { format, level }, None, io::sink()).unwrap();
        assert_eq!(again, packed);
    }
}

#[test]
fn a_gzip_blob_is_read_by_gzip() {
    let store = TestLayers::new();
    let path = store.dir.path().join("blob.gz");
    let compression = Compression { format: CompressionFormat::Gzip, level: None };
    pack(&mixed(&store, 3_000_000), compression, None, std::fs::File::create(&path).unwrap()).unwrap();
    assert!(Command::new("gzip").arg("-t").arg(path).status().unwrap().success());
}

/// Takes so many bytes and no more.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(buffer.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_and_a_damaged_tree_end_it_with_their_cause() {
    let store = TestLayers::new();
    let layer = mixed(&store, 8_000_000);
    for format in [CompressionFormat::Uncompressed, CompressionFormat::Gzip, CompressionFormat::Zstd] {
        let compression = Compression { format, level: None };
        let full = pack(&layer, compression, None, Full(100_000));
        assert!(
            matches!(&full, Err(LayerError::Output(error)) if error.kind() == io::ErrorKind::StorageFull),
            "{full:?}"
        );
    }
    std::fs::write(layer.tree().join("text/3"), "short").unwrap();
    for format in [CompressionFormat::Uncompressed, CompressionFormat::Gzip, CompressionFormat::Zstd] {
        let damaged = pack(&layer, Compression { format, level: None }, None, io::sink());
        assert!(matches!(damaged, Err(LayerError::Size { actual: 5, .. })), "{damaged:?}");
    }
}

/// Trees as text for `write`.
fn tree() -> impl Strategy<Value = Vec<(String, u8, u32, u32, String)>> {
    let path = "[ab\u{e9}]{1,2}(/[ab\u{e9}x]{1,60}){0,4}";
    proptest::collection::vec((path, 0..6_u8, 0..0o10000_u32, 0..3_000_000_u32, "[a-z]{0,2000}"), 0..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn a_packed_layer_unpacks_to_itself(tree in tree(), seconds in -2_000_000_000_i64..15_000_000_000) {
        if !is_root() {
            return Ok(());
        }
        let store = TestLayers::new();
        let draft = store.layers.draft().unwrap();
        let writer = draft.writer().unwrap();
        let mut names: Vec<std::path::PathBuf> = Vec::new();
        for (path, kind, mode, owner, text) in tree {
            let path = Path::new(&path);
            let attributes = Attributes {
                mode, uid: owner, gid: owner / 2, mtime: Timestamp::seconds(seconds), ..Default::default()
            };
            let plain = Attributes { mode: 0o755, ..attributes.clone() };
            let parents: Vec<&Path> = path.ancestors().skip(1).filter(|p| !p.as_os_str().is_empty()).collect();
            for parent in parents.into_iter().rev() {
                writer.dir(parent, &plain).unwrap();
            }
            let to = names.iter().find(|name| {
                !path.starts_with(name) && !name.starts_with(path)
                    && writer.entry(name).is_some_and(|entry| !entry.is_dir())
            });
            match (kind, to) {
                (0, _) => writer.dir(path, &attributes),
                (1, _) => writer.symlink(path, Path::new(&format!("../{text}x")), &attributes),
                (2, _) => writer.node(path, super::super::Node::Fifo, &attributes),
                (3, Some(to)) => writer.hard_link(path, to),
                (4, _) => {
                    let xattrs = [(b"security.capability".to_vec(),
                        b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec())].into();
                    writer.file(path, &Attributes { xattrs, ..attributes }, &mut text.as_bytes()).map(drop)
                }
                _ => writer.file(path, &attributes, &mut text.as_bytes()).map(drop),
            }.unwrap();
            names.push(path.to_owned());
        }
        let layer = draft.commit(writer.finish().unwrap()).unwrap();
        let tar = tar_of(&layer, None);
        let unpacked = store.layers.unpack(&tar[..], Limits::default()).unwrap();
        prop_assert_eq!(unpacked.diff_id.0, Digest::of(&tar));
        prop_assert_eq!(unpacked.tar_size, tar.len() as u64);
        let back = unpacked.commit(&Snapshot::scratch()).unwrap();
        assert_tree_is_manifest(&back);
        prop_assert_eq!(&back.manifest, &layer.manifest);
        prop_assert_eq!(back.id, layer.id);
    }
}
