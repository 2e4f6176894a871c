use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::world::{World, asked, image, layer, layer_dir, put, real_layer, remember};

#[test]
fn a_sound_store_has_no_damage() {
    let world = World::new();
    let store = world.open();
    put(&store, b"blob");
    real_layer(&store, "content");
    let checked = store.fsck(true).unwrap();
    assert_eq!((checked.blobs, checked.layers, checked.repaired), (1, 1, false), "{checked:?}");
    assert!(checked.damaged.is_empty(), "{checked:?}");
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
fn every_kind_of_damage_to_a_layer_is_found_and_only_that_layer_goes() {
    type Harm = fn(&Path) -> std::io::Result<()>;
    let harms: [(&str, Harm); 9] = [
        ("`dir/file`: its content differs", |dir| rewrite(&dir.join("tree/dir/file"), "Content")),
        ("`dir/file`: its size differs", |dir| fs::write(dir.join("tree/dir/file"), "longer content")),
        ("`dir/file`: its mode differs", |dir| {
            fs::set_permissions(dir.join("tree/dir/file"), fs::Permissions::from_mode(0o600))
        }),
        ("`dir/file`: its time differs", |dir| {
            fs::File::options()
                .write(true)
                .open(dir.join("tree/dir/file"))?
                .set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(9))
        }),
        ("`other`: a file is missing", |dir| fs::remove_file(dir.join("tree/other"))),
        ("`other`: it is no hard link", |dir| {
            fs::remove_file(dir.join("tree/other"))
                .and_then(|()| fs::write(dir.join("tree/other"), "content"))
        }),
        ("`link`: it leads elsewhere", |dir| {
            fs::remove_file(dir.join("tree/link"))
                .and_then(|()| symlink("/etc/passwd", dir.join("tree/link")))
        }),
        ("`dir`: `dir/new` was added", |dir| fs::write(dir.join("tree/dir/new"), "")),
        ("the manifest", |dir| fs::write(dir.join("manifest"), "no manifest")),
    ];
    for (said, harm) in harms {
        let world = World::new();
        let store = world.open();
        let (sound, harmed) = (real_layer(&store, "sound"), real_layer(&store, "content"));
        remember(&store, "sound", &[sound]);
        remember(&store, "harmed", &[sound, harmed]);
        harm(&layer_dir(&store, &harmed)).unwrap();
        let checked = store.fsck(true).unwrap();
        let found: Vec<String> = checked.damaged.iter().map(|damaged| damaged.damage.to_string()).collect();
        assert_eq!(found.len(), 1, "{said}: {found:?}");
        assert!(found[0].contains(said) || said == "the manifest", "{said}: {found:?}");
        assert_eq!((asked(&store, "sound"), asked(&store, "harmed")), (Some(vec![sound]), None));
        assert!(store.fsck(false).unwrap().damaged.is_empty());
        assert_eq!(real_layer(&store, "content"), harmed);
        assert!(store.fsck(false).unwrap().damaged.is_empty());
    }
}

/// Changes bytes and keeps size and times.
fn rewrite(path: &Path, content: &str) -> std::io::Result<()> {
    let modified = fs::metadata(path)?.modified()?;
    fs::write(path, content)?;
    fs::File::options().write(true).open(path)?.set_modified(modified)
}

#[test]
fn an_image_that_lost_a_layer_is_named_and_forgotten() {
    let world = World::new();
    let store = world.open();
    let id = real_layer(&store, "content");
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
