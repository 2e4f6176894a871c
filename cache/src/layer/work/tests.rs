use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use super::super::testing::{TestLayers, is_root, seen};
use crate::store::OverlayXattrs;

const BASE: &str =
    "d / 0711\nd a\nf a/x =1\nf a/y =22\nh z ==a/y\nf b =3\nl l ->a\np p\nd gone\nf gone/in =4";

fn store() -> TestLayers {
    TestLayers::with(OverlayXattrs::Plain)
}

/// The changes of a step on [`BASE`], as the entries of its layer.
#[track_caller]
fn check(step: impl FnOnce(&Path), expected: &[&str]) {
    if !is_root() {
        return;
    }
    let store = store();
    let base = store.snapshot(&[BASE]);
    let mut work = store.layers.work_tree(&base).unwrap();
    work.ready().unwrap();
    step(work.path());
    let tree = work.path().to_owned();
    let layer = work.commit(&store.layers, &[]).unwrap();
    let listed: Vec<String> = layer.manifest.entries().iter().map(listing).collect();
    assert_eq!(listed, expected);
    // What the step left is what a fresh copy would be.
    let after = base.with(layer.id);
    let work = store.layers.work_tree(&after).unwrap();
    assert_eq!(work.path(), tree, "the tree of the step before is used again");
    let again = work.commit(&store.layers, &[]).unwrap();
    assert!(again.manifest.entries().is_empty(), "{:?}", again.manifest.entries());
}

fn listing(entry: &crate::Entry) -> String {
    let kind = match &entry.kind {
        crate::Kind::Dir => "d",
        crate::Kind::File(_) => "f",
        crate::Kind::HardLink { .. } => "h",
        crate::Kind::Whiteout => "w",
        _ => "o",
    };
    format!("{kind} {}", entry.path.display())
}

#[test]
fn a_step_that_changes_nothing_makes_an_empty_layer() {
    check(|_| {}, &[]);
    check(
        |tree| {
            fs::write(tree.join("a/new"), "x").unwrap();
            fs::remove_file(tree.join("a/new")).unwrap();
            let _ = UnixListener::bind(tree.join("socket")).unwrap();
        },
        &[],
    );
}

#[test]
fn what_is_new_changed_and_gone_is_listed() {
    check(
        |tree| {
            fs::write(tree.join("a/new"), "x").unwrap();
            fs::remove_dir_all(tree.join("gone")).unwrap();
            fs::remove_file(tree.join("l")).unwrap();
            symlink("b", tree.join("l")).unwrap();
        },
        &["d a", "f a/new", "w gone", "o l"],
    );
}

/// Neither size nor modification time tells: the change time does.
#[test]
fn a_change_that_hides_itself_is_found() {
    check(
        |tree| {
            let path = tree.join("b");
            let before = fs::metadata(&path).unwrap().modified().unwrap();
            fs::write(&path, "4").unwrap();
            fs::File::options().write(true).open(&path).unwrap().set_modified(before).unwrap();
        },
        &["f b"],
    );
    check(|tree| fs::set_permissions(tree.join("b"), fs::Permissions::from_mode(0o600)).unwrap(), &["f b"]);
}

#[test]
fn names_of_one_file_stay_one_file() {
    check(|tree| fs::write(tree.join("z"), "33").unwrap(), &["d a", "f a/y", "h z"]);
    check(|tree| fs::hard_link(tree.join("b"), tree.join("c")).unwrap(), &["f c"]);
}

#[test]
fn a_tree_goes_on_with_layers_that_others_made() {
    if !is_root() {
        return;
    }
    let store = store();
    let base = store.snapshot(&[BASE]);
    let work = store.layers.work_tree(&base).unwrap();
    let tree = work.path().to_owned();
    let step = work.commit(&store.layers, &[]).unwrap();
    let copied = store.layer("w b\nd a 0700\nw a/x\nf a/y =new\nd c\nf c/in =5\nh c/too ==c/in\nw gone");
    let after = base.with(step.id).with(copied.id);
    let work = store.layers.work_tree(&after).unwrap();
    assert_eq!(work.path(), tree);
    assert!(!tree.join("b").exists() && !tree.join("gone").exists());
    assert_eq!(
        fs::metadata(tree.join("c/in")).unwrap().ino(),
        fs::metadata(tree.join("c/too")).unwrap().ino()
    );
    let nothing = work.commit(&store.layers, &[]).unwrap();
    assert!(nothing.manifest.entries().is_empty(), "{:?}", nothing.manifest.entries());

    // Another branch from the base has a copy of its own.
    let branch = store.layers.work_tree(&base).unwrap();
    assert_ne!(branch.path(), tree);
    assert_eq!(fs::read(branch.path().join("b")).unwrap(), b"3");
    let view = store.layers.view(&base).unwrap();
    assert!(seen(&view.walk(Path::new(""))).contains("/gone/in"));
}
