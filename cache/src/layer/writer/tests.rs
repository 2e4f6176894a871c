use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use expect_test::expect;
use rayon::prelude::*;

use super::super::testing::{TestLayers, assert_tree_is_manifest, is_root, listing, write};
use super::*;

#[test]
fn what_is_written_is_what_is_recorded() {
    if !is_root() {
        return;
    }
    let store = TestLayers::new();
    let layer = store.layer(
        "d / 0711\nd b 0750 7:8\nd b/sub 01777\nf b/sub/f 04755 1:2 =hello\nl b/l ->/anywhere\nh a ==b/sub/f\nw gone\np pipe 0600",
    );
    assert_tree_is_manifest(&layer);
    expect![[r#"
        d 0711 /
        f 4755 /a 1:2 5
        d 0750 /b 7:8
        l 0777 /b/l ->/anywhere
        d 1777 /b/sub
        h 4755 /b/sub/f 1:2 ==a
        w 0000 /gone
        p 0600 /pipe
    "#]]
    .assert_eq(&listing(&layer.manifest));
}

#[test]
fn a_name_that_is_written_again_replaces_what_was_there() {
    let store = TestLayers::new();
    let layer = store.layer(
        "d a\nd a/b\nf a/b/c =1\nf x =old\nh y ==x\nf a =file\nf x =new\nf d =1\nd d\nf d/in =1\nd d 0700\nl y ->z",
    );
    assert_tree_is_manifest(&layer);
    expect![[r#"
        f 0644 /a 4
        d 0700 /d
        f 0644 /d/in 1
        f 0644 /x 3
        l 0777 /y ->z
    "#]]
    .assert_eq(&listing(&layer.manifest));
}

#[test]
fn nothing_is_written_outside_of_what_was_written_before() {
    let store = TestLayers::new();
    let draft = store.layers.draft().unwrap();
    let writer = draft.writer().unwrap();
    write(&writer, "l link ->/\nf file =1");
    let attributes = Attributes::root(0o644);
    for path in ["link/tmp/x", "file/x", "absent/x", "", "../x"] {
        let written = writer.file(Path::new(path), &attributes, &mut &b""[..]);
        assert!(matches!(written, Err(LayerError::NoDirectory(_))), "{path}: {written:?}");
    }
}

#[test]
fn threads_write_at_once() {
    let store = TestLayers::new();
    let draft = store.layers.draft().unwrap();
    let writer = draft.writer().unwrap();
    for dir in 0..200 {
        write(&writer, &format!("d d{dir}"));
    }
    (0..2000).into_par_iter().for_each(|n| write(&writer, &format!("f d{}/f{n} ={n}", n % 200)));
    let layer = draft.commit(writer.finish().unwrap()).unwrap();
    assert_eq!(layer.manifest.entries().len(), 2200);
    assert_tree_is_manifest(&layer);
}

#[test]
fn an_unchanged_file_of_an_older_layer_is_linked() {
    let store = TestLayers::new();
    let old = store.layer("d a\nf a/x =1\nf a/y =2\nl a/l ->x");
    let draft = store.layers.draft().unwrap();
    let writer = draft.writer().unwrap();
    write(&writer, "d a");
    let attributes = old.manifest.get(Path::new("a/x")).unwrap().attributes.clone();
    let x = writer.link_from_layer(Path::new("a/x"), &attributes, &old).unwrap();
    assert_eq!(x, old.manifest.content(old.manifest.get(Path::new("a/x")).unwrap()));
    let other_mode = Attributes { mode: 0o600, ..attributes.clone() };
    for (path, attributes) in [("a/y", &other_mode), ("a/absent", &attributes), ("a/l", &attributes)] {
        assert_eq!(writer.link_from_layer(Path::new(path), attributes, &old).unwrap(), None, "{path}");
    }
    let new = draft.commit(writer.finish().unwrap()).unwrap();
    assert_tree_is_manifest(&new);
    let inode = |layer: &Layer| std::fs::metadata(layer.tree().join("a/x")).unwrap().ino();
    assert_eq!(inode(&old), inode(&new));
}

#[test]
fn a_copied_file_has_the_other_ones_bytes() {
    let store = TestLayers::new();
    let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| ((n * 7) >> 3) as u8).collect();
    let path = store.dir.path().join("from");
    std::fs::write(&path, &bytes).unwrap();
    let draft = store.layers.draft().unwrap();
    let writer = draft.writer().unwrap();
    let attributes = Attributes::root(0o600);
    let content = writer.copy_file(Path::new("to"), &attributes, &File::open(path).unwrap()).unwrap();
    assert_eq!(content, FileContent { size: 1_000_000, hash: kiln_core::ContentHash::of(&bytes) });
    assert_tree_is_manifest(&draft.commit(writer.finish().unwrap()).unwrap());
}

#[test]
fn equal_drafts_become_one_layer_and_a_dropped_draft_leaves_nothing() {
    let store = TestLayers::new();
    let (one, two) = (store.layer("f a =1"), store.layer("f a =1"));
    assert_eq!(one.id, two.id);
    drop(store.layers.draft().unwrap());
    assert_eq!(std::fs::read_dir(store.dir.path().join("layers")).unwrap().count(), 1);
    let tmp = std::fs::read_dir(store.dir.path().join("tmp")).unwrap().next().unwrap().unwrap();
    assert_eq!(std::fs::read_dir(tmp.path()).unwrap().count(), 0);
}

#[test]
fn a_damaged_layer_is_told_apart_and_replaced_by_a_good_one() {
    let store = TestLayers::new();
    let layer = store.layer("f a =1");
    let manifest = store.dir.path().join("layers").join(layer.id.0.hex()).join("manifest");
    std::fs::write(&manifest, "nonsense").unwrap();
    store.layers.forget();
    assert!(matches!(store.layers.get(&layer.id), Err(LayerError::Damaged { .. })));
    store.layer("f a =1");
    store.layers.forget();
    assert_tree_is_manifest(&store.layers.get(&layer.id).unwrap());
}
