//! Layers: immutable trees with manifests, how they are made and how they become tars.
//!
//! | module | job |
//! | --- | --- |
//! | `entry`, `manifest`, `encoding` | what is in a layer, as values and as bytes |
//! | `layers`, `draft` | `layers/<id>/{tree,manifest}`, and a tree that will be there |
//! | `view`, `flatten` | a snapshot's layers as one file system, from manifests alone; as one layer |
//! | `rooted` | the only door to files inside a tree |
//! | `owner` | owners that are recorded in attributes, where ids cannot be mapped |
//! | `writer` | writes a tree and its manifest at once: COPY, ADD, image layers |
//! | `diff` | the manifest of what a step wrote through an overlay mount, or in a whole tree |
//! | `work` | a snapshot as a directory that steps write in place, where nothing can be stacked |
//! | `archive`, `unpack` | tar members, none of them trusted; an image's layer from them |
//! | `tar`, `pack`, `decompress` | a layer as a tar; compressing and decompressing |

mod archive;
mod decompress;
mod diff;
mod draft;
mod encoding;
mod entry;
mod error;
mod flatten;
mod layers;
mod manifest;
mod owner;
mod pack;
mod rooted;
#[cfg(test)]
mod testing;
mod unpack;
mod view;
mod work;
mod writer;
mod xattr;

pub use archive::{Archive, ArchiveError, Member, MemberKind};
pub use decompress::{Decompressor, Format};
pub use draft::Draft;
pub use encoding::{DecodeError, Encoded};
pub use entry::{Attributes, Device, Entry, FileContent, Kind, Timestamp, Xattrs, is_within, path_order};
pub use error::{LayerError, MemberError};
pub use layers::{Layer, Layers};
pub use manifest::{Manifest, ManifestError};
pub(crate) use owner::probe as probe_owners;
pub use owner::{OWNER_ATTRIBUTE, OwnerRecord, RecordedDevice, is_owner_attribute};
pub use rooted::{Links, Rooted};
pub use unpack::{Limits, Unpacked};
pub use view::{Found, ResolveError, Resolved, View};
pub use work::WorkTree;
pub use writer::{Node, TreeWriter};
