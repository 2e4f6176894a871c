//! A finished image becomes an OCI layout, a tar, a directory, or lies in a registry.
//!
//! In: a configuration, the blobs of its layers, and where it goes. Out: the bytes that others read.
//!
//! | module | arrow |
//! | --- | --- |
//! | `assemble` | configuration + layers → [`Image`]; images → [`Index`] |
//! | `layout`, `archive`, `push` | [`Exported`] → directory, tar, registry |
//! | `attest`, `packages` | an image, how it was built, what is in it → statements beside it |
//! | `copying` | a document at a registry → the same at another |
//! | `directory`, `rootfs_tar` | [`FileTree`] → directory, tar |
//! | `validate` | [`Exported`] → what is wrong with it |
//! | `growing` | a layer that is sent while it is packed |
//! | `blob`, `tree` | what is exported, and where its bytes come from |
//! | `media`, `document`, `naming`, `file` | what things are called, JSON to the byte, files that are whole |
//!
//! **Invariant:** knows neither how an image was built nor where the store is. No layer is held in memory, and a file
//! is in its place only when it is whole.

mod archive;
mod assemble;
mod attest;
mod blob;
mod copying;
mod directory;
mod document;
mod error;
mod file;
mod growing;
mod layout;
mod media;
mod naming;
mod packages;
mod push;
mod rootfs_tar;
mod tree;
mod validate;

pub use archive::{Named, write_docker_tar, write_docker_tar_without, write_oci_tar};
pub use assemble::{AssembleError, AssembleOptions, assemble, assemble_index, config_json};
pub use attest::{
    Attestation, AttestationForm, BuiltStep, Material, Mode, Predicate, Provenance, ProvenanceVersion,
    attest, package_url, sbom,
};
pub use blob::{Blob, BlobRead, BlobReadError, DocumentError, Exported, Image, Index, LayerBlob};
pub use copying::{Located, Room, copy_content};
pub use directory::{LeftOut, write_directory};
pub use error::ExportError;
pub use file::to_file;
pub use growing::{GrowingBlob, GrowingWriter, growing};
pub use layout::{LayoutBlobs, write_layout};
pub use media::{MediaTypes, layer_format};
pub use naming::Naming;
pub use push::{PushError, PushTo, PushWatch, Stored, push};
pub use rootfs_tar::write_rootfs_tar;
pub use tree::{FileTree, TreeEntry, TreeKind};
pub use validate::{Flaw, validate};
