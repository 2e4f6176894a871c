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
        let dir = tempfile::tempdir().unwrap();
        for name in ["layers", "tmp", "leases", "locks", "trash"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let session = Session::new(dir.path().to_owned(), Trash::new(dir.path().join("trash")));
        Self { layers: Layers::new(Arc::new(session), OverlayXattrs::Trusted), dir }
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
        let path = Path::new(words.next().unwrap()).strip_prefix("/").unwrap_or(Path::new(line.split(' ').nth(1).unwrap()));
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
