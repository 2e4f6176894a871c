use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::super::testing::{
    Mounted, TestLayers, assert_tree_is_manifest, is_root, listing, looks, would_look,
};
use super::super::{Layer, View};
use crate::store::OverlayXattrs;

/// Runs `step` in a mount of `layers` and commits it. The new layer's tree must be its manifest, and a mount of all
/// layers must look as the step left it.
fn commit(
    store: &TestLayers,
    layers: &[&str],
    stubs: &[&str],
    step: impl FnOnce(&Path),
) -> Option<(Layer, std::sync::Arc<View>)> {
    if !is_root() {
        return None;
    }
    let below = store.snapshot(layers);
    let draft = store.layers.draft().unwrap();
    draft.take_root_from(&below).unwrap();
    let mounted = Mounted::new(store, &below, Some(&draft))?;
    step(&mounted.point);
    let left = looks(&mounted.point);
    drop(mounted);
    let stubs: Vec<PathBuf> = stubs.iter().map(PathBuf::from).collect();
    let layer = draft.commit_upper(&below, &stubs).unwrap();
    assert_tree_is_manifest(&layer);
    let above = below.with(layer.id);
    let view = store.layers.view(&above).unwrap();
    let gone = |line: &String| {
        stubs
            .iter()
            .any(|stub| line.starts_with(&format!("{} ", stub.strip_prefix("/").unwrap_or(stub).display())))
    };
    let left: Vec<String> = left.into_iter().filter(|line| !gone(line)).collect();
    assert_eq!(would_look(&view), left, "the view");
    let mounted = Mounted::new(store, &above, None)?;
    assert_eq!(looks(&mounted.point), left, "a mount of the layers");
    Some((layer, view))
}

fn check(layers: &[&str], script: &str, expected: &Expect) {
    check_with_stubs(layers, &[], script, expected);
}

fn check_with_stubs(layers: &[&str], stubs: &[&str], script: &str, expected: &Expect) {
    let store = TestLayers::new();
    let committed = commit(&store, layers, stubs, |dir| {
        let status = Command::new("sh").args(["-euc", script]).current_dir(dir).status().unwrap();
        assert!(status.success());
    });
    if let Some((layer, _)) = committed {
        expected.assert_eq(&listing(&layer.manifest));
    }
}

#[test]
fn changes_are_listed_with_the_directories_above_them() {
    check(
        &["d a\nd a/b\nf a/b/old =1\nf a/same =1\nd c\nf c/x =1"],
        "echo hello > a/b/new; mkdir -p n/m; ln -s t n/l; rm c/x; chmod 600 a/b/old; mkfifo pipe",
        &expect![[r#"
            d 0755 /a
            d 0755 /a/b
            f 0644 /a/b/new 6
            f 0600 /a/b/old 1
            d 0755 /c
            w 0000 /c/x
            d 0755 /n
            l 0777 /n/l ->t
            d 0755 /n/m
            p 0644 /pipe
        "#]],
    );
}

#[test]
fn what_changed_in_time_alone_or_back_again_is_not_listed() {
    check(
        &["d a\nd a/b\nf a/b/x =1\nf a/y =1\nl a/l ->y"],
        "touch a; touch a/b/t; rm a/b/t; chmod 600 a/y; chmod 644 a/y; chown -h 1 a/l; chown -h 0 a/l; mkdir d; rmdir d",
        &expect![""],
    );
}

#[test]
fn a_file_with_a_new_time_is_listed() {
    check(
        &["f a =1\nf b =1"],
        "touch a",
        &expect![[r#"
            f 0644 /a 1
        "#]],
    );
}

#[test]
fn a_directory_that_was_made_anew_takes_away_name_by_name() {
    check(
        &["d a\nd a/sub\nf a/sub/x =1\nf a/sub/y =1\nf a/z =1\nf a/gone =1", "d a\nf a/later =1"],
        "rm -r a; mkdir -p a/sub; echo new > a/sub/x; echo new > a/z",
        &expect![[r#"
            d 0755 /a
            w 0000 /a/gone
            w 0000 /a/later
            d 0755 /a/sub
            f 0644 /a/sub/x 4
            w 0000 /a/sub/y
            f 0644 /a/z 4
        "#]],
    );
}

#[test]
fn a_directory_over_a_file_and_a_file_over_a_directory() {
    check(
        &["d a\nf a/x =1\nf b =1", "f c =1"],
        "rm -r a; echo file > a; rm b; mkdir b; echo 1 > b/in; rm c",
        &expect![[r#"
            f 0644 /a 5
            d 0755 /b
            f 0644 /b/in 2
            w 0000 /c
        "#]],
    );
}

#[test]
fn what_is_made_and_removed_again_leaves_nothing() {
    check(&["d a\nf a/x =1", "d a\nw a/x"], "echo 1 > a/x; rm a/x; echo 1 > new; rm new", &expect![[r#""#]]);
}

#[test]
fn names_of_one_file_stay_together_within_the_layer() {
    check(
        &["d a\nf a/old =1"],
        "echo hello > one; ln one a/two; ln one three; ln a/old a/older",
        &expect![[r#"
            d 0755 /a
            f 0644 /a/older 1
            f 0644 /a/two 6
            h 0644 /one ==a/two
            h 0644 /three ==a/two
        "#]],
    );
}

#[test]
fn capabilities_and_setuid_bits_are_kept() {
    let store = TestLayers::new();
    let value = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let committed = commit(&store, &["f ping 04755 =1"], &[], |dir| {
        let file = std::fs::File::open(dir.join("ping")).unwrap();
        for name in ["security.capability", "user.mine", "user.overlay.opaque", "trusted.overlay.redirect"] {
            rustix::fs::fsetxattr(&file, name, value, rustix::fs::XattrFlags::empty()).unwrap();
        }
        std::fs::create_dir(dir.join("d")).unwrap();
    });
    let Some((layer, _)) = committed else { return };
    let attributes = &layer.manifest.get(Path::new("ping")).unwrap().attributes;
    let names: Vec<&[u8]> = attributes.xattrs.keys().map(Vec::as_slice).collect();
    assert_eq!((attributes.mode, names), (0o4755, vec![&b"security.capability"[..], b"user.mine"]));
}

#[test]
fn sockets_are_in_no_layer() {
    let store = TestLayers::new();
    if !is_root() {
        return;
    }
    let below = store.snapshot(&["f s =1"]);
    let draft = store.layers.draft().unwrap();
    let Some(mounted) = Mounted::new(&store, &below, Some(&draft)) else { return };
    std::fs::remove_file(mounted.point.join("s")).unwrap();
    for name in ["s", "t"] {
        drop(std::os::unix::net::UnixListener::bind(mounted.point.join(name)).unwrap());
    }
    drop(mounted);
    let layer = draft.commit_upper(&below, &[]).unwrap();
    assert_tree_is_manifest(&layer);
    expect![[r#"
        w 0000 /s
    "#]]
    .assert_eq(&listing(&layer.manifest));
}

#[test]
fn mount_points_that_were_made_for_the_step_are_left_out() {
    check_with_stubs(
        &["d etc"],
        &["etc/hosts", "run", "run/secrets", "run/secrets/key", "var", "var/cache"],
        "mkdir -p run/secrets var/cache; : > etc/hosts; : > run/secrets/key",
        &expect![""],
    );
}

#[test]
fn a_mount_points_parent_stays_if_the_step_has_put_something_there() {
    check_with_stubs(
        &[],
        &["/run/secrets"],
        "mkdir -p run/secrets; echo 1 > run/pid",
        &expect![[r#"
            d 0755 /run
            f 0644 /run/pid 2
        "#]],
    );
}

#[test]
fn a_changed_root_is_remembered_by_its_layer() {
    check(
        &["d / 0700\nf a =1"],
        "chmod 0711 .",
        &expect![[r#"
            d 0711 /
        "#]],
    );
}

/// Something that a step may do. Paths are of three letters out of two or three; what is impossible is not done.
#[derive(Debug, Clone)]
enum Do {
    Write(String, u8),
    Append(String),
    MakeDir(String),
    Remove(String),
    Rename(String, String),
    Link(String, String),
    Symlink(String, String),
    Mode(String, u32),
    Owner(String, u32),
    /// Removed and put back as it was, times and all.
    Again(String),
}

fn perform(action: &Do, root: &Path) {
    let at = |path: &String| root.join(path);
    let _ = match action {
        Do::Write(path, n) => std::fs::write(at(path), vec![b'x'; usize::from(*n)]),
        Do::Append(path) => std::fs::OpenOptions::new()
            .append(true)
            .open(at(path))
            .and_then(|mut file| std::io::Write::write_all(&mut file, b"more")),
        Do::MakeDir(path) => std::fs::create_dir_all(at(path)),
        Do::Remove(path) => std::fs::remove_dir_all(at(path)).or_else(|_| std::fs::remove_file(at(path))),
        Do::Rename(from, to) => std::fs::rename(at(from), at(to)),
        Do::Link(from, to) => std::fs::hard_link(at(from), at(to)),
        Do::Symlink(target, path) => symlink(target, at(path)),
        Do::Mode(path, mode) if !at(path).is_symlink() => {
            std::fs::set_permissions(at(path), std::fs::Permissions::from_mode(*mode))
        }
        Do::Mode(..) => Ok(()),
        Do::Owner(path, uid) => std::os::unix::fs::lchown(at(path), Some(*uid), Some(*uid)),
        Do::Again(path) => {
            let other = root.join("copy");
            let copied = Command::new("cp").arg("-a").args([at(path), other.clone()]).output();
            if copied.is_ok_and(|output| output.status.success()) {
                let _ = std::fs::remove_dir_all(at(path)).or_else(|_| std::fs::remove_file(at(path)));
                let _ = std::fs::rename(&other, at(path));
            }
            Ok(())
        }
    };
}

fn actions(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Do>> {
    let path = || "[ab](/[ab](/[abc])?)?";
    let action = prop_oneof![
        3 => (path(), 0..5_u8).prop_map(|(path, n)| Do::Write(path, n)),
        1 => path().prop_map(Do::Append),
        3 => path().prop_map(Do::MakeDir),
        2 => path().prop_map(Do::Remove),
        2 => (path(), path()).prop_map(|(from, to)| Do::Rename(from, to)),
        1 => (path(), path()).prop_map(|(from, to)| Do::Link(from, to)),
        1 => (path(), path()).prop_map(|(target, path)| Do::Symlink(target, path)),
        1 => (path(), prop_oneof![Just(0o700), Just(0o755), Just(0o644)]).prop_map(|(path, mode)| Do::Mode(path, mode)),
        1 => (path(), 0..3_u32).prop_map(|(path, uid)| Do::Owner(path, uid)),
        1 => path().prop_map(Do::Again),
    ];
    proptest::collection::vec(action, count)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn a_stack_of_committed_steps_looks_as_the_kernel_shows_it(
        steps in proptest::collection::vec(actions(1..25), 1..5),
        mode in prop_oneof![Just(OverlayXattrs::Trusted), Just(OverlayXattrs::User)],
    ) {
        let store = TestLayers::with(mode);
        if !is_root() {
            return Ok(());
        }
        let mut snapshot = kiln_core::Snapshot::scratch();
        for step in &steps {
            let draft = store.layers.draft().unwrap();
            draft.take_root_from(&snapshot).unwrap();
            let Some(mounted) = Mounted::new(&store, &snapshot, Some(&draft)) else { return Ok(()) };
            for action in step {
                perform(action, &mounted.point);
            }
            let left = looks(&mounted.point);
            drop(mounted);
            let layer = draft.commit_upper(&snapshot, &[]).unwrap();
            assert_tree_is_manifest(&layer);
            snapshot = snapshot.with(layer.id);
            prop_assert_eq!(would_look(&store.layers.view(&snapshot).unwrap()), left.clone());
            let Some(mounted) = Mounted::new(&store, &snapshot, None) else { return Ok(()) };
            prop_assert_eq!(looks(&mounted.point), left);
        }
    }
}
