use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use expect_test::{Expect, expect};

use super::*;

/// A line for each member, or the error.
fn list(tar: &[u8]) -> String {
    let mut archive = Archive::new(tar);
    let mut text = String::new();
    loop {
        match archive.next_member() {
            Ok(None) => return text,
            Ok(Some(mut member)) => {
                let mut content = Vec::new();
                let read = member.read_to_end(&mut content);
                let Attributes { mode, uid, gid, mtime, xattrs } = &member.attributes;
                write!(text, "{:?} {} {mode:o} {uid}:{gid} ", member.kind, member.path.display()).unwrap();
                write!(text, "{}.{:09}", mtime.seconds, mtime.nanoseconds).unwrap();
                for (name, value) in xattrs {
                    write!(text, " {}={}", name.escape_ascii(), value.escape_ascii()).unwrap();
                }
                match read {
                    Ok(size) => assert_eq!(size as u64, member.size),
                    Err(error) => write!(text, " error: {error}").unwrap(),
                }
                if content.len() > 40 {
                    let data: Vec<u8> = content.iter().copied().filter(|&byte| byte != 0).collect();
                    writeln!(text, " {} bytes, of which {}", content.len(), data.escape_ascii()).unwrap();
                } else {
                    writeln!(text, " {}", content.escape_ascii()).unwrap();
                }
            }
            Err(error) => {
                writeln!(text, "error: {error}").unwrap();
                return text;
            }
        }
    }
}

/// What GNU tar writes of a small tree in one of its formats.
fn gnu(arguments: &[&str]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let script = "mkdir d; printf hello > d/f; ln d/f d/g; ln -s f d/l; mkfifo p; truncate -s 100000 holes
        printf data | dd of=holes bs=1 seek=65536 conv=notrunc status=none; chmod 4711 d/f
        touch -d @1000.25 d d/f p holes; touch -h -d @-5.5 d/l";
    assert!(Command::new("sh").args(["-euc", script]).current_dir(&dir).status().unwrap().success());
    let tar = Command::new("tar")
        .args(["--sort=name", "--owner=1", "--group=2", "-cf", "-"])
        .args(arguments)
        .args(["d", "p", "holes"])
        .current_dir(&dir)
        .output()
        .unwrap();
    assert!(tar.status.success(), "{}", String::from_utf8_lossy(&tar.stderr));
    tar.stdout
}

const SECONDS: Expect = expect![[r#"
    Dir d/ 755 1:2 1000.000000000 
    File d/f 4711 1:2 1000.000000000 hello
    HardLink { to: "d/f" } d/g 4711 1:2 1000.000000000 
    Symlink { target: "f" } d/l 777 1:2 -6.000000000 
    Fifo p 644 1:2 1000.000000000 
    File holes 644 1:2 1000.000000000 100000 bytes, of which data
"#]];

#[test]
fn gnu_archives_are_read() {
    SECONDS.assert_eq(&list(&gnu(&["--format=gnu"])));
    SECONDS.assert_eq(&list(&gnu(&["--format=gnu", "--sparse"])));
    SECONDS.assert_eq(&list(&gnu(&["--format=oldgnu", "--sparse"])));
}

#[test]
fn pax_archives_are_read_with_their_fractions_of_seconds() {
    let nanoseconds = expect![[r#"
        Dir d/ 755 1:2 1000.250000000 
        File d/f 4711 1:2 1000.250000000 hello
        HardLink { to: "d/f" } d/g 4711 1:2 1000.250000000 
        Symlink { target: "f" } d/l 777 1:2 -6.500000000 
        Fifo p 644 1:2 1000.250000000 
        File holes 644 1:2 1000.250000000 100000 bytes, of which data
    "#]];
    nanoseconds.assert_eq(&list(&gnu(&["--format=pax"])));
    for version in ["0.0", "0.1", "1.0"] {
        let tar = gnu(&["--format=pax", "--sparse", &format!("--sparse-version={version}")]);
        assert!(tar.len() < 30_000);
        nanoseconds.assert_eq(&list(&tar));
    }
}

#[test]
fn long_names_are_read_in_every_dialect() {
    let dir = tempfile::tempdir().unwrap();
    let deep: String = (0..12).map(|n| format!("{n:02}-{}/", "x".repeat(40))).collect();
    std::fs::create_dir_all(dir.path().join(&deep)).unwrap();
    std::fs::write(dir.path().join(&deep).join("caf\u{e9}"), "hello").unwrap();
    std::os::unix::fs::symlink("y".repeat(300), dir.path().join(&deep).join("link")).unwrap();
    for format in ["gnu", "pax"] {
        let format = format!("--format={format}");
        let top = deep.split('/').next().unwrap();
        let tar =
            Command::new("tar").args(["-cf", "-", &format, top]).current_dir(&dir).output().unwrap().stdout;
        let mut archive = Archive::new(&tar[..]);
        let mut found = Vec::new();
        while let Some(member) = archive.next_member().unwrap() {
            found.push((member.path.clone(), member.kind.clone()));
        }
        assert!(found.contains(&(Path::new(&deep).join("caf\u{e9}"), MemberKind::File)), "{format}");
        let link = MemberKind::Symlink { target: "y".repeat(300).into() };
        assert!(found.contains(&(Path::new(&deep).join("link"), link)), "{format}");
    }
}

/// A header with a right checksum.
pub(crate) fn header(flag: u8, name: &[u8], size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_entry_type(tar::EntryType::new(flag));
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1000);
    header.set_size(size);
    header.set_cksum();
    header
}

/// A member with its content, padded.
pub(crate) fn member(header: &tar::Header, content: &[u8]) -> Vec<u8> {
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// An extended header with these records.
pub(crate) fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut text = String::new();
    for (keyword, value) in records {
        let rest = keyword.len() + value.len() + 3;
        let length = (rest + 1..).find(|length| rest + length.to_string().len() == *length).unwrap();
        writeln!(text, "{length} {keyword}={value}").unwrap();
    }
    member(&header(b'x', b"pax", text.len() as u64), text.as_bytes())
}

fn check(tar: &[&[u8]], expected: &Expect) {
    expected.assert_eq(&list(&tar.concat()));
}

#[test]
fn extended_headers_overrule_the_plain_one() {
    check(
        &[
            &pax(&[
                ("path", "a/b"),
                ("uid", "3000000"),
                ("mtime", "-1.5"),
                ("SCHILY.xattr.user.x", "1=2"),
                ("size", "3"),
            ]),
            &member(&header(b'0', b"other", 0), b"abc"),
            &member(&header(b'g', b"global", 3), b"any"),
            &member(&header(b'0', b"dir/", 0), b""),
            &pax(&[("path", "x"), ("path", "")]),
            &member(&header(b'2', b"link", 77), b""),
        ],
        &expect![[r#"
            File a/b 644 3000000:0 -2.500000000 user.x=1=2 abc
            Dir dir/ 644 0:0 1000.000000000 
            Symlink { target: "" } link 644 0:0 1000.000000000 
        "#]],
    );
}

#[test]
fn an_archive_may_end_without_its_mark_but_not_in_a_member() {
    let whole = member(&header(b'0', b"a", 5), b"hello");
    check(
        &[&whole],
        &expect![[r#"
        File a 644 0:0 1000.000000000 hello
    "#]],
    );
    check(
        &[&whole[..517]],
        &expect![[r#"
        File a 644 0:0 1000.000000000 hello
    "#]],
    );
    check(
        &[&whole[..515]],
        &expect![[r#"
        File a 644 0:0 1000.000000000 error: it ends in the middle of a member, at byte 515 hel
        error: it ends in the middle of a member, at byte 515
    "#]],
    );
    check(
        &[&whole[..500]],
        &expect![[r#"
        error: it ends in the middle of a member, at byte 0
    "#]],
    );
    check(
        &[&pax(&[("path", "a")])],
        &expect![[r#"
        error: it ends in the middle of a member, at byte 1024
    "#]],
    );
}

#[test]
fn impossible_headers_are_refused() {
    let mut bad_sum = header(b'0', b"a", 0);
    bad_sum.as_mut_bytes()[0] = b'b';
    check(
        &[bad_sum.as_bytes()],
        &expect![[r#"
        error: no valid header at byte 0: its checksum does not match
    "#]],
    );
    check(
        &[header(b'x', b"a", 1 << 40).as_bytes()],
        &expect![[r#"
        error: no valid header at byte 0: its extended headers have more than a megabyte
    "#]],
    );
    check(
        &[header(b'L', b"a", 1 << 40).as_bytes()],
        &expect![[r#"
        error: no valid header at byte 0: its extended headers have more than a megabyte
    "#]],
    );
    check(
        &[header(b'?', b"a", 0).as_bytes()],
        &expect![[r#"
        error: no valid header at byte 0: it is of an unknown type
    "#]],
    );
    check(
        &[&member(&header(b'x', b"a", 5), b"9 a=b")],
        &expect![[r#"
        error: no valid header at byte 5: its extended header is malformed
    "#]],
    );
    check(
        &[&pax(&[("uid", "99999999999")]), header(b'0', b"a", 0).as_bytes()],
        &expect![[r#"
        error: no valid header at byte 1024: its owner is no possible one
    "#]],
    );
    check(
        &[&pax(&[("size", "18446744073709551615")]), header(b'0', b"a", 0).as_bytes()],
        &expect![[r#"
        File a 644 0:0 1000.000000000 error: it ends in the middle of a member, at byte 1536 
        error: no valid header at byte 1024: its size is impossible
    "#]],
    );
}

#[test]
fn endless_extended_headers_end() {
    let tar = pax(&[("comment", "x")]).repeat(3000);
    assert!(list(&tar).contains("more than a megabyte"));
}
