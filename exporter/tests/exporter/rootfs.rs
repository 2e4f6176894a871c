use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Cursor, Read};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use expect_test::expect;
use kiln_exporter::{ExportError, FileTree, TreeEntry, TreeKind, write_directory, write_rootfs_tar};

use crate::peer::{peer, succeed};
use crate::sample::read;

/// A tree in memory: a file's content is its path.
struct Tree(Vec<TreeEntry>);

impl FileTree for Tree {
    fn visit(&self, visit: &mut dyn FnMut(&TreeEntry) -> Result<(), ExportError>) -> Result<(), ExportError> {
        self.0.iter().try_for_each(visit)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(Cursor::new(path.display().to_string())))
    }
}

fn entry(path: &str, kind: TreeKind, mode: u32) -> TreeEntry {
    let xattrs = BTreeMap::new();
    TreeEntry { path: PathBuf::from(path), kind, mode, uid: 0, gid: 0, mtime: (1_000_000_000, 0), xattrs }
}

fn file(path: &str) -> TreeEntry {
    entry(path, TreeKind::File { size: path.len() as u64 }, 0o644)
}

fn link(path: &str, target: &str) -> TreeEntry {
    entry(path, TreeKind::Symlink { target: target.into() }, 0o777)
}

fn sample() -> Tree {
    Tree(vec![
        entry("", TreeKind::Dir, 0o755),
        entry("bin", TreeKind::Dir, 0o755),
        entry("bin/sh", TreeKind::File { size: 6 }, 0o4755),
        entry("bin/sh2", TreeKind::HardLink { to: "bin/sh".into() }, 0o4755),
        link("lib", "/usr/lib"),
        entry("locked", TreeKind::Dir, 0o500),
        file("locked/file"),
        entry("pipe", TreeKind::Fifo, 0o600),
        file("zlast"),
    ])
}

#[test]
fn a_directory_gets_files_links_modes_and_times() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let left_out = write_directory(&out, &sample(), None).unwrap();
    assert_eq!(left_out.devices, Vec::<PathBuf>::new());
    let stat = |path: &str| fs::symlink_metadata(out.join(path)).unwrap();
    assert_eq!(fs::read_to_string(out.join("bin/sh")).unwrap(), "bin/sh");
    assert_eq!((stat("bin/sh").mode() & 0o7777, stat("locked").mode() & 0o7777), (0o4755, 0o500));
    assert_eq!(stat("bin/sh").ino(), stat("bin/sh2").ino());
    assert_eq!(fs::read_link(out.join("lib")).unwrap(), Path::new("/usr/lib"));
    for path in ["bin", "bin/sh", "lib", "locked", "locked/file", "zlast"] {
        assert_eq!(stat(path).mtime(), 1_000_000_000, "{path}");
    }
    assert_eq!(fs::read_dir(&out).unwrap().count(), 5);
    let again = write_directory(&out, &sample(), Some(5)).unwrap();
    assert_eq!((again.devices.len(), stat("locked/file").mtime(), stat("bin").mtime()), (0, 5, 5));
}

#[test]
fn nothing_is_written_through_links_that_stand_in_the_destination() {
    let dir = tempfile::tempdir().unwrap();
    let (out, outside) = (dir.path().join("out"), dir.path().join("outside"));
    fs::create_dir_all(&out).unwrap();
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("victim"), "untouched").unwrap();
    symlink(&outside, out.join("bin")).unwrap();
    symlink(outside.join("victim"), out.join("zlast")).unwrap();
    symlink(outside.join("new"), out.join("pipe")).unwrap();
    write_directory(&out, &sample(), None).unwrap();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(outside.join("victim")).unwrap(), "untouched");
    assert!(fs::symlink_metadata(out.join("bin")).unwrap().is_dir());
    assert_eq!(fs::read_to_string(out.join("zlast")).unwrap(), "zlast");
}

#[test]
fn an_image_cannot_write_outside_of_the_destination() {
    for entries in [
        vec![link("a", "/tmp"), file("a/escaped")],
        vec![link("a", ".."), file("a/escaped")],
        vec![file("../escaped")],
        vec![file("/escaped")],
        vec![entry("x", TreeKind::HardLink { to: "../secret".into() }, 0o644)],
        vec![link("a", ".."), entry("x", TreeKind::HardLink { to: "a/secret".into() }, 0o644)],
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("secret"), "secret").unwrap();
        let out = dir.path().join("out");
        assert!(write_directory(&out, &Tree(entries.clone()), None).is_err(), "{entries:?}");
        let mut names: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["out", "secret"]);
        assert!(!out.join("x").exists());
    }
}

#[test]
fn other_files_of_the_destination_stay_and_a_full_directory_is_not_replaced_by_a_file() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("mine"), "mine").unwrap();
    write_directory(dir.path(), &sample(), None).unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("mine")).unwrap(), "mine");
    let refused = write_directory(dir.path(), &Tree(vec![file("bin")]), None);
    assert!(matches!(refused, Err(ExportError::Output { path, .. }) if path.ends_with("bin")));
    assert!(dir.path().join("bin/sh").exists());
}

#[test]
fn an_ordinary_user_may_export_without_the_owners() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let tree = Tree(vec![TreeEntry { uid: 12345, gid: 6789, ..file("owned") }]);
    write_directory(dir.path(), &tree, None).unwrap();
    let me = fs::metadata(dir.path()).unwrap().uid();
    assert_eq!(fs::metadata(dir.path().join("owned")).unwrap().uid(), me);
}

fn long() -> String {
    format!("{}/{}", "d".repeat(90), "long-name-".repeat(12))
}

#[test]
fn a_tar_has_every_kind_long_names_large_owners_and_attributes() {
    let mut tree = sample();
    let directory = TreeEntry { uid: 4_000_000, ..entry(&"d".repeat(90), TreeKind::Dir, 0o755) };
    let attributes = BTreeMap::from([(b"user.note".to_vec(), b"a\0b".to_vec())]);
    tree.0.splice(
        4..4,
        [directory, TreeEntry { xattrs: attributes, mtime: (1_000_000_000, 500_000_000), ..file(&long()) }],
    );
    tree.0.insert(6, entry("dev", TreeKind::Char(5, 1), 0o620));
    tree.0.push(file("zä"));
    let mut out = Vec::new();
    write_rootfs_tar(&mut out, &tree, None).unwrap();
    let mut again = Vec::new();
    write_rootfs_tar(&mut again, &tree, None).unwrap();
    assert_eq!(out, again);

    let mut archive = tar::Archive::new(&out[..]);
    let mut listing = String::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let records: Vec<String> = entry
            .pax_extensions()
            .unwrap()
            .map(|records| records.map(|r| r.unwrap().key().unwrap().to_owned()).collect())
            .unwrap_or_default();
        let path = entry.path().unwrap().display().to_string();
        let header = entry.header().clone();
        let (kind, mode) = (header.entry_type(), header.mode().unwrap());
        let link =
            entry.link_name().unwrap().map(|link| format!(" -> {}", link.display())).unwrap_or_default();
        let uid = header.uid().unwrap();
        let content = String::from_utf8(read(&mut entry)).unwrap();
        assert!(kind != tar::EntryType::Regular || content == path);
        let path = path.replace(&"d".repeat(90), "ddd…").replace(&"long-name-".repeat(12), "long-name-…");
        listing += &format!("{kind:?} {mode:o} {uid} {path}{link} {records:?}\n");
    }
    expect![[r#"
        Directory 755 0 bin/ []
        Regular 4755 0 bin/sh []
        Link 4755 0 bin/sh2 -> bin/sh []
        Directory 755 4000000 ddd…/ ["uid"]
        Regular 644 0 ddd…/long-name-… ["mtime", "path", "SCHILY.xattr.user.note"]
        Char 620 0 dev []
        Symlink 777 0 lib -> /usr/lib []
        Directory 500 0 locked/ []
        Regular 644 0 locked/file []
        Fifo 600 0 pipe []
        Regular 644 0 zlast []
        Regular 644 0 zä ["path"]
    "#]]
    .assert_eq(&listing);
}

#[test]
fn gnu_tar_lists_the_same_names_and_times() {
    let Some(mut tar) = peer("tar") else { return };
    let dir = tempfile::tempdir().unwrap();
    let tree = Tree(vec![
        entry(&"d".repeat(90), TreeKind::Dir, 0o755),
        file(&long()),
        TreeEntry { mtime: (-1, 0), ..file("old") },
    ]);
    let path = dir.path().join("rootfs.tar");
    let mut out = Vec::new();
    write_rootfs_tar(&mut out, &tree, None).unwrap();
    fs::write(&path, out).unwrap();
    let listing = succeed(tar.env("TZ", "UTC").args(["--full-time", "-tvf"]).arg(&path));
    assert!(listing.contains(&long()), "{listing}");
    assert!(listing.contains("1969-12-31 23:59:59"), "{listing}");
}
