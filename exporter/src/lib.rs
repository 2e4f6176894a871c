//! A finished image becomes an OCI layout, a tar, a directory, or lies in a registry.
//!
//! In: a configuration, the blobs of its layers, and where it goes. Out: the bytes that others read.
//!
//! | module | arrow |
//! | --- | --- |
//! | `assemble` | configuration + layers → [`Image`]; images → [`Index`] |
//! | `blob`, `media`, `document` | where bytes come from, what they are called, JSON to the byte |
//!
//! **Invariant:** knows neither how an image was built nor where the store is. No layer is held in memory, and a file
//! is in its place only when it is whole.

mod assemble;
mod blob;
mod document;
mod media;

pub use assemble::{AssembleError, AssembleOptions, assemble, assemble_index};
pub use blob::{Blob, BlobRead, BlobReadError, Exported, Image, Index, LayerBlob};
pub use media::{MediaTypes, layer_format};
