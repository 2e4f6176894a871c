//! The nouns of kiln: digests, references, platforms, image configuration, the build graph, findings and progress.
//!
//! | module | nouns |
//! | --- | --- |
//! | `digest`, `stable_hash` | [`Digest`] of OCI content, [`ContentHash`] of kiln's own, [`StableHash`] for keys |
//! | `reference`, `platform` | what an image is called, what it runs on |
//! | `image`, `layer` | [`ImageConfig`]; [`Snapshot`], [`LayerId`], [`DiffId`] |
//! | `op`, `graph` | [`Op`] and its parts; [`Graph`] of them |
//! | [`path`], [`pattern`] | paths cleaned as Go does; wildcards and ignore files |
//! | `span`, `diagnostic`, `event` | places in a text, findings, progress |
//! | `credentials` | what of a URL nobody is shown |
//!
//! **Invariant:** no I/O, no async, no clock, no environment. Whatever stands here can be made in a test by hand.

mod credentials;
mod diagnostic;
mod digest;
mod event;
mod graph;
mod image;
mod layer;
mod op;
pub mod path;
pub mod pattern;
mod platform;
mod reference;
mod span;
mod stable_hash;

pub use credentials::{redact, redacted};
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use digest::{ContentHash, Digest, DigestError, DigestWriter};
pub use event::{Event, Outcome, Progress, Silent, StepId, Stream};
pub use graph::{About, Graph, Vertex, VertexId};
pub use image::{ContainerConfig, Empty, Healthcheck, History, ImageConfig, RootFs};
pub use layer::{Compression, CompressionFormat, ContentId, DiffId, LayerId, Snapshot};
pub use oci_spec;
pub use op::{
    Access, CacheMount, Chmod, Copy, CopySource, Exec, ExecMount, FileAction, FileEdit, GitSource,
    HttpSource, ImageLocator, ImageSource, InlineFile, LocalSource, MountKind, NetworkMode, Op, Part,
    SecretEnv, SecurityMode, Sharing, Source, Surroundings, Ulimit, Unpack,
};
pub use platform::{Platform, PlatformError};
pub use reference::{DEFAULT_REGISTRY, Reference, ReferenceError};
pub use span::{SourceFile, Span, Spanned};
pub use stable_hash::{StableHash, StableHasher};
