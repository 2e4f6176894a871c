//! A case's context on disk: corpus files with the modes of a checkout, the case's own files, one mtime for all.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use base64::Engine as _;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags, lsetxattr, utimensat};

use crate::case::{Case, FileKind, FileSpec};

/// The mtime of everything in a context.
pub(crate) const CONTEXT_MTIME: i64 = 1_234_567_890;

/// A path and where its link points; a directory if it is none.
type Lost = (&'static str, Option<&'static str>);

/// Links and empty directories of contexts that a copy of the corpus without them has as files, or not at all.
const LOST: &[(&str, &[Lost])] = &[
    (
        "buildah/tests/conformance/testdata/dockerignore/populated",
        &[
            ("subdir-c/file-b.txt", Some("../file-a.txt")),
            ("subdir-c/file-c.txt", Some("../file-b.txt")),
            ("subdir-e/file-a.txt", Some("../file-a.txt")),
            ("subdir-e/file-b.txt", Some("../file-b.txt")),
            ("subdir-e/subdir-f/file-a.txt", Some("../../file-a.txt")),
            ("subdir-e/subdir-f/file-n.txt", Some("../file-n.txt")),
            ("subdir-e/subdir-f/subdir-g/subdir-b", Some("../../../subdir-b")),
        ],
    ),
    (
        "kaniko/integration",
        &[("dockerfiles-with-context/issue-1315", None), ("testdata/exit-code-propagation", None)],
    ),
];

/// Puts back what a copy of the corpus has lost.
fn restore(context: &str, dir: &Path) {
    let lost = LOST.iter().filter(|(of, _)| *of == context).flat_map(|(_, lost)| lost.iter());
    for (path, link) in lost.map(|(path, link)| (dir.join(path), link)) {
        match link {
            Some(target) => {
                fs::remove_file(&path).expect("the file that stands for a link");
                symlink(target, &path).expect("symlink");
            }
            None => make_dir(&path),
        }
    }
}

/// Makes the context of `case` at `dir`, which does not exist yet.
pub(crate) fn context(case: &Case, corpus: &Path, dir: &Path) {
    match &case.context {
        Some(context) => {
            copy_tree(&corpus.join(context), dir);
            restore(context, dir);
        }
        None => make_dir(dir),
    }
    for file in &case.files {
        write(file, dir);
    }
    set_times(dir);
}

fn make_dir(dir: &Path) {
    fs::create_dir_all(dir).expect("mkdir");
    set_mode(dir, 0o755);
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
}

fn copy_tree(from: &Path, to: &Path) {
    make_dir(to);
    for entry in fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display())) {
        let entry = entry.expect("list the corpus");
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let meta = entry.metadata().expect("stat");
        if meta.is_symlink() {
            symlink(fs::read_link(&source).expect("readlink"), &target).expect("symlink");
        } else if meta.is_dir() {
            copy_tree(&source, &target);
        } else {
            fs::write(&target, fs::read(&source).expect("read the corpus")).expect("write");
            set_mode(&target, if meta.mode() & 0o111 == 0 { 0o644 } else { 0o755 });
        }
    }
}

fn write(file: &FileSpec, dir: &Path) {
    let path = dir.join(&file.path);
    if let Some(parent) = path.parent().filter(|parent| !parent.exists()) {
        parent
            .ancestors()
            .take_while(|dir| !dir.exists())
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .for_each(make_dir);
    }
    if !matches!(file.kind, FileKind::Dir) && path.symlink_metadata().is_ok() {
        fs::remove_file(&path).expect("replace a file");
    }
    let mode =
        |default| file.mode.as_ref().map_or(default, |mode| u32::from_str_radix(mode, 8).expect("octal"));
    match file.kind {
        FileKind::File => {
            let bytes = match (&file.content, &file.content_b64) {
                (_, Some(base64)) => {
                    base64::engine::general_purpose::STANDARD.decode(base64).expect("base64")
                }
                (Some(text), None) => text.clone().into_bytes(),
                (None, None) => Vec::new(),
            };
            fs::write(&path, bytes).expect("write");
            owner(file, &path);
            set_mode(&path, mode(0o644));
        }
        FileKind::Dir => {
            fs::create_dir_all(&path).expect("mkdir");
            owner(file, &path);
            set_mode(&path, mode(0o755));
        }
        FileKind::Symlink => {
            symlink(file.link.as_deref().expect("a link has a target"), &path).expect("symlink");
            owner(file, &path);
        }
        FileKind::Socket => {
            drop(UnixListener::bind(&path).expect("make a socket"));
            set_mode(&path, mode(0o600));
        }
    }
    for (name, value) in &file.xattrs {
        lsetxattr(&path, name.as_str(), value.as_bytes(), XattrFlags::empty()).expect("set an xattr");
    }
}

fn owner(file: &FileSpec, path: &Path) {
    if file.uid.is_some() || file.gid.is_some() {
        lchown(path, file.uid, file.gid).expect("chown");
    }
}

fn set_times(path: &Path) {
    if path.symlink_metadata().expect("stat").is_dir() {
        for entry in fs::read_dir(path).expect("list") {
            set_times(&entry.expect("list").path());
        }
    }
    let time = Timespec { tv_sec: CONTEXT_MTIME, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("set a time");
}
