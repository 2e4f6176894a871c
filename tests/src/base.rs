//! Base images without a registry: busybox and Debian, made from the machine's own packages.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::{is_root, skipped, target_dir};

/// A static busybox with links to it, a root user and the usual directories, as a tar.
pub fn busybox_tar(to: &Path) {
    let busybox = Path::new("/bin/busybox");
    let applets =
        Command::new(busybox).arg("--list").output().expect("run /bin/busybox (package busybox-static)");
    let applets = String::from_utf8(applets.stdout).expect("names of applets");

    let mut tar = tar::Builder::new(File::create(to).expect("create the tar"));
    let header = |kind, mode, size| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(size);
        header.set_mtime(now());
        header
    };
    for dir in [
        "./",
        "./bin/",
        "./dev/",
        "./etc/",
        "./proc/",
        "./root/",
        "./sys/",
        "./tmp/",
        "./usr/",
        "./usr/bin/",
        "./var/",
    ] {
        let mode = if dir == "./tmp/" { 0o1777 } else { 0o755 };
        tar.append_data(&mut header(tar::EntryType::Directory, mode, 0), dir, std::io::empty()).expect(dir);
    }
    let mut file = |path: &str, mode, content: &[u8]| {
        let mut header = header(tar::EntryType::Regular, mode, content.len() as u64);
        tar.append_data(&mut header, path, content).expect(path);
    };
    file("./bin/busybox", 0o755, &fs::read(busybox).expect("read /bin/busybox"));
    file("./etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n");
    file("./etc/group", 0o644, b"root:x:0:\n");
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        tar.append_link(&mut header, format!("./bin/{applet}"), "busybox").expect(applet);
    }
    tar.finish().expect("finish the tar");
}

fn now() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().expect("a clock after 1970");
    since.as_secs()
}

/// Debian minbase with ca-certificates, as a tar; made once by mmdebstrap and kept below the target directory.
/// None, and the test is skipped, if mmdebstrap cannot be had.
#[track_caller]
pub fn debian_tar() -> Option<&'static Path> {
    static TAR: OnceLock<Option<PathBuf>> = OnceLock::new();
    let made = TAR.get_or_init(|| {
        let dir = target_dir();
        fs::create_dir_all(&dir).expect("create the tests' own directory");
        let lock = File::create(dir.join("debian.lock")).expect("create a lock file");
        lock.lock().expect("lock"); // several test processes want it at the same time
        let tar = dir.join("debian.tar");
        (tar.is_file() || bootstrap(&tar)).then_some(tar)
    });
    if made.is_none() {
        skipped("no Debian base image: needs root, mmdebstrap and the machine's own apt sources");
    }
    made.as_deref()
}

/// Runs mmdebstrap against the mirror that the machine itself uses.
fn bootstrap(tar: &Path) -> bool {
    let Some((mirror, suite)) = apt_source() else { return false };
    if !is_root() {
        return false;
    }
    let part = tar.with_extension("part.tar");
    let made = Command::new("mmdebstrap")
        .args(["--quiet", "--variant=minbase", "--include=ca-certificates"])
        // For a mirror that is a snapshot, whose Release file has expired.
        .args(["--aptopt=Acquire::Check-Valid-Until \"false\"", "--aptopt=Acquire::Check-Date \"false\""])
        .arg(suite)
        .arg(&part)
        .arg(mirror)
        .stdin(std::process::Stdio::null())
        .status();
    made.is_ok_and(|status| status.success()) && fs::rename(&part, tar).is_ok()
}

/// The first mirror and suite of the machine's apt sources, in either of apt's two forms.
fn apt_source() -> Option<(String, String)> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let deb822 =
        read("/etc/apt/sources.list.d/debian.sources") + &read("/etc/apt/sources.list.d/ubuntu.sources");
    let field = |name: &str| {
        let line = deb822.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next().map(str::to_owned)
    };
    if let (Some(mirror), Some(suite)) = (field("URIs:"), field("Suites:")) {
        return Some((mirror, suite));
    }
    read("/etc/apt/sources.list").lines().find_map(|line| {
        let mut words = line.split_whitespace().filter(|word| !word.starts_with('[') && !word.ends_with(']'));
        (words.next() == Some("deb")).then(|| Some((words.next()?.to_owned(), words.next()?.to_owned())))?
    })
}
