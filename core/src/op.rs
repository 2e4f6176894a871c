//! Operations: what one vertex of the build graph does. Plain data, complete in itself, hashed into keys.
//!
//! | field | in the key | why |
//! | --- | --- | --- |
//! | everything of an op | yes | it can change the result |
//! | `Exec::proxy_env` | no | predefined proxy variables must not spoil the cache (BuildKit, reference.md#predefined-args) |
//! | secret and SSH contents | no | they are not inputs; only that a step asks for them is |
//! | contents of cache mounts | no | they are kept between builds by design |
//! | names, spans, stages | no | they are [`About`](crate::About), beside the op |

mod key;
mod parts;

pub use self::parts::Part;

use crate::{ContentHash, Digest, Platform};

/// One operation with one output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Brings something in from outside. No inputs.
    Source(Source),
    /// Runs a process. Input 0 is its root file system, the others are mounted from.
    Exec(Exec),
    /// Writes files. Input 0 is the snapshot it writes on, the others are copied from.
    File(FileEdit),
}

/// Where a build's bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The empty snapshot.
    Scratch,
    /// The layers of an image.
    Image(ImageSource),
    /// A directory that the user gave: the build context or a named one. Its output is read by copies, never mounted.
    Local(LocalSource),
    /// A file fetched from a URL: a snapshot with that one file in its root.
    Http(HttpSource),
    /// A checkout of a git repository: a snapshot.
    Git(GitSource),
}

/// An image whose manifest is known: resolved before lowering, so that the graph is locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSource {
    /// As people call it, for progress and errors: `docker.io/library/busybox:latest`.
    pub name: String,
    /// Where its layers are.
    pub locator: ImageLocator,
    /// The platform it was resolved for.
    pub platform: Platform,
}

/// Where a resolved image's layers are found. The digest in it is its lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageLocator {
    /// In the store of this machine. Its diff ids need not be known: the lock is kiln's own hash of it.
    Store {
        /// Of the image's configuration and its list of layers.
        id: ContentHash,
    },
    /// At a registry.
    Registry {
        /// `registry/repository[:tag]`.
        reference: crate::Reference,
        /// Of the platform's own manifest, not of the index.
        manifest: Digest,
    },
    /// In an OCI layout directory.
    Layout {
        /// The directory that has `oci-layout`.
        path: String,
        /// Of the platform's own manifest.
        manifest: Digest,
    },
}

/// A local directory as a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalSource {
    /// The context's name: `context` for the build context, otherwise as given to `--build-context`.
    pub name: String,
    /// The paths that the graph reads, in the form of copy sources (wildcards included), sorted; empty: all of it. The walk goes
    /// no further than these.
    pub wanted: Vec<String>,
}

/// A download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSource {
    /// `http://…` or `https://…`.
    pub url: String,
    /// The expected digest of the body (`ADD --checksum`).
    pub checksum: Option<Digest>,
    /// The name of the file in the output's root.
    pub filename: String,
    /// The file's permission bits; BuildKit's `ADD URL` gives 0600.
    pub mode: u32,
}

/// A git checkout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitSource {
    /// What `git fetch` is given, without fragment and credentials.
    pub remote: String,
    /// A branch, tag, full ref or commit; empty for the remote's HEAD.
    pub reference: String,
    /// The directory of the repository that becomes the root; empty for all of it.
    pub subdir: String,
    /// A commit id or its beginning that must be what was checked out.
    pub checksum: Option<String>,
    /// Whether `.git` stays.
    pub keep_git_dir: bool,
    /// Whether submodules are checked out.
    pub submodules: bool,
}

/// A process in a root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    /// The argument vector; never empty.
    pub args: Vec<String>,
    /// `NAME=value` in the order of the configuration.
    pub env: Vec<(String, String)>,
    /// The predefined proxy variables of the build arguments: in the environment, not in the key.
    pub proxy_env: Vec<(String, String)>,
    /// The working directory, absolute.
    pub cwd: String,
    /// `user[:group]` by name or number, resolved in the root; empty for root.
    pub user: String,
    /// What is mounted over the root.
    pub mounts: Vec<ExecMount>,
    /// Environment variables that hold a secret.
    pub secret_env: Vec<SecretEnv>,
    /// Files made for the step alone (heredoc scripts): absolute path, content, permission bits. Not in the layer.
    pub files: Vec<InlineFile>,
    /// Which network the process sees.
    pub network: NetworkMode,
    /// How far it is shut in.
    pub security: SecurityMode,
    /// The rest of its surroundings.
    pub surroundings: Surroundings,
    /// CDI names of devices (`vendor.com/class=name`) and whether each must be there.
    pub devices: Vec<(String, bool)>,
    /// The platform of the binaries in the root.
    pub platform: Platform,
}

/// Host name, hosts, limits of a process: options of the whole build.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Surroundings {
    /// The host name; empty for the default `buildkitsandbox`.
    pub hostname: String,
    /// Further lines of `/etc/hosts`: name, address.
    pub add_hosts: Vec<(String, String)>,
    /// Size of `/dev/shm` in bytes; 0 for the default 64 MiB.
    pub shm_size: u64,
    /// `name=soft:hard`, Docker's names.
    pub ulimits: Vec<Ulimit>,
    /// The parent of the step's control group; empty for the default.
    pub cgroup_parent: String,
}

/// A resource limit by Docker's name (`nofile`).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Ulimit {
    /// Without `RLIMIT_`, lower case.
    pub name: String,
    /// Soft limit, -1 for none.
    pub soft: i64,
    /// Hard limit, -1 for none.
    pub hard: i64,
}

/// The network of a RUN step.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
pub enum NetworkMode {
    /// What the build was told (`--network`), the host's unless told otherwise.
    #[default]
    Default,
    /// Loopback alone.
    None,
    /// The host's.
    Host,
    /// Its own, connected outward.
    Private,
}

/// How far a RUN step is shut in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum SecurityMode {
    /// The default profile.
    #[default]
    Sandbox,
    /// No profile: needs `--allow security.insecure`.
    Insecure,
}

/// Something mounted over the root of an [`Exec`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecMount {
    /// Where, absolute.
    pub target: String,
    /// What.
    pub kind: MountKind,
}

/// The types of `RUN --mount`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountKind {
    /// A path of an input.
    Bind {
        /// Index into the vertex's inputs.
        input: usize,
        /// Absolute path in that input, `/` for all of it.
        source: String,
        /// Whether writes are allowed; they are thrown away.
        writable: bool,
    },
    /// A directory kept between builds.
    Cache(CacheMount),
    /// An empty memory file system.
    Tmpfs {
        /// In bytes.
        size: Option<u64>,
    },
    /// A secret as a file.
    Secret {
        /// As given to `--secret id=`.
        id: String,
        /// Whether the build fails without it.
        required: bool,
        /// Owner and permission bits of the file.
        access: Access,
    },
    /// A forwarded SSH agent's socket.
    Ssh {
        /// As given to `--ssh`.
        id: String,
        /// Whether the build fails without it.
        required: bool,
        /// Owner and permission bits of the socket.
        access: Access,
    },
}

/// `RUN --mount=type=cache`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheMount {
    /// The cache's name; mounts with the same id, mode and owner share it.
    pub id: String,
    /// Who may use it at the same time.
    pub sharing: Sharing,
    /// The input that its first content comes from.
    pub input: Option<usize>,
    /// The path in that input, or within the cache.
    pub source: String,
    /// Owner and permission bits of a new cache's directory.
    pub access: Access,
    /// Whether the step may only read.
    pub read_only: bool,
}

/// Who may use a cache mount at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Sharing {
    /// All.
    #[default]
    Shared,
    /// One; another gets a cache of its own.
    Private,
    /// One; another waits.
    Locked,
}

/// Owner and permission bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Access {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Permission bits, setuid, setgid and sticky among them.
    pub mode: u32,
}

/// A secret as an environment variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretEnv {
    /// The variable.
    pub name: String,
    /// As given to `--secret id=`.
    pub id: String,
    /// Whether the build fails without it.
    pub required: bool,
}

/// A file whose text stands in the Dockerfile (a heredoc).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InlineFile {
    /// In an [`Exec`] the absolute path; in a [`struct@Copy`] the name under the destination.
    pub path: String,
    /// Its content.
    pub data: Vec<u8>,
    /// Its permission bits.
    pub mode: u32,
}

/// Files written on a snapshot, in order, as one layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEdit {
    /// What is written.
    pub actions: Vec<FileAction>,
    /// `COPY --link`: the layer is made on nothing and only then laid on input 0, so that input 0 is not in the key.
    pub link: bool,
    /// The time of what has none of its own, in seconds since 1970 (`SOURCE_DATE_EPOCH`); the present without.
    pub created: Option<i64>,
}

/// One thing written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileAction {
    /// COPY and ADD.
    Copy(Copy),
    /// WORKDIR: a directory with its missing parents.
    MakeDir {
        /// Absolute.
        path: String,
        /// `user[:group]` that a new directory belongs to, empty for root.
        owner: String,
        /// Permission bits of new directories.
        mode: u32,
    },
}

/// COPY or ADD of one or more sources to one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// What is copied, in the order written.
    pub sources: Vec<CopySource>,
    /// Absolute; ends in `/` if it was written so (or as `.`), which makes it a directory.
    pub destination: String,
    /// `--chown`, `user[:group]` by name or number, resolved in input 0.
    pub chown: Option<String>,
    /// `--chmod`.
    pub chmod: Option<Chmod>,
    /// `--parents`: the source's directories, from the `/./` pivot on, are made under the destination.
    pub parents: bool,
    /// `--exclude` patterns, as in an ignore file.
    pub exclude: Vec<String>,
    /// Whether archives are unpacked.
    pub unpack: Unpack,
}

/// A source of a [`struct@Copy`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopySource {
    /// Paths of an input.
    Path {
        /// Index into the vertex's inputs.
        input: usize,
        /// As written, cleaned, without `..` above the root; may have Go's `filepath.Match` wildcards.
        path: String,
        /// Whether no match is an error even for a wildcard.
        required: bool,
    },
    /// A heredoc.
    Inline(InlineFile),
}

/// `--chmod` of COPY and ADD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chmod {
    /// `755`.
    Octal(u32),
    /// `u=rwX,go=rX`, checked when lowered.
    Symbolic(String),
}

/// Whether ADD unpacks a local archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unpack {
    /// COPY, and ADD of what is not local.
    Never,
    /// ADD of local files, `--unpack`: if it is an archive, by its content.
    IfArchive,
}
