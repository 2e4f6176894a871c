//! The store: a directory that several processes share.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rusqlite::Transaction;

use crate::content::Blobs;
use crate::gc;
use crate::index::{Index, IndexError};
use crate::layer::{Layers, OwnerRecord};
use crate::lock::{self, FileLock, LockMode};
use crate::session::{self, Held, ScratchDir, Session};
use crate::trash::Trash;

/// Who reads the layers' trees: an overlayfs that keeps its own attributes in one place or the other, or nobody but kiln;
/// and where the owners are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverlayXattrs {
    /// `trusted.overlay.*`, for who may mount as root of the machine.
    Trusted,
    /// `user.overlay.*`, for who mounts in a user namespace.
    User,
    /// As `User`, and owners are recorded in attributes (see `layer/owner.rs`), for who can map one id alone. Its trees are
    /// in a directory of their own: elsewhere all their files would be root's.
    Recorded,
    /// None: nothing is stacked here. Trees hold no whiteouts, which the kernel refuses to make on an overlayfs; the manifests
    /// alone have them, and steps work in copies ([`WorkTree`](crate::WorkTree)).
    Plain,
}

impl OverlayXattrs {
    /// What the store at `root` was made for, if there is one.
    pub fn recorded(root: &Path) -> Option<Self> {
        let text = fs::read_to_string(root.join("kind")).ok()?;
        [Self::Trusted, Self::User, Self::Recorded, Self::Plain]
            .into_iter()
            .find(|xattrs| xattrs.kind() == text.trim_end())
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Trusted => "kiln store 1 trusted",
            Self::User => "kiln store 1 user",
            Self::Plain => "kiln store 1 plain",
            Self::Recorded => "kiln store 1 recorded owners",
        }
    }
}

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The directory.
    pub root: PathBuf,
    /// The form of the layers' trees.
    pub xattrs: OverlayXattrs,
    /// What differs from one start of the machine to the next: `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Tells the time.
    pub clock: fn() -> SystemTime,
}

/// What failed with the store as a whole.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A directory or file of the store could not be made, read or moved.
    #[error("{action} `{path}` in the store")]
    Io {
        /// The verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The directory is a store of another kind.
    #[error("the store `{path}` was made as `{found}`, and this is `{wanted}`: give another directory")]
    Kind {
        /// The store.
        path: PathBuf,
        /// What it says of itself.
        found: String,
        /// What it should say.
        wanted: &'static str,
    },
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
}

impl StoreError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |cause| Self::Io { action, path, cause }
    }
}

/// What is addressed by digest on this machine. Cheap to clone; one a process is enough.
///
/// ```text
/// kind                             the version of this tree, and whose attributes are in the layers
/// blobs/sha256/<hex>               as in an OCI layout
/// layers/<id>/{tree,manifest}      immutable
/// db/2.sqlite                      the index
/// stat/1/<context>                 the stat index
/// mounts/<id>/                     RUN --mount=type=cache
/// history/<time>-<id>              past builds
/// tmp/<session>/ leases/<session>  half-made things and what is in use, of living processes
/// locks/ trash/                    flock files; what is being removed
/// ```
#[derive(Debug, Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: StoreOptions,
    /// Before the session: the index notes the times of last use when it goes.
    index: Index,
    blobs: Blobs,
    layers: Layers,
    session: Arc<Session>,
}

const DIRECTORIES: [&str; 9] =
    ["blobs/sha256", "layers", "db", "stat/1", "mounts", "tmp", "leases", "locks", "trash"];

impl Store {
    /// Opens the store, making it if it is not there, and sweeps what dead processes left.
    pub fn open(options: StoreOptions) -> Result<Self, StoreError> {
        let root = &options.root;
        prepare(root, options.xattrs)?;
        let trash = Trash::new(root.join("trash"));
        session::sweep(root, &trash).map_err(StoreError::io("sweep", root.join("tmp")))?;
        trash.reap_leftovers().map_err(StoreError::io("empty", root.join("trash")))?;
        let session = Arc::new(Session::new(root.clone(), trash));
        let recover = |t: &Transaction<'_>| gc::recover(t, root, session.trash());
        let index = Index::open(Arc::clone(&session), &options.boot_id, options.clock, recover)?;
        let blobs = Blobs::new(Arc::clone(&session));
        let layers = Layers::new(Arc::clone(&session), options.xattrs);
        Ok(Self { shared: Arc::new(Shared { options, index, blobs, layers, session }) })
    }

    /// The store's directory.
    pub fn root(&self) -> &Path {
        &self.shared.options.root
    }

    /// Whose attributes are in the layers.
    pub fn xattrs(&self) -> OverlayXattrs {
        self.shared.options.xattrs
    }

    /// What had to be done to open the store, if people should know of it.
    pub fn notice(&self) -> Option<&str> {
        self.shared.index.notice()
    }

    /// Blobs by digest.
    pub fn blobs(&self) -> &Blobs {
        &self.shared.blobs
    }

    /// Layers by their ids.
    pub fn layers(&self) -> &Layers {
        &self.shared.layers
    }

    /// What was made, what it is called and where it is.
    pub fn index(&self) -> &Index {
        &self.shared.index
    }

    /// A new empty directory under `tmp/`, which goes with its owner.
    pub fn scratch_dir(&self) -> Result<ScratchDir, StoreError> {
        self.shared
            .session
            .scratch_dir()
            .map_err(StoreError::io("make a directory under", self.root().join("tmp")))
    }

    /// Waits for the exclusive lock `name`, shared by all processes. Blocks the thread.
    pub fn lock(&self, name: &str) -> Result<FileLock, StoreError> {
        let path = self.lock_path(name);
        FileLock::acquire(&path, LockMode::Exclusive).map_err(StoreError::io("lock", path))
    }

    /// Waits for the lock `name` in the given mode. Blocks the thread.
    pub fn lock_as(&self, name: &str, mode: LockMode) -> Result<FileLock, StoreError> {
        let path = self.lock_path(name);
        FileLock::acquire(&path, mode).map_err(StoreError::io("lock", path))
    }

    /// Takes the exclusive lock `name` if nobody holds it.
    pub fn try_lock(&self, name: &str) -> Result<Option<FileLock>, StoreError> {
        let path = self.lock_path(name);
        FileLock::try_acquire(&path, LockMode::Exclusive).map_err(StoreError::io("lock", path))
    }

    /// Gives something that a step will be shown this owner, in the way of this store.
    ///
    /// # Errors
    /// It cannot be changed.
    pub fn own(&self, path: &Path, uid: u32, gid: u32) -> Result<(), StoreError> {
        let own = || {
            if self.xattrs() == OverlayXattrs::Recorded {
                let file_type = rustix::fs::FileType::from_raw_mode(rustix::fs::lstat(path)?.st_mode);
                return Ok(OwnerRecord::new(uid, gid).write(path, file_type, false)?);
            }
            std::os::unix::fs::chown(path, Some(uid), Some(gid))
        };
        own().map_err(StoreError::io("set the owner of", path))
    }

    /// Whether something was written to the index since the last [`Store::sync`]. It looks at one file's size.
    pub fn has_unsynced(&self) -> bool {
        let log = self.shared.index.path().with_extension("sqlite-wal");
        fs::metadata(log).is_ok_and(|metadata| metadata.len() > 0)
    }

    /// Makes all that was remembered so far outlast a power cut. Takes as long as the disk does: for a background thread.
    pub fn sync(&self) -> Result<(), StoreError> {
        let root = fs::File::open(self.root()).map_err(StoreError::io("open", self.root()))?;
        let recover = |t: &Transaction<'_>| gc::recover(t, self.root(), self.trash());
        Ok(self.shared.index.make_durable(|| Ok(rustix::fs::syncfs(&root)?), recover)?)
    }

    /// Takes a directory of the store's file system out of its place at once and removes it in the background.
    pub fn discard(&self, path: &Path) -> Result<(), StoreError> {
        self.shared.session.trash().put(path).map_err(StoreError::io("throw away", path))
    }

    /// Waits until all that was thrown away is gone from the disk.
    pub fn empty_trash(&self) -> Result<(), StoreError> {
        self.shared.session.trash().empty().map_err(StoreError::io("empty", self.root().join("trash")))
    }

    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.shared.session
    }

    /// The store opened anew: because its index was found damaged, or to let go at once of what is held. Results of this process's other handles stay as they are.
    pub fn reopen(&self) -> Result<Self, StoreError> {
        Self::open(self.shared.options.clone())
    }

    pub(crate) fn held(&self) -> Vec<Held> {
        self.shared.session.held()
    }

    pub(crate) fn trash(&self) -> &Trash {
        self.shared.session.trash()
    }

    pub(crate) fn now(&self) -> SystemTime {
        (self.shared.options.clock)()
    }

    fn lock_path(&self, name: &str) -> PathBuf {
        self.root().join("locks").join(lock::file_name(name))
    }
}

/// Makes the tree, or checks that it is of this kind.
fn prepare(root: &Path, xattrs: OverlayXattrs) -> Result<(), StoreError> {
    let wanted = xattrs.kind();
    let path = root.join("kind");
    match fs::read_to_string(&path) {
        Ok(found) if found.trim_end() == wanted => return Ok(()),
        // Written and never synced before a power cut: then nothing that was here was synced.
        Ok(found) if found.trim_matches('\0').is_empty() => {}
        Ok(found) => {
            return Err(StoreError::Kind {
                path: root.to_owned(),
                found: found.trim_end().to_owned(),
                wanted,
            });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(StoreError::io("read", path)(error)),
    }
    for directory in DIRECTORIES {
        let path = root.join(directory);
        fs::create_dir_all(&path).map_err(StoreError::io("make", path))?;
    }
    if xattrs == OverlayXattrs::Recorded {
        let keeps = crate::layer::probe_owners(root);
        keeps.map_err(StoreError::io("record an owner (an attribute `user.kiln.owner`) at", root))?;
    }
    // Last, and whole by its rename: a tree with a kind has all its directories. Not in `tmp`, where another process that
    // is here already would sweep it.
    let half = root.join(format!(".kind-{}", session::random_name()));
    fs::write(&half, format!("{wanted}\n")).map_err(StoreError::io("write", &half))?;
    fs::rename(&half, &path).map_err(StoreError::io("write", path))
}
