//! The packages in a root file system, from the records that package managers leave: nothing is run, nothing is asked.

mod apk;
mod cargo;
mod dpkg;
mod go;
mod node;
mod python;
mod record;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::error::ExportError;
use crate::tree::{FileTree, TreeKind};

/// No record of packages is longer.
const LONGEST: u64 = 64 << 20;

/// Whose package it is: the type of its package URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Manager {
    /// Alpine.
    Apk,
    /// Rust.
    Cargo,
    /// Debian and what comes of it.
    Deb,
    /// Go.
    Golang,
    /// JavaScript.
    Npm,
    /// Python.
    Pypi,
}

impl Manager {
    /// The type in a package URL.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Apk => "apk",
            Self::Cargo => "cargo",
            Self::Deb => "deb",
            Self::Golang => "golang",
            Self::Npm => "npm",
            Self::Pypi => "pypi",
        }
    }
}

/// A package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Package {
    /// Whose.
    pub(crate) kind: Manager,
    /// Its name there.
    pub(crate) name: String,
    /// As written there.
    pub(crate) version: String,
    /// What its record says of its licence, if anything.
    pub(crate) license: String,
    /// Who made it.
    pub(crate) supplier: String,
    /// The processor that it is for; empty for any.
    pub(crate) architecture: String,
    /// The distribution (`debian`), for what belongs to one.
    pub(crate) distribution: String,
    /// The record, relative to the root.
    pub(crate) found_in: PathBuf,
}

impl Package {
    fn new(kind: Manager, name: &str, version: &str, found_in: &Path) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            version: version.to_owned(),
            license: String::new(),
            supplier: String::new(),
            architecture: String::new(),
            distribution: String::new(),
            found_in: found_in.to_owned(),
        }
    }

    /// Its package URL (the package-url specification).
    pub(crate) fn url(&self) -> String {
        let escape = |text: &str| text.replace('%', "%25").replace('+', "%2B").replace(' ', "%20");
        let name = match self.kind {
            // A scope is a namespace.
            Manager::Npm => escape(&self.name).replacen('@', "%40", 1),
            Manager::Pypi => escape(&self.name.to_lowercase().replace('_', "-")),
            _ => escape(&self.name),
        };
        let namespace =
            if self.distribution.is_empty() { String::new() } else { format!("{}/", self.distribution) };
        let mut url = format!("pkg:{}/{namespace}{name}@{}", self.kind.as_str(), escape(&self.version));
        if !self.architecture.is_empty() {
            url.push_str(&format!("?arch={}", self.architecture));
        }
        url
    }
}

/// A reader of one kind of record: whether it knows the file at a path, and what the file's bytes say.
struct Reader {
    knows: fn(&Path, u64, u32) -> bool,
    read: fn(&Path, &[u8]) -> Vec<Package>,
}

const READERS: [Reader; 6] = [
    Reader { knows: dpkg::knows, read: dpkg::read },
    Reader { knows: apk::knows, read: apk::read },
    Reader { knows: python::knows, read: python::read },
    Reader { knows: node::knows, read: node::read },
    Reader { knows: cargo::knows, read: cargo::read },
    Reader { knows: go::knows, read: go::read },
];

/// All packages of a tree, sorted.
pub(crate) fn packages(tree: &dyn FileTree) -> Result<Vec<Package>, ExportError> {
    let mut records: Vec<(PathBuf, &Reader)> = Vec::new();
    tree.visit(&mut |entry| {
        if let TreeKind::File { size } = entry.kind
            && size <= LONGEST
            && let Some(reader) = READERS.iter().find(|reader| (reader.knows)(&entry.path, size, entry.mode))
        {
            records.push((entry.path.clone(), reader));
        }
        Ok(())
    })?;
    let distribution = distribution(tree);
    let mut found = Vec::new();
    for (path, reader) in records {
        let mut bytes = Vec::new();
        let failed = ExportError::output(&path);
        tree.open(&path).and_then(|file| file.take(LONGEST).read_to_end(&mut bytes)).map_err(failed)?;
        found.extend((reader.read)(&path, &bytes));
    }
    for package in &mut found {
        if matches!(package.kind, Manager::Deb | Manager::Apk) {
            package.distribution.clone_from(&distribution);
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// `ID` of os-release(5).
fn distribution(tree: &dyn FileTree) -> String {
    for path in ["usr/lib/os-release", "etc/os-release"] {
        let mut text = String::new();
        let read = tree.open(Path::new(path)).and_then(|file| file.take(1 << 16).read_to_string(&mut text));
        let id = text.lines().find_map(|line| line.strip_prefix("ID="));
        if let (Ok(_), Some(id)) = (read, id) {
            return id.trim_matches(['"', '\'']).to_owned();
        }
    }
    String::new()
}
