//! What is addressed by digest on this machine: blobs, layers and their manifests, action results, cache mounts.
//!
//! In: bytes, trees and keys. Out: the same again, verified, for as long as somebody needs them.
//!
//! | module | nouns |
//! | --- | --- |
//! | `store`, `session`, `lock`, `trash` | [`Store`], what each process of it uses, locks between processes |
//! | `content` | [`Blobs`] by digest |
//! | `index` | [`Index`]: results, images, packed layers, the stat index, history |
//! | `history` | [`PastBuilds`] and what they told |
//! | `confine` | threads that reach no file but where they should |
//! | `mounts` | cache mounts: [`UsedMount`] |
//! | `stack` | what a mount stacks for a snapshot |
//! | `gc` | [`PrunePolicy`], [`DiskUsage`], [`Checked`] |
//!
//! **Invariant:** knows neither Dockerfiles nor processes. A lookup that finds something damaged or half there finds
//! nothing.

mod confine;
mod content;
mod gc;
mod history;
mod index;
mod layer;
mod lock;
mod mounts;
mod session;
mod stack;
mod store;
mod trash;

pub use confine::reading_within;
pub use content::{BlobError, BlobWriter, Blobs};
pub use gc::{
    Checked, Condition, Damage, Damaged, Depth, DiskUsage, Freed, PrunePolicy, RecordKind, Selection, Trait,
    UsageRecord,
};
pub use history::{PastBuild, PastBuilds};
pub use index::{
    BuildRow, Fact, FileStat, ImageRecord, Index, IndexError, Origin, PackedLayer, StatTable,
    StatTableBuilder, StoredImage,
};
pub use layer::{
    Archive, ArchiveError, Attributes, DecodeError, Decompressor, Device, Draft, Encoded, Entry, FileContent,
    Format, Found, Kind, Layer, LayerError, Layers, Limits, Links, Manifest, ManifestError, Member,
    MemberError, MemberKind, Node, OWNER_ATTRIBUTE, OwnerRecord, RecordedDevice, ResolveError, Resolved,
    Rooted, Timestamp, TreeWriter, Unpacked, View, WorkTree, Xattrs, is_owner_attribute, is_within,
    path_order,
};
pub use lock::{FileLock, LockMode};
pub use mounts::{Taken, UsedMount};
pub use session::ScratchDir;
pub use store::{OverlayXattrs, Store, StoreError, StoreOptions};
