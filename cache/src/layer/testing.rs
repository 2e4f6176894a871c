//! Layers in a line of text an entry, for tests: `d a`, `f a/b 0600 1:2 =hello`, `l a/c ->b`, `h a/d ==a/b`, `w a/gone`,
//! `p pipe`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_core::Snapshot;
use tempfile::TempDir;

use super::entry::{Attributes, Entry, Kind, Timestamp};
use super::{Found, Layer, Layers, Manifest, Node, TreeWriter};
use crate::session::Session;
use crate::store::OverlayXattrs;
use crate::trash::Trash;

/// A store of layers that goes with the test.
pub(crate) struct TestLayers {
    pub(crate) layers: Layers,
    pub(crate) dir: TempDir,
}

impl TestLayers {
    pub(crate) fn new() -> Self {
        Self::with(OverlayXattrs::Trusted)
    }

    /// A store whose mounts mark directories in this way.
    pub(crate) fn with(xattrs: OverlayXattrs) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["layers", "tmp", "leases", "locks", "trash"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let session = Session::new(dir.path().to_owned(), Trash::new(dir.path().join("trash")));
        Self { layers: Layers::new(Arc::new(session), xattrs), dir }
    }

    /// A layer with this content.
    pub(crate) fn layer(&self, text: &str) -> Layer {
        let draft = self.layers.draft().unwrap();
        let writer = draft.writer().unwrap();
        write(&writer, text);
        draft.commit(writer.finish().unwrap()).unwrap()
    }

    /// A snapshot of layers with these contents, bottom first.
    pub(crate) fn snapshot(&self, texts: &[&str]) -> Snapshot {
        Snapshot { layers: texts.iter().map(|text| self.layer(text).id).collect() }
    }
}

/// Writes what the text says. Times are a thousand seconds and a little.
pub(crate) fn write(writer: &TreeWriter, text: &str) {
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.split(' ');
        let kind = words.next().unwrap();
        let path = Path::new(words.next().unwrap())
            .strip_prefix("/")
            .unwrap_or(Path::new(line.split(' ').nth(1).unwrap()));
        let mut attributes = Attributes::root(if kind == "d" { 0o755 } else { 0o644 });
        attributes.mtime = Timestamp { seconds: 1000, nanoseconds: 5 };
        let mut rest = "";
        for word in words {
            if let Some((uid, gid)) = word.split_once(':') {
                (attributes.uid, attributes.gid) = (uid.parse().unwrap(), gid.parse().unwrap());
            } else if word.starts_with('0') {
                attributes.mode = u32::from_str_radix(word, 8).unwrap();
            } else {
                rest = word;
            }
        }
        match kind {
            "d" => writer.dir(path, &attributes),
            "f" => {
                let mut content = rest.strip_prefix('=').unwrap_or_default().as_bytes();
                writer.file(path, &attributes, &mut content).map(drop)
            }
            "l" => writer.symlink(path, Path::new(rest.strip_prefix("->").unwrap()), &attributes),
            "h" => writer.hard_link(path, Path::new(rest.strip_prefix("==").unwrap())),
            "w" => writer.whiteout(path),
            "p" => writer.node(path, Node::Fifo, &attributes),
            other => panic!("no kind `{other}`"),
        }
        .unwrap();
    }
}

/// A manifest in lines; contents by their size.
pub(crate) fn listing(manifest: &Manifest) -> String {
    manifest.entries().iter().fold(String::new(), |mut text, entry| {
        line(&mut text, entry, entry);
        text
    })
}

/// A view in lines.
pub(crate) fn seen(found: &[Found<'_>]) -> String {
    found.iter().fold(String::new(), |mut text, found| {
        line(&mut text, found.entry(), found.target());
        text
    })
}

fn line(into: &mut String, entry: &Entry, what: &Entry) {
    let (letter, rest) = match &what.kind {
        Kind::Dir => ('d', String::new()),
        Kind::File(content) => ('f', format!(" {}", content.size)),
        Kind::HardLink { to } => ('h', format!(" =={}", to.display())),
        Kind::Symlink { target } => ('l', format!(" ->{}", target.display())),
        Kind::Char(device) => ('c', format!(" {},{}", device.major, device.minor)),
        Kind::Block(device) => ('b', format!(" {},{}", device.major, device.minor)),
        Kind::Fifo => ('p', String::new()),
        Kind::Whiteout => ('w', String::new()),
    };
    let attributes = &what.attributes;
    let owner = match (attributes.uid, attributes.gid) {
        (0, 0) => String::new(),
        (uid, gid) => format!(" {uid}:{gid}"),
    };
    let path: PathBuf = Path::new("/").join(&entry.path);
    writeln!(into, "{letter} {:04o} {}{owner}{rest}", attributes.mode, path.display()).unwrap();
}

/// Whether this test may do what only root may; says why not.
pub(crate) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: not root");
    }
    root
}

/// Compares a layer's tree with its manifest, through another walk than the one that made it.
pub(crate) fn assert_tree_is_manifest(layer: &Layer) {
    use std::os::unix::fs::MetadataExt as _;
    let mut names = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(layer.tree().join(&dir)).unwrap() {
            let entry = entry.unwrap();
            let path = dir.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                open.push(path.clone());
            }
            names.push(path);
        }
    }
    names.sort_by(|a, b| super::path_order(a, b));
    let listed = layer.manifest.entries().iter().map(|entry| entry.path.clone());
    let listed: Vec<PathBuf> = listed.filter(|path| !path.as_os_str().is_empty()).collect();
    assert_eq!(names, listed, "the names in the tree");
    for entry in layer.manifest.entries().iter().filter(|entry| !entry.is_whiteout()) {
        let path = layer.tree().join(&entry.path);
        let metadata = fs::symlink_metadata(&path).unwrap();
        let what = layer.manifest.target(entry);
        let attributes = &what.attributes;
        let found = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
        assert_eq!(found, (attributes.mode, attributes.uid, attributes.gid), "{}", path.display());
        let mtime = Timestamp { seconds: metadata.mtime(), nanoseconds: metadata.mtime_nsec() as u32 };
        assert_eq!(mtime, attributes.mtime, "the time of {}", path.display());
        if let Kind::File(content) = what.kind {
            let bytes = fs::read(&path).unwrap();
            assert_eq!(content.size, bytes.len() as u64);
            assert_eq!(content.hash, kiln_core::ContentHash::of(&bytes), "{}", path.display());
        }
        if let Kind::Symlink { target } = &what.kind {
            assert_eq!(*target, fs::read_link(&path).unwrap());
        }
    }
}

/// An overlay mount of a snapshot with a draft on top, made as the sandbox makes it.
pub(crate) struct Mounted {
    pub(crate) point: PathBuf,
}

impl Mounted {
    /// `None`, said aloud, where mounts are not allowed.
    pub(crate) fn new(store: &TestLayers, below: &Snapshot, draft: Option<&super::Draft>) -> Option<Self> {
        let point = tempfile::Builder::new().prefix("mount").tempdir_in(store.dir.path()).unwrap().keep();
        let empty = tempfile::Builder::new().prefix("empty").tempdir_in(store.dir.path()).unwrap().keep();
        let mut lowers = vec![empty];
        // A mount without an upper directory wants two lower ones.
        lowers.extend(
            draft.is_none().then(|| {
                tempfile::Builder::new().prefix("empty").tempdir_in(store.dir.path()).unwrap().keep()
            }),
        );
        lowers.extend(below.mountable().iter().map(|id| store.layers.get(id).unwrap().tree().to_owned()));
        let lowers: Vec<String> = lowers.iter().rev().map(|path| path.display().to_string()).collect();
        let mode = match store.layers.xattrs() {
            OverlayXattrs::Trusted => "redirect_dir=nofollow,index=off,metacopy=off,xino=off",
            OverlayXattrs::User | OverlayXattrs::Recorded => "userxattr",
            OverlayXattrs::Plain => panic!("nothing is mounted of a plain store"),
        };
        let mut options = format!("lowerdir={},uuid=off,{mode}", lowers.join(":"));
        if let Some(draft) = draft {
            let (upper, work) = (draft.tree().display(), draft.work().display());
            write!(options, ",upperdir={upper},workdir={work},volatile").unwrap();
        }
        let options = std::ffi::CString::new(options).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        match rustix::mount::mount("overlay", &point, "overlay", flags, options.as_c_str()) {
            Ok(()) => Some(Self { point }),
            Err(rustix::io::Errno::PERM) => {
                println!("skipped: mounts are not allowed here");
                None
            }
            Err(errno) => panic!("mount {options:?}: {errno}"),
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.point, rustix::mount::UnmountFlags::DETACH);
    }
}

/// The part of a file's time that a layer tells: an empty file that was touched again within its second is the same.
fn told(size: u64, nanoseconds: i64) -> i64 {
    if size == 0 { 0 } else { nanoseconds }
}

/// What a directory tree looks like from outside: a line for each name, times of all but directories.
pub(crate) fn looks(root: &Path) -> Vec<String> {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    let mut lines = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let what = if metadata.is_dir() {
                open.push(path.clone());
                "dir".to_owned()
            } else if metadata.is_symlink() {
                format!("link {} {}", fs::read_link(&path).unwrap().display(), metadata.mtime_nsec())
            } else if metadata.is_file() {
                let content = kiln_core::ContentHash::of(&fs::read(&path).unwrap());
                format!("file {content} {} {}", metadata.mtime(), told(metadata.len(), metadata.mtime_nsec()))
            } else {
                assert!(metadata.file_type().is_fifo(), "{} is no pipe", path.display());
                "pipe".to_owned()
            };
            let path = path.strip_prefix(root).unwrap().display();
            let (mode, uid, gid) = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
            lines.push(format!("{path} {mode:o} {uid}:{gid} {what}"));
        }
    }
    lines.sort();
    lines
}

/// What [`looks`] would say of a view.
pub(crate) fn would_look(view: &super::View) -> Vec<String> {
    let mut lines: Vec<String> = view
        .walk(Path::new(""))
        .iter()
        .skip(1)
        .map(|found| {
            let (path, target) = (found.entry().path.display(), found.target());
            let Attributes { mode, uid, gid, mtime, .. } = &target.attributes;
            let what = match &target.kind {
                Kind::Dir => "dir".to_owned(),
                Kind::Symlink { target } => format!("link {} {}", target.display(), mtime.nanoseconds),
                Kind::File(content) => {
                    let nanoseconds = told(content.size, mtime.nanoseconds.into());
                    format!("file {} {} {nanoseconds}", content.hash, mtime.seconds)
                }
                Kind::Fifo => "pipe".to_owned(),
                other => panic!("{other:?}"),
            };
            format!("{path} {mode:o} {uid}:{gid} {what}")
        })
        .collect();
    lines.sort();
    lines
}
