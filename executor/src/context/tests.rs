//! Walks of real directories.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use kiln_cache::{Kind, StatTable};
use kiln_core::pattern::Ignore;

use super::*;

/// The clock of these tests: nothing is recorded as old enough.
const EARLY: SystemTime = SystemTime::UNIX_EPOCH;

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn context(root: &Path, ignore: &str) -> LocalContext {
    LocalContext { directory: root.to_path_buf(), ignore: Arc::new(Ignore::parse(ignore).unwrap()) }
}

fn paths(context: &LocalContext, wanted: &[&str]) -> Vec<String> {
    let wanted: Vec<String> = wanted.iter().map(|w| (*w).to_owned()).collect();
    let (tree, _) = context.read(&wanted, &StatTable::default(), EARLY).unwrap();
    tree.entries().iter().map(|entry| entry.path.display().to_string()).collect()
}

#[test]
fn ignored_files_and_empty_excluded_directories_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    for path in ["a.txt", "node_modules/x/y.js", "node_modules/keep/z.js", "src/main.c", "src/main.o"] {
        write(dir.path(), path, path);
    }
    let context = context(dir.path(), "node_modules\n!node_modules/keep/z.js\n**/*.o\n");
    assert_eq!(
        paths(&context, &[]),
        ["", "a.txt", "node_modules", "node_modules/keep", "node_modules/keep/z.js", "src", "src/main.c"]
    );
    let (tree, _) = context.read(&[], &StatTable::default(), EARLY).unwrap();
    assert_eq!(tree.left_out("src/main.o"), Some((3, "**/*.o".to_owned())));
    assert_eq!(tree.left_out("src/nosuch.o"), None);
    assert_eq!(tree.left_out("a.txt"), None);
}

#[test]
fn only_what_is_wanted_is_walked_through_links_too() {
    let dir = tempfile::tempdir().unwrap();
    for path in ["app/v1/bin/tool", "app/v1/doc", "other/file", "data/x"] {
        write(dir.path(), path, path);
    }
    symlink("v1", dir.path().join("app/current")).unwrap();
    symlink("../../../../../data", dir.path().join("app/v1/bin/data")).unwrap();
    let context = context(dir.path(), "");
    assert_eq!(
        paths(&context, &["app/current/bin", "oth*"]),
        [
            "",
            "app",
            "app/current",
            "app/v1",
            "app/v1/bin",
            "app/v1/bin/data",
            "app/v1/bin/tool",
            "other",
            "other/file"
        ]
    );
}

#[test]
fn names_types_modes_and_hard_links_are_seen() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a-b", "one");
    write(dir.path(), "a/b", "two");
    fs::set_permissions(dir.path().join("a-b"), fs::Permissions::from_mode(0o4711)).unwrap();
    fs::hard_link(dir.path().join("a/b"), dir.path().join("z")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    let (tree, _) = context(dir.path(), "").read(&[], &StatTable::default(), EARLY).unwrap();
    let entry = |path: &str| tree.get(Path::new(path)).unwrap();
    assert_eq!(entry("a-b").attributes.mode, 0o4711);
    assert_eq!(entry("z").kind, Kind::HardLink { to: "a/b".into() });
    assert_eq!(entry("socket").kind, Kind::File(FileContent::empty()));
    assert_eq!(tree.below(Path::new("a")).len(), 1);
}

#[test]
fn a_known_stat_saves_reading_and_a_change_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "kept", "same");
    write(dir.path(), "edited", "before");
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for name in ["kept", "edited"] {
        fs::File::open(dir.path().join(name)).unwrap().set_modified(old).unwrap();
    }
    let context = context(dir.path(), "");
    let (first, table) = context.read(&[], &StatTable::default(), EARLY).unwrap();
    assert!(table.is_some());
    let digest = first.digest();
    // The same tree, read again, has the same digest; times do not matter.
    fs::File::open(dir.path().join("kept")).unwrap().set_modified(old + Duration::from_secs(5)).unwrap();
    assert_eq!(context.read(&[], &StatTable::default(), EARLY).unwrap().0.digest(), digest);
    write(dir.path(), "edited", "after!");
    assert_ne!(context.read(&[], &StatTable::default(), EARLY).unwrap().0.digest(), digest);
}
