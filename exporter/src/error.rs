//! What fails on the way out.

use std::io;
use std::path::PathBuf;

use kiln_core::{Digest, DigestError};

use crate::blob::BlobReadError;

/// What failed when an image or a root file system was written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A layer could not be had.
    #[error("a layer of the image cannot be read")]
    Blob(#[from] BlobReadError),
    /// A layer has fewer or more bytes than its descriptor says.
    #[error("blob {digest} has {actual} bytes and not {expected}")]
    Size {
        /// Which.
        digest: Digest,
        /// As described.
        expected: u64,
        /// As read.
        actual: u64,
    },
    /// A descriptor whose digest kiln cannot verify.
    #[error("a layer has a digest of another kind")]
    Digest(#[from] DigestError),
    /// The destination could not be written.
    #[error("write `{path}`")]
    Output {
        /// The file or directory; `-` for a stream.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// An existing layout's index could not be taken over.
    #[error("`{path}` is not the index of an OCI layout")]
    Layout {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: serde_json::Error,
    },
    /// The root file system could not be read.
    #[error("read `{path}` of the image")]
    Tree {
        /// Within the image.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A path of the root file system that leads out of it.
    #[error("`{path}` of the image leads out of it")]
    Escape {
        /// Within the image.
        path: PathBuf,
    },
}

impl ExportError {
    pub(crate) fn output(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |cause| Self::Output { path, cause }
    }

    /// What writing to a stream met.
    pub fn stream() -> impl FnOnce(io::Error) -> Self {
        Self::output("-")
    }
}
