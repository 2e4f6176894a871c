use std::collections::BTreeMap;
use std::path::PathBuf;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::super::entry::{Attributes, Entry, Kind};
use super::super::layers::Layer;
use super::super::rooted::Links;
use super::super::testing::{TestLayers, seen};
use super::super::{Device, Manifest, path_order};
use super::*;

fn check_walk(layers: &[&str], path: &str, expected: &Expect) {
    let store = TestLayers::new();
    let view = store.layers.view(&store.snapshot(layers)).unwrap();
    expected.assert_eq(&seen(&view.walk(Path::new(path))));
}

#[test]
fn upper_layers_hide_and_add() {
    check_walk(
        &[
            "d a\nf a/x =1\nf a/y =22\nd b\nf b/z =1\nf c =1",
            "d a 0700\nw a/x\nf a/new =333\nf b =file",
            "d c\nf c/in =1",
        ],
        "",
        &expect![[r#"
            d 0755 /
            d 0700 /a
            f 0644 /a/new 3
            f 0644 /a/y 2
            f 0644 /b 4
            d 0755 /c
            f 0644 /c/in 1
        "#]],
    );
}

#[test]
fn a_directory_over_a_file_over_a_directory_shows_nothing_of_the_lowest() {
    check_walk(
        &["d a\nf a/x =1", "f a =file", "d a\nf a/y =1"],
        "a",
        &expect![[r#"
            d 0755 /a
            f 0644 /a/y 1
        "#]],
    );
}

#[test]
fn the_root_looks_as_the_topmost_layer_says_that_says_anything() {
    check_walk(
        &["d / 0700 1:2\nf x =1", "f y =1"],
        "",
        &expect![[r#"
            d 0700 / 1:2
            f 0644 /x 1
            f 0644 /y 1
        "#]],
    );
}

fn check_resolve(path: &str, links: Links, expected: &str) {
    let store = TestLayers::new();
    let below = "d usr\nd usr/lib\nf usr/lib/x =1\nl lib ->usr/lib\nl abs ->/usr/lib/x\nl up ->../../usr\nl loop ->loop\n\
                 l dangling ->nowhere/at/all\nf file =1";
    let view = store.layers.view(&store.snapshot(&[below, "d etc\nl etc/l ->../lib/x"])).unwrap();
    let resolved = match view.resolve(Path::new(path), links) {
        Ok(resolved) => {
            format!("{}{}", resolved.path.display(), if resolved.found.is_some() { "" } else { " (absent)" })
        }
        Err(error) => error.to_string(),
    };
    assert_eq!(resolved, expected);
}

#[test]
fn links_are_followed_inside_the_root() {
    check_resolve("lib/x", Links::Refused, "usr/lib/x");
    check_resolve("/lib", Links::Refused, "lib");
    check_resolve("/lib/", Links::Followed, "usr/lib");
    check_resolve("abs", Links::Followed, "usr/lib/x");
    check_resolve("up/lib/../lib/x", Links::Followed, "usr/lib/x");
    check_resolve("etc/l", Links::Followed, "usr/lib/x");
    check_resolve("../../etc/../lib", Links::Followed, "usr/lib");
    check_resolve("/", Links::Followed, "");
    check_resolve("new/dir/../x", Links::Followed, "new/x (absent)");
    check_resolve("lib/new/x", Links::Followed, "usr/lib/new/x (absent)");
    check_resolve("dangling/x", Links::Followed, "nowhere/at/all/x (absent)");
    check_resolve("loop/x", Links::Followed, "too many symbolic links in `loop/x`");
    check_resolve("file/x", Links::Followed, "`file` is not a directory");
}

#[test]
fn an_open_file_is_the_one_that_is_seen_under_any_of_its_names() {
    let store = TestLayers::new();
    let snapshot = store.snapshot(&["f a =old\nh b ==a", "f a =newer"]);
    let view = store.layers.view(&snapshot).unwrap();
    let read = |path: &str| {
        let found = view.lookup(Path::new(path)).unwrap();
        let text = std::io::read_to_string(view.open(&found).unwrap()).unwrap();
        assert_eq!(found.content().unwrap().size, text.len() as u64);
        text
    };
    assert_eq!((read("a"), read("b")), ("newer".to_owned(), "old".to_owned()));
}

fn contents(layers: &[&str], path: &str) -> ContentHash {
    let store = TestLayers::new();
    store.layers.view(&store.snapshot(layers)).unwrap().content(Path::new(path)).unwrap()
}

#[test]
fn a_content_is_the_same_wherever_it_comes_from() {
    let one = contents(&["d a\nf a/x =1\nf a/y =2"], "a");
    assert_eq!(one, contents(&["d a\nf a/x =other\nf a/z =3", "d a\nf a/x =1\nw a/z", "d a\nf a/y =2"], "a"));
    assert_eq!(one, contents(&["d b\nd b/c\nf b/c/x =1\nf b/c/y =2"], "b/c"));
    assert_ne!(one, contents(&["d a\nf a/x =1\nf a/y =3"], "a"));
    assert_ne!(one, contents(&["d a\nf a/x 0600 =1\nf a/y =2"], "a"));
    assert_ne!(one, contents(&["d a\nf a/x =1\nf a/z =2"], "a"));
}

#[test]
fn names_of_one_file_are_part_of_the_content() {
    let linked = contents(&["d a\nf a/x =1\nh a/y ==a/x"], "a");
    assert_ne!(linked, contents(&["d a\nf a/x =1\nf a/y =1"], "a"));
    // A single name is just a file, even if another name of it lies elsewhere.
    let alone = contents(&["d a\nf a/x =1"], "a/x");
    assert_eq!(alone, contents(&["d 0\nf 0/first =1\nd a\nh a/x ==0/first"], "a/x"));
}

#[test]
fn entries_can_be_left_out_of_a_content() {
    let store = TestLayers::new();
    let view = store.layers.view(&store.snapshot(&["d a\nf a/x =1\nf a/y =2"])).unwrap();
    let without_y = view.content_of(Path::new("a"), |found| !found.entry().path.ends_with("y"));
    assert_eq!(without_y, Some(contents(&["d a\nf a/x =1"], "a")));
}

/// A layer that is a manifest only.
fn paper(entries: BTreeMap<Vec<u8>, u8>) -> Layer {
    let mut all: BTreeMap<PathBuf, Kind> = BTreeMap::new();
    for (names, kind) in entries {
        let parts: Vec<String> = names.iter().map(|name| char::from(b'a' + name % 4).to_string()).collect();
        let path: PathBuf = parts.iter().collect();
        for parent in path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
            all.insert(parent.to_owned(), Kind::Dir);
        }
        let kind = match kind {
            0 => Kind::Whiteout,
            1 => Kind::Dir,
            number => Kind::Char(Device { major: u32::from(number), minor: 0 }),
        };
        all.entry(path).or_insert(kind);
    }
    let attributes = Attributes::default();
    let entries = all.into_iter().map(|(path, kind)| Entry { path, kind, attributes: attributes.clone() });
    let manifest = Manifest::new(entries.collect()).unwrap();
    let encoded = manifest.encode();
    Layer::new(encoded.id, encoded.content, manifest, PathBuf::from("/nowhere"))
}

/// The same by the book: one layer after the other into a map.
fn by_the_book(layers: &[Layer]) -> BTreeMap<PathBuf, Kind> {
    let mut all: BTreeMap<PathBuf, Kind> = BTreeMap::new();
    for layer in layers {
        for entry in layer.manifest.entries() {
            if entry.kind != Kind::Dir {
                all.retain(|path, _| !path.starts_with(&entry.path));
            }
            if entry.kind != Kind::Whiteout {
                all.insert(entry.path.clone(), entry.kind.clone());
            }
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn every_question_has_the_answer_of_the_book(
        layers in proptest::collection::vec(
            proptest::collection::btree_map(proptest::collection::vec(0_u8..4, 1..5), 0_u8..5, 0..20), 0..6)
    ) {
        let layers: Vec<Layer> = layers.into_iter().map(paper).collect();
        let book = by_the_book(&layers);
        let view = View::new(layers);
        let walked: Vec<_> = view.walk(Path::new("")).iter().skip(1)
            .map(|found| (found.entry().path.clone(), found.entry().kind.clone())).collect();
        prop_assert!(walked.is_sorted_by(|a, b| path_order(&a.0, &b.0).is_lt()));
        prop_assert_eq!(&walked, &book.iter().map(|(a, b)| (a.clone(), b.clone())).collect::<Vec<_>>());
        for names in 0..4_u32.pow(3) {
            let path: PathBuf = (0..3).map(|at| char::from(b'a' + (names / 4_u32.pow(at) % 4) as u8).to_string()).collect();
            for path in path.ancestors().filter(|path| !path.as_os_str().is_empty()) {
                prop_assert_eq!(view.lookup(path).map(|found| &found.entry().kind), book.get(path));
                let children: Vec<&Path> = view.children(path).iter().map(|found| found.entry().path.as_path()).collect();
                let expected: Vec<&Path> =
                    book.keys().map(PathBuf::as_path).filter(|other| other.parent() == Some(path)).collect();
                prop_assert_eq!(children, expected);
                let below = view.walk(path).len();
                prop_assert_eq!(below, book.keys().filter(|other| other.starts_with(path)).count());
            }
        }
    }
}
