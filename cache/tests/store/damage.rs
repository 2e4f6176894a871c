use std::fs;

use crate::world::{World, asked, image, layer, layer_dir, put, remember};

#[test]
fn a_sound_store_has_no_damage() {
    let world = World::new();
    let store = world.open();
    put(&store, b"blob");
    let checked = store.fsck(true).unwrap();
    assert_eq!((checked.blobs, checked.damaged.len(), checked.repaired), (1, 0, false));
}

#[test]
fn a_flipped_byte_and_a_missing_file_are_found_and_become_misses() {
    let world = World::new();
    let store = world.open();
    let (sound, flipped, missing) = (put(&store, b"sound"), put(&store, b"flipped"), put(&store, b"missing"));
    for (key, blob) in [(b"1", &sound), (b"2", &flipped), (b"3", &missing)] {
        store.index().set_fact("http", key, b"", Some(blob)).unwrap();
    }
    fs::write(store.blobs().path(&flipped), b"flopped").unwrap();
    fs::remove_file(store.blobs().path(&missing)).unwrap();
    let found = |repair| {
        let checked = store.fsck(repair).unwrap();
        let mut said: Vec<String> =
            checked.damaged.iter().map(|damaged| format!("{} {}", damaged.what, damaged.damage)).collect();
        said.sort();
        said
    };
    let digest = kiln_core::Digest::of(b"flopped");
    let mut expected =
        [format!("blob {flipped} has the digest {digest}"), format!("blob {missing} is missing")];
    expected.sort();
    assert_eq!(found(false), expected);
    assert_eq!(found(true), expected);
    assert_eq!(found(false), Vec::<String>::new());
    assert!(!store.blobs().contains(&flipped).unwrap());
    assert!(store.index().fact("http", b"2").unwrap().is_none());
    assert!(store.index().fact("http", b"1").unwrap().is_some());
}

#[test]
fn an_image_that_lost_a_layer_is_named_and_forgotten() {
    let world = World::new();
    let store = world.open();
    let id = layer(&store, "layer", 1);
    remember(&store, "step", &[id]);
    store.index().set_image(Some(&"app".parse().unwrap()), &image(&[id])).unwrap();
    fs::remove_dir_all(layer_dir(&store, &id)).unwrap();
    assert_eq!(store.fsck(true).unwrap().images, ["docker.io/library/app:latest"]);
    assert_eq!(asked(&store, "step"), None);
    assert!(store.index().images().unwrap().is_empty());
    assert!(store.fsck(false).unwrap().damaged.is_empty());
}

#[test]
fn a_damaged_index_is_set_aside() {
    let world = World::new();
    let path = world.open().index().path().to_owned();
    fs::write(&path, "this is no database, and it is long enough to be looked at".repeat(100)).unwrap();
    for suffix in ["sqlite-wal", "sqlite-shm"] {
        let _ = fs::remove_file(path.with_extension(suffix));
    }
    let store = world.open();
    assert!(store.index().images().unwrap().is_empty());
    remember(&store, "step", &[layer(&store, "layer", 1)]);
    assert!(asked(&store, "step").is_some());
    assert!(store.notice().is_some_and(|notice| notice.contains("damaged")));
    assert!(world.open().notice().is_none());
}
