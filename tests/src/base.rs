//! Base images without a registry: busybox and Debian, made from the machine's own packages.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::{is_root, skipped, target_dir};

/// A static busybox with links to it, a root user and the usual directories, as a tar.
pub fn busybox_tar(to: &Path) {
    write_busybox_tar(Path::new("/bin/busybox"), to);
}

/// The same for arm64, from Debian's package; it is fetched once and kept below the target directory. None, and the test is
/// skipped, if it cannot be had.
#[track_caller]
pub fn busybox_arm64_tar(to: &Path) -> Option<()> {
    static BUSYBOX: OnceLock<Option<PathBuf>> = OnceLock::new();
    let made = BUSYBOX.get_or_init(|| {
        made_once("busybox-arm64", |binary| {
            let tar = binary.with_extension("tar");
            let extract = ["--variant=extract", "--architectures=arm64", "--include=busybox-static"];
            let extracted = bootstrap(&tar, &extract) && extract_file(&tar, "bin/busybox", binary);
            let _ = fs::remove_file(tar);
            extracted
        })
    });
    let Some(busybox) = made else {
        skipped("no busybox for arm64: needs mmdebstrap and the machine's own apt sources");
        return None;
    };
    write_busybox_tar(busybox, to);
    Some(())
}

/// Writes one file of a tar.
fn extract_file(tar: &Path, name: &str, to: &Path) -> bool {
    let Ok(tar) = File::open(tar) else { return false };
    let mut archive = tar::Archive::new(tar);
    let Ok(mut entries) = archive.entries() else { return false };
    let found = entries.find_map(|entry| {
        let entry = entry.ok()?;
        let is_it = entry.path().is_ok_and(|path| path.strip_prefix(".").unwrap_or(&path) == Path::new(name));
        is_it.then_some(entry)
    });
    found.is_some_and(|mut entry| {
        File::create(to).and_then(|mut file| std::io::copy(&mut entry, &mut file)).is_ok()
    })
}

/// What names itself `name` below the tests' own directory; `make` makes it under another name, if it is not there.
fn made_once(name: &str, make: impl FnOnce(&Path) -> bool) -> Option<PathBuf> {
    let dir = target_dir();
    fs::create_dir_all(&dir).expect("create the tests' own directory");
    let lock = File::create(dir.join(format!("{name}.lock"))).expect("create a lock file");
    lock.lock().expect("lock"); // several test processes want it at the same time
    let (made, part) = (dir.join(name), dir.join(format!("{name}.part")));
    (made.is_file() || make(&part) && fs::rename(&part, &made).is_ok()).then_some(made)
}

fn write_busybox_tar(busybox: &Path, to: &Path) {
    // The programs' names are the same everywhere.
    let applets = Command::new("/bin/busybox")
        .arg("--list")
        .output()
        .expect("run /bin/busybox (package busybox-static)");
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
    file("./bin/busybox", 0o755, &fs::read(busybox).expect("read busybox"));
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
        let packages = ["--variant=minbase", "--include=ca-certificates"];
        made_once("debian.tar", |part| is_root() && bootstrap(part, &packages))
    });
    if made.is_none() {
        skipped("no Debian base image: needs root, mmdebstrap and the machine's own apt sources");
    }
    made.as_deref()
}

/// Runs mmdebstrap against the mirror that the machine itself uses.
fn bootstrap(tar: &Path, what: &[&str]) -> bool {
    let Some((mirror, suite)) = apt_source() else { return false };
    let made = Command::new("mmdebstrap")
        .args(["--quiet", "--format=tar"])
        .args(what)
        // For a mirror that is a snapshot, whose Release file has expired.
        .args(["--aptopt=Acquire::Check-Valid-Until \"false\"", "--aptopt=Acquire::Check-Date \"false\""])
        .arg(suite)
        .arg(tar)
        .arg(mirror)
        .stdin(std::process::Stdio::null())
        .status();
    made.is_ok_and(|status| status.success())
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
