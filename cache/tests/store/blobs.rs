use std::fs;
use std::io::{Read as _, Write as _};

use kiln_cache::BlobError;
use kiln_core::Digest;

use crate::world::{World, put};

#[test]
fn a_blob_is_found_by_its_digest_by_every_handle() {
    let world = World::new();
    let digest = put(&world.open(), b"hello");
    let store = world.open();
    let mut text = String::new();
    store.blobs().open(&digest).unwrap().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!((digest, text.as_str()), (Digest::of(b"hello"), "hello"));
    assert!(!store.blobs().contains(&Digest::of(b"other")).unwrap());
    assert_eq!(store.blobs().open(&Digest::of(b"other")).unwrap().map(|_| ()), None);
}

#[test]
fn a_blob_of_another_digest_than_promised_leaves_nothing() {
    let world = World::new();
    let store = world.open();
    let mut writer = store.blobs().writer().unwrap();
    writer.write_all(b"not what was promised").unwrap();
    let promised = Digest::of(b"promised");
    let refused = writer.commit(Some(&promised));
    assert!(matches!(refused, Err(BlobError::Mismatch { expected, .. }) if expected == promised));
    assert_eq!(files_below(&world.root().join("blobs")), 0);
    assert_eq!(files_below(&world.root().join("tmp")), 0);
}

#[test]
fn a_writer_that_is_dropped_leaves_nothing() {
    let world = World::new();
    let store = world.open();
    let mut writer = store.blobs().writer().unwrap();
    writer.write_all(&[7; 300_000]).unwrap();
    assert_eq!(files_below(&world.root().join("tmp")), 1);
    drop(writer);
    assert_eq!(files_below(&world.root().join("tmp")), 0);
    assert_eq!(files_below(&world.root().join("blobs")), 0);
}

#[test]
fn writing_the_same_blob_twice_at_once_gives_one() {
    let world = World::new();
    let (one, two) = (world.open(), world.open());
    let mut writers = [one.blobs().writer().unwrap(), two.blobs().writer().unwrap()];
    for writer in &mut writers {
        writer.write_all(b"same").unwrap();
    }
    for writer in writers {
        assert_eq!(writer.commit(None).unwrap(), (Digest::of(b"same"), 4));
    }
    assert_eq!(files_below(&world.root().join("blobs")), 1);
}

fn files_below(dir: &std::path::Path) -> usize {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| if path.is_dir() { files_below(&path) } else { 1 })
        .sum()
}
