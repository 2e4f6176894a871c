//! What a sandbox is made from: an OCI `Spec`, and the mounts that OCI has no words for.

use std::path::PathBuf;

use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};

/// Everything that is needed to start a process in a sandbox.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// Process, mounts, namespaces, limits. `root.path` and `linux.seccomp` are not read: see `root` and `profile`.
    pub spec: Spec,
    /// The root file system.
    pub root: Tree,
    /// Mounts over it, made in order after those of the `Spec`.
    pub grafts: Vec<Graft>,
    /// The system call filter.
    pub profile: Profile,
}

/// A directory tree that a mount shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tree {
    /// Layers stacked by overlayfs.
    Overlay {
        /// Their trees, bottom first; may be empty if there is an upper.
        lowers: Vec<PathBuf>,
        /// What takes the changes; read-only without.
        upper: Option<Writable>,
    },
    /// A directory as it stands; changes go into it.
    Directory(PathBuf),
}

/// The directories that overlayfs writes into, both on one file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writable {
    /// Takes the changes; becomes a layer.
    pub upper: PathBuf,
    /// An empty directory for overlayfs itself, used once.
    pub work: PathBuf,
}

/// A mount over the root. A target that is missing is made for it, and taken away when the process has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Graft {
    /// Absolute path in the root; symlinks in it are followed within the root.
    pub target: String,
    /// What is shown there.
    pub source: GraftSource,
    /// Whether writes are refused.
    pub read_only: bool,
}

/// What a [`Graft`] shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum GraftSource {
    /// A path of a tree, `/` for all of it. Symlinks in it are followed within the tree.
    Tree {
        /// The tree, mounted for this alone.
        tree: Tree,
        /// The path in it.
        path: String,
    },
    /// A file, directory or socket of the host, with what is mounted below it.
    Path(PathBuf),
    /// The same without that.
    PathAlone(PathBuf),
    /// A file that exists in memory only: a secret, a heredoc.
    Content(Content),
    /// An empty memory file system.
    Tmpfs {
        /// Its limit in bytes.
        size: Option<u64>,
        /// The permission bits of its root.
        mode: u32,
        /// Whether programs on it cannot be executed.
        #[serde(default)]
        no_exec: bool,
        /// Whether those gain nothing by their owner.
        #[serde(default)]
        no_suid: bool,
    },
}

/// A file in memory.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Its bytes.
    pub data: Vec<u8>,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its permission bits.
    pub mode: u32,
}

// It may be a secret: only its size is shown.
impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Content({} bytes, {}:{} {:o})", self.data.len(), self.uid, self.gid, self.mode)
    }
}

/// The system call filter of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Profile {
    /// Docker's default rules, for the capabilities of the `Spec`.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// The user's own, in Docker's JSON form.
    Custom(String),
}
