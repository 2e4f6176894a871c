use expect_test::{Expect, expect};
use kiln_core::{Digest, Snapshot};
use proptest::prelude::*;

use super::super::Archive;
use super::super::archive::tests::{header, member, pax};
use super::super::layers::Layer;
use super::super::testing::{
    Mounted, TestLayers, assert_tree_is_manifest, is_root, listing, looks, would_look,
};
use super::*;

/// A tar of lines: `f a/b =content`, `d a`, `l a ->b`, `h a ==b`, `c null 1,3`, `p pipe`; names as they are.
fn tar(lines: &str) -> Vec<u8> {
    let mut tar = Vec::new();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.splitn(3, ' ');
        let (kind, name) = (words.next().unwrap(), words.next().unwrap());
        let rest = words.next().unwrap_or_default();
        let (flag, content) = match kind {
            "f" => (b'0', rest.strip_prefix('=').unwrap_or_default()),
            "d" => (b'5', ""),
            "l" => (b'2', ""),
            "h" => (b'1', ""),
            "c" => (b'3', ""),
            "p" => (b'6', ""),
            other => panic!("no kind `{other}`"),
        };
        let mut header = header(flag, name.as_bytes(), content.len() as u64);
        if kind == "d" {
            header.set_mode(
                rest.parse::<u32>().map_or(0o755, |mode| u32::from_str_radix(&mode.to_string(), 8).unwrap()),
            );
        }
        if let Some(link) = rest.strip_prefix("->").or(rest.strip_prefix("==")) {
            header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        }
        if let Some((major, minor)) = rest.split_once(',').filter(|_| kind == "c") {
            header.set_device_major(major.parse().unwrap()).unwrap();
            header.set_device_minor(minor.parse().unwrap()).unwrap();
        }
        header.set_cksum();
        tar.extend(member(&header, content.as_bytes()));
    }
    tar.extend([0; 1024]);
    tar
}

fn unpack_over(store: &TestLayers, below: &[&str], tar: &[u8]) -> Result<Layer, LayerError> {
    let below = store.snapshot(below);
    let layer = store.layers.unpack(tar, Limits::default())?.commit(&below)?;
    assert_tree_is_manifest(&layer);
    if is_root() {
        let snapshot = below.with(layer.id);
        if let Some(mounted) = Mounted::new(store, &snapshot, None) {
            assert_eq!(would_look(&store.layers.view(&snapshot).unwrap()), looks(&mounted.point));
        }
    }
    Ok(layer)
}

fn causes(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {}", causes(source)))
}

/// The layer that the archive becomes over `below`, or why it does not.
fn check(below: &[&str], lines: &str, expected: &Expect) {
    let store = TestLayers::new();
    match unpack_over(&store, below, &tar(lines)) {
        Ok(layer) => expected.assert_eq(&listing(&layer.manifest)),
        Err(error) => expected.assert_eq(&causes(&error)),
    }
    let names = std::fs::read_dir(store.dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(!names.into_iter().any(|name| name == "escaped"));
}

#[test]
fn members_become_entries_wherever_their_paths_start() {
    check(
        &[],
        "d ./ 700\nd ./a\nf /a/x =1\nf b//c/./y =22\nl l ->/anywhere\nh b/z ==./b/c/y\np p",
        &expect![[r#"
            d 0700 /
            d 0755 /a
            f 0644 /a/x 1
            d 0755 /b
            d 0755 /b/c
            f 0644 /b/c/y 2
            h 0644 /b/z ==b/c/y
            l 0777 /l ->/anywhere
            p 0644 /p
        "#]],
    );
}

#[test]
fn dots_that_lead_up_are_refused() {
    check(&[], "f ../escaped =1", &expect!["unpack `../escaped`: its path leads out of the layer"]);
    check(
        &[],
        "d a\nf a/../../escaped =1",
        &expect!["unpack `a/../../escaped`: its path leads out of the layer"],
    );
    check(&[], "f a =1\nh b ==../../escaped", &expect!["unpack `b`: its path leads out of the layer"]);
    check(&[], "f .. =1", &expect!["unpack `..`: its path leads out of the layer"]);
}

#[test]
fn links_on_the_way_are_followed_inside_the_layer() {
    check(
        &[],
        "l a ->/etc\nf a/passwd =x\nl up ->../../..\nf up/escaped =1",
        &expect![[r#"
        l 0777 /a ->/etc
        f 0644 /escaped 1
        d 0755 /etc
        f 0644 /etc/passwd 1
        l 0777 /up ->../../..
    "#]],
    );
    check(
        &[],
        "d usr/lib\nl lib ->usr/lib\nf lib/x =1\nd lib/d\nh lib/y ==lib/x",
        &expect![[r#"
        l 0777 /lib ->usr/lib
        d 0755 /usr
        d 0755 /usr/lib
        d 0755 /usr/lib/d
        f 0644 /usr/lib/x 1
        h 0644 /usr/lib/y ==usr/lib/x
    "#]],
    );
    check(
        &[],
        "l a ->b\nl b ->a\nf a/x =1",
        &expect!["unpack `a/x`: its path goes through too many symbolic links"],
    );
    check(&[], "f a =1\nf a/x =1", &expect!["unpack `a/x`: a part of its path is no directory"]);
}

#[test]
fn a_link_in_the_last_place_is_replaced_not_followed() {
    check(
        &[],
        "f x =1\nl a ->x\nf a =new\nl d ->/\nd d\nf d/in =1",
        &expect![[r#"
        f 0644 /a 3
        d 0755 /d
        f 0644 /d/in 1
        f 0644 /x 1
    "#]],
    );
}

#[test]
fn the_last_of_several_members_of_a_name_counts() {
    check(
        &[],
        "f a =old\nh b ==a\nf a =newer\nf c =1\nd c\nf c/x =1\nd c 700\nd e\nf e/x =1\nl e ->c",
        &expect![[r#"
        f 0644 /a 5
        f 0644 /b 3
        d 0700 /c
        f 0644 /c/x 1
        l 0777 /e ->c
    "#]],
    );
}

#[test]
fn hard_links_lead_to_files_of_the_layer_or_to_copies_of_those_below() {
    check(
        &["d a\nf a/old 0600 =hello\nl a/l ->old\nd dir"],
        "h z ==a/old\nh y ==z\nh l ==a/l\nf b =1\nh a2 ==b",
        &expect![[r#"
            f 0644 /a2 1
            h 0644 /b ==a2
            l 0777 /l ->old
            f 0600 /y 5
            h 0600 /z ==y
        "#]],
    );
    check(&[], "h a ==nowhere", &expect!["unpack `a`: it is a hard link to `nowhere`, which is not there"]);
    check(&["d dir"], "h a ==dir", &expect!["unpack `a`: it is a hard link to `dir`, which is not there"]);
    check(
        &[],
        "l s ->/\nh a ==s/etc/passwd",
        &expect!["unpack `a`: it is a hard link to `etc/passwd`, which is not there"],
    );
}

#[test]
fn whiteouts_take_away_what_is_below_and_nothing_else() {
    check(
        &["d a\nf a/x =1\nf a/y =1\nd b\nf b/z =1\nf c =1"],
        "d a\nf a/.wh.x\nf a/.wh.stray\nf .wh.b\nf .wh.c\nf c =new\nd new\nf new/.wh.x\nf nowhere/.wh.x",
        &expect![[r#"
            d 0755 /a
            w 0000 /a/x
            w 0000 /b
            f 0644 /c 3
            d 0755 /new
        "#]],
    );
}

#[test]
fn an_opaque_directory_hides_what_is_below_and_not_its_own() {
    let below = ["d a\nf a/x =1\nf a/y =1\nd a/sub\nf a/sub/z =1\nd a/gone\nf a/gone/z =1"];
    let expected = expect![[r#"
        d 0755 /a
        w 0000 /a/gone
        d 0755 /a/sub
        f 0644 /a/sub/n 1
        w 0000 /a/sub/z
        f 0644 /a/x 3
        w 0000 /a/y
    "#]];
    check(&below, "d a\nf a/.wh..wh..opq\nf a/x =new\nd a/sub\nf a/sub/n =1", &expected);
    check(&below, "d a\nf a/x =new\nd a/sub\nf a/sub/n =1\nf a/.wh..wh..opq", &expected);
    check(&below, "f .wh.a\nd a\nf a/x =new\nd a/sub\nf a/sub/n =1", &expected);
}

#[test]
fn whiteouts_of_no_name_are_refused_and_old_bookkeeping_is_skipped() {
    check(&["d a"], "f a/.wh.", &expect!["unpack `a/.wh.`: it is a whiteout of no name"]);
    check(&["d a"], "f a/.wh..", &expect!["unpack `a/.wh..`: it is a whiteout of no name"]);
    check(&["d a"], "f a/.wh...", &expect!["unpack `a/.wh...`: it is a whiteout of no name"]);
    check(&["d a"], "f .wh..wh.plnk\nf .wh..wh.aufs", &expect![[""]]);
}

#[test]
fn a_whiteout_behind_a_link_takes_away_inside_the_root() {
    check(
        &["d etc\nf etc/passwd =1"],
        "l a ->/etc\nf a/.wh.passwd",
        &expect![[r#"
        l 0777 /a ->/etc
        d 0755 /etc
        w 0000 /etc/passwd
    "#]],
    );
    check(
        &["d etc\nf etc/passwd =1\nl a ->etc"],
        "f a/.wh.passwd",
        &expect![[r#"
        d 0755 /etc
        w 0000 /etc/passwd
    "#]],
    );
}

#[test]
fn directories_that_are_only_implied_look_as_they_do_below() {
    check(
        &["d a 0700 1:2\nd a/b 01777"],
        "f a/b/x =1\nf new/x =1",
        &expect![[r#"
        d 0700 /a 1:2
        d 1777 /a/b
        f 0644 /a/b/x 1
        d 0755 /new
        f 0644 /new/x 1
    "#]],
    );
    check(
        &["d usr\nd usr/lib 0711\nl lib ->usr/lib"],
        "f lib/sub/x =1\nf usr/lib/y =1\nd lib/sub 700",
        &expect![[r#"
        d 0755 /usr
        d 0711 /usr/lib
        d 0700 /usr/lib/sub
        f 0644 /usr/lib/sub/x 1
        f 0644 /usr/lib/y 1
    "#]],
    );
    check(
        &["f a =1"],
        "f a/x =1",
        &expect![[r#"
        d 0755 /a
        f 0644 /a/x 1
    "#]],
    );
}

#[test]
fn a_device_that_overlayfs_takes_for_a_whiteout_is_one() {
    if is_root() {
        check(
            &["f a =1"],
            "c a 0,0\nc b 0,0",
            &expect![[r#"
            w 0000 /a
        "#]],
        );
        check(&[], "f zero =1\nc zero 0,0", &expect![[""]]);
    }
}

#[test]
fn devices_are_made() {
    if !is_root() {
        return;
    }
    let store = TestLayers::new();
    let layer = store.layers.unpack(&tar("c null 1,3")[..], Limits::default()).unwrap();
    assert!(layer.left_out.is_empty());
    expect![[r#"
        c 0644 /null 1,3
    "#]]
    .assert_eq(&listing(&layer.commit(&Snapshot::scratch()).unwrap().manifest));
}

#[test]
fn attributes_of_overlayfs_do_not_come_in() {
    let records: Vec<(String, &str)> = [
        "trusted.overlay.opaque",
        "trusted.overlay.redirect",
        "user.overlay.metacopy",
        "user.mine",
        "trusted.other",
        "security.selinux",
    ]
    .map(|name| (format!("SCHILY.xattr.{name}"), "y"))
    .into();
    let records: Vec<(&str, &str)> = records.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let tar = [pax(&records), member(&header(b'5', b"d", 0), b"")].concat();
    let store = TestLayers::new();
    let layer = unpack_over(&store, &[], &tar).unwrap();
    let names: Vec<&[u8]> = layer.manifest.entries()[0].attributes.xattrs.keys().map(Vec::as_slice).collect();
    assert_eq!(names, [b"user.mine"]);
    let mut list = [0; 100];
    let length = rustix::fs::listxattr(layer.tree().join("d"), &mut list[..]).unwrap();
    assert_eq!(list[..length], *b"user.mine\0");
}

#[test]
fn paths_that_linux_has_no_room_for_are_refused() {
    let long = "x/".repeat(3000);
    let name = "x".repeat(256);
    for path in [long.as_str(), name.as_str(), "a\0b"] {
        let tar = [pax(&[("path", path)]), member(&header(b'0', b"a", 0), b"")].concat();
        let error = unpack_over(&TestLayers::new(), &[], &tar).unwrap_err();
        assert!(matches!(error, LayerError::Member { cause: MemberError::Path, .. }), "{error:?}");
    }
}

#[test]
fn an_archive_that_grows_beyond_its_limits_is_stopped() {
    let store = TestLayers::new();
    let limits = Limits { bytes: 10_000, members: 3 };
    let unpack = |tar: &[u8]| causes(&store.layers.unpack(tar, limits).map(drop).unwrap_err());
    expect!["unpack `d`: the archive grows beyond 3 members"].assert_eq(&unpack(&tar("d a\nd b\nd c\nd d")));
    expect!["unpack `b`: the archive grows beyond 10000 bytes"]
        .assert_eq(&unpack(&tar(&format!("f a ={0}\nf b ={0}", "x".repeat(9000)))));
    // A sparse file of a petabyte in two blocks.
    let holes = [
        pax(&[
            ("GNU.sparse.size", "1000000000000000"),
            ("GNU.sparse.map", "0,1"),
            ("GNU.sparse.name", "holes"),
        ]),
        member(&header(b'0', b"holes", 1), b"x"),
    ]
    .concat();
    expect!["unpack `holes`: the archive grows beyond 10000 bytes"].assert_eq(&unpack(&holes));
    // Nothing but what follows the end mark.
    assert!(unpack(&vec![0; 300_000]).contains("grows beyond 10000 bytes"));
}

#[test]
fn the_diff_id_is_that_of_all_bytes() {
    let mut tar = tar("f a =1");
    tar.extend(vec![0; 700_000]);
    tar.extend(b"and something after the end");
    let unpacked = TestLayers::new().layers.unpack(&tar[..], Limits::default()).unwrap();
    assert_eq!((unpacked.diff_id.0, unpacked.tar_size), (Digest::of(&tar), tar.len() as u64));
}

#[test]
fn an_input_that_fails_says_so() {
    struct Fails;
    impl Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the digest is another one"))
        }
    }
    let store = TestLayers::new();
    let whole = tar("f a =1");
    let error = store.layers.unpack(whole[..1024].chain(Fails), Limits::default()).map(drop).unwrap_err();
    expect!["read the archive: cannot read the input: the digest is another one"].assert_eq(&causes(&error));
}

#[test]
fn a_cut_archive_is_an_error_wherever_it_is_cut() {
    let store = TestLayers::new();
    let whole = [
        pax(&[("path", "some/where"), ("SCHILY.xattr.user.a", "b")]),
        tar("f a =some content\nd b\nl c ->a\nh d ==a"),
    ]
    .concat();
    for cut in (1..whole.len() - 1024).filter(|cut| cut % 512 != 0 && (cut % 7 == 0 || cut % 512 > 500)) {
        let unpacked = store.layers.unpack(&whole[..cut], Limits::default());
        // What follows a content is padding: its absence harms nobody.
        let in_padding =
            (1536 + 512 + 12..1536 + 1024).contains(&cut) || (1536..1536 + 512 + 12).contains(&cut);
        assert!(unpacked.is_err() || in_padding, "{cut}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn no_archive_makes_it_panic_or_leave_its_tree(
        lines in proptest::collection::vec(
            ("[fdlhcp]", "(\\.\\./|/|\\./)?[ab](/(\\.wh\\.)?[ab.]{1,3}){0,3}", "[ab/.]{1,8}"), 1..15),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        below in "d a\nd a/b\nf a/a =1|l a ->b\nd b\nf b/a =1|f a =1\nl b ->/",
    ) {
        let text: String = lines.iter().map(|(kind, name, rest)| {
            let mark = match kind.as_str() { "f" => "=", "l" => "->", "h" => "==", _ => "" };
            format!("{kind} {name} {mark}{rest}\n")
        }).collect();
        let mut bytes = tar(&text);
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let mut archive = Archive::new(&bytes[..]);
        while let Ok(Some(mut member)) = archive.next_member() {
            let _ = io::copy(&mut (&mut member).take(100_000), &mut io::sink());
        }
        let store = TestLayers::new();
        let before: Vec<_> = std::fs::read_dir(store.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        // Whatever it becomes is a layer that is equal to its manifest and looks the same in a mount.
        let limits = Limits { bytes: 1_000_000, members: 100 };
        let below = store.snapshot(&[&below]);
        if let Ok(layer) = store.layers.unpack(&bytes[..], limits).and_then(|unpacked| unpacked.commit(&below))
            && !layer.manifest.entries().iter().any(|entry| matches!(entry.kind, Kind::Char(_)))
        {
            assert_tree_is_manifest(&layer);
            let snapshot = below.with(layer.id);
            if is_root() && let Some(mounted) = Mounted::new(&store, &snapshot, None) {
                prop_assert_eq!(would_look(&store.layers.view(&snapshot).unwrap()), looks(&mounted.point));
            }
        }
        let after: Vec<_> = std::fs::read_dir(store.dir.path()).unwrap().map(|entry| entry.unwrap().file_name())
            .filter(|name| !name.to_string_lossy().starts_with("mount") && !name.to_string_lossy().starts_with("empty")).collect();
        prop_assert_eq!(before.len(), after.len());
    }
}
