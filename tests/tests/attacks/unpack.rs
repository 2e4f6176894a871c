//! Hostile tars and layers, through each door that takes one: `kiln import`, `ADD`, `kiln load`.

use std::fs;
use std::path::Path;

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::hostile_tar::HostileTar;
use crate::outside::Attacked;

/// Hands a tar to each door, and shows what came of it to a step.
#[track_caller]
fn each_door(tar: impl Fn(HostileTar, &str) -> HostileTar) {
    for attacked in Attacked::each() {
        let env = &attacked.env;
        let bytes = tar(HostileTar::new(), &attacked.outside()).bytes();
        env.write("hostile.tar", &bytes).file("hostile.tar", &bytes);
        let file = env.path("hostile.tar").display().to_string();
        attacked.kiln(&["import", &file, "imported"]);
        attacked.build("FROM busybox\nADD hostile.tar /\nRUN cat /link/secret /etc/secret /l /h; echo x > /link/made; true\n");
        attacked.build("FROM busybox\nRUN ln -s / /up\nADD hostile.tar /up/up/\nRUN true\n");
        attacked.build("FROM imported\nCOPY --from=busybox /bin /bin\nRUN [\"/bin/sh\", \"-c\", \"cat /link/secret /l /h; echo x > /link/made\"]\n");
        let layout = env.path("layout");
        write_layout(&layout, &bytes);
        attacked.kiln(&["load", "-i", &layout.display().to_string()]);
        attacked.build_with("FROM hostile\nCOPY --from=busybox /bin /bin\nRUN [\"/bin/cat\", \"/link/secret\", \"/l\", \"/h\"]\n", [
            "--build-context",
            &format!("hostile=oci-layout://{}:latest", layout.display()),
        ]);
        // Whatever was refused or taken, the store works on.
        env.file("Dockerfile", "FROM busybox\nRUN true\n").build(["--no-cache"]).success();
    }
}

/// An OCI layout of one image with one layer. Everyone may read it.
fn write_layout(dir: &Path, layer: &[u8]) {
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir.join("blobs/sha256")).expect("mkdir");
    let put = |kind: &str, bytes: &[u8]| {
        let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        fs::write(dir.join("blobs/sha256").join(&digest), bytes).expect("write");
        json!({"mediaType": kind, "digest": format!("sha256:{digest}"), "size": bytes.len()})
    };
    let layer = put("application/vnd.oci.image.layer.v1.tar", layer);
    let config = json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}, "config": {}});
    let config = put("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
    let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": [layer]});
    let mut manifest = put("application/vnd.oci.image.manifest.v1+json", manifest.to_string().as_bytes());
    manifest["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
    fs::write(dir.join("index.json"), json!({"schemaVersion": 2, "manifests": [manifest]}).to_string())
        .expect("write");
    fs::write(dir.join("oci-layout"), "{\"imageLayoutVersion\": \"1.0.0\"}").expect("write");
}

const CLIMB: &str = "../../../../../../../..";

#[test]
fn names_that_climb_write_nothing_outside() {
    each_door(|tar, outside| tar.file(&format!("{CLIMB}{outside}/made"), "x"));
    each_door(|tar, outside| tar.file(&format!("{outside}/made"), "x"));
    each_door(|tar, outside| tar.dir("a/").file(&format!("a/{CLIMB}{outside}/made"), "x"));
    each_door(|tar, _| tar.file("a/./../../b", "x").file("/", "x").file("", "x").dir("..").dir("../"));
}

#[test]
fn writing_through_a_link_of_the_tar_stays_inside() {
    each_door(|tar, outside| tar.symlink("link", outside).file("link/made", "x").file("link/victim", "x"));
    each_door(|tar, outside| {
        tar.symlink("link", &format!("{CLIMB}{outside}")).dir("link/sub/new").file("link/made", "x")
    });
    each_door(|tar, outside| tar.symlink("a", "b").symlink("b", outside).file("a/made", "x"));
    each_door(|tar, outside| tar.symlink("link", &format!("{outside}/made")).file("link", "x"));
    each_door(|tar, outside| tar.symlink("link", outside).dir("link/").file("link/made", "x"));
    each_door(|tar, outside| {
        tar.symlink("link", outside).symlink("link/made", "x").hard_link("link/made2", "link/victim")
    });
    // The directory's times and mode are set at the end, when a link may stand there.
    each_door(|tar, outside| tar.dir("d/").file("d/x", "x").symlink("d", outside));
    each_door(|tar, outside| tar.dir("d/").dir("d/sub/").file("d", "x").symlink("d", outside).dir("d/sub/"));
}

/// CVE-2026-42574's kind: the target of a hard link, or an ancestor of one, leads out.
#[test]
fn hard_links_reach_only_the_tars_own_files() {
    each_door(|tar, outside| tar.hard_link("h", &format!("{outside}/secret")));
    each_door(|tar, outside| tar.hard_link("h", &format!("{CLIMB}{outside}/secret")));
    each_door(|tar, outside| tar.symlink("link", outside).hard_link("h", "link/secret").file("h", "x"));
    each_door(|tar, outside| {
        tar.symlink("l", &format!("{outside}/secret")).hard_link("h", "l").file("h", "x")
    });
    each_door(|tar, outside| {
        tar.hard_link("h", "h").hard_link("h", "").file("h/x", "x").hard_link(&format!("{outside}/made"), "h")
    });
    each_door(|tar, _| tar.hard_link("h", "etc/passwd").file("h", "overwritten"));
}

/// CVE-2026-28406's kind: a whiteout deletes through a link above it.
#[test]
fn whiteouts_delete_nothing_outside() {
    each_door(|tar, outside| tar.symlink("link", outside).file("link/.wh.victim", ""));
    each_door(|tar, outside| tar.symlink("link", outside).file("link/.wh..wh..opq", ""));
    each_door(|tar, outside| {
        tar.file(&format!("{CLIMB}{outside}/.wh.victim"), "").file(&format!("{outside}/.wh.victim"), "")
    });
    each_door(|tar, outside| tar.symlink("link", outside).file(".wh.link", "").file("link/made", "x"));
}

#[test]
fn odd_whiteouts_are_refused_or_harmless() {
    for name in [
        ".wh.",
        ".wh..",
        ".wh...",
        "a/.wh.",
        "a/.wh..",
        "a/.wh...",
        ".wh..wh.",
        ".wh..wh..plnk",
        ".wh..wh..aufs",
        ".wh./x",
        ".wh.a/x",
        ".wh..wh..opq/x",
    ] {
        each_door(|tar, _| tar.dir("a/").file("a/b", "x").file(name, ""));
    }
}

/// umoci's cases: the same name as several kinds of thing, parents that are no directories, entries without parents.
#[test]
fn entries_that_contradict_each_other_stay_inside() {
    each_door(|tar, outside| {
        tar.file("x", "1").dir("x/").file("x/y", "2").file("x", "3").symlink("x", outside).file("x/made", "4")
    });
    each_door(|tar, _| tar.file("x", "1").file("x/y", "2").dir("x/y/z/"));
    each_door(|tar, outside| tar.symlink(".", outside).file("made", "x"));
    each_door(|tar, outside| tar.symlink("./", outside).symlink("/", outside).file("made", "x"));
    each_door(|tar, outside| {
        tar.file("a/b/c/d", "x").symlink("a/b", outside).dir("a/b/").file("a/b/made", "x")
    });
    each_door(|tar, _| tar.fifo("etc/passwd").fifo("f").file("f", "through a pipe").hard_link("g", "f"));
}

/// A device of a tar cannot be opened in a step.
#[test]
fn devices_in_a_tar_open_nothing() {
    for attacked in Attacked::each() {
        let env = &attacked.env;
        let bytes = HostileTar::new().device("dev/null").device("null").device("sub/null").bytes();
        env.file("hostile.tar", &bytes).write("hostile.tar", &bytes);
        let outcome = attacked.build("FROM busybox\nADD hostile.tar /\nRUN for d in /null /sub/null; do echo x > $d && test -c $d && echo opened $d; done; true\n");
        assert!(
            !outcome.text().contains("opened /null\n") && !outcome.text().contains("opened /sub/null\n"),
            "{outcome}"
        );
        attacked.kiln(&["import", &env.path("hostile.tar").display().to_string(), "devices"]);
    }
}

/// A layer that unpacks to far more than it is does not fill the disk behind the manifest's back, and headers that lie about
/// sizes end it.
#[test]
fn sizes_that_lie_are_errors() {
    for attacked in Attacked::each() {
        let env = &attacked.env;
        let mut bytes = HostileTar::new().file("big", "small").bytes();
        // The size field: 8 GiB in a tar of 2 KiB.
        bytes[124..136].copy_from_slice(b"77777777777\0");
        let sum: u32 = bytes[..512]
            .iter()
            .enumerate()
            .map(|(at, &b)| u32::from(if (148..156).contains(&at) { b' ' } else { b }))
            .sum();
        bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        env.file("hostile.tar", &bytes).write("hostile.tar", &bytes);
        attacked.kiln(&["import", &env.path("hostile.tar").display().to_string(), "big"]).failure(1);
        attacked.build("FROM busybox\nADD hostile.tar /\n").failure(1);
    }
}
