//! What fails with layers.

use std::io;
use std::path::PathBuf;

use kiln_core::LayerId;

use super::encoding::DecodeError;
use super::manifest::ManifestError;

/// What failed with a layer.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// A file or directory could not be read or written.
    #[error("{action} `{path}`")]
    Io {
        /// The verb and the kind of thing.
        action: &'static str,
        /// Of the store, or inside a layer.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The store has no such layer.
    #[error("layer {} is not in the store", .0.0)]
    Missing(LayerId),
    /// The store has it, but not as it was written.
    #[error("layer {} is damaged", id.0)]
    Damaged {
        /// Which.
        id: LayerId,
        /// How.
        #[source]
        cause: DecodeError,
    },
    /// What was written is no possible layer.
    #[error("the layer cannot be recorded")]
    Manifest(#[from] ManifestError),
    /// Something was to be written below a thing that is no directory.
    #[error("`{0}` is written into something that is no directory")]
    NoDirectory(PathBuf),
    /// An archive's member cannot be unpacked.
    #[error("unpack `{path}`")]
    Member {
        /// As the archive calls it.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: MemberError,
    },
    /// The archive itself cannot be read.
    #[error("read the archive")]
    Archive(#[from] super::archive::ArchiveError),
    /// A file of the layer's tree has another size than its manifest says.
    #[error("`{path}` of layer {} has {actual} bytes instead of {expected}", id.0)]
    Size {
        /// The layer.
        id: LayerId,
        /// In it.
        path: PathBuf,
        /// As recorded.
        expected: u64,
        /// As read.
        actual: u64,
    },
    /// The packed layer could not be written to where it goes.
    #[error("write the packed layer")]
    Output(#[source] io::Error),
}

/// Why a member of an archive is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    /// It has a `..`.
    #[error("its path leads out of the layer")]
    Escapes,
    /// Longer than Linux allows, or with a zero byte.
    #[error("its path is longer than 4,095 bytes or holds a zero byte")]
    Path,
    /// It stands below a file.
    #[error("a part of its path is no directory")]
    NoDirectory,
    /// Its path leads through too many symbolic links.
    #[error("its path goes through too many symbolic links")]
    Loop,
    /// A hard link to something that neither the layer nor those below have.
    #[error("it is a hard link to `{0}`, which is not there")]
    LinkTarget(PathBuf),
    /// `.wh.`, `.wh..` or `.wh...`: removes its own directory or the one above.
    #[error("it is a whiteout of no name")]
    Whiteout,
    /// The archive has more members or bytes than were allowed.
    #[error("the archive grows beyond {0}")]
    Limit(String),
}

impl LayerError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |cause| Self::Io { action, path, cause }
    }
}

impl MemberError {
    pub(crate) fn at(self, path: impl Into<PathBuf>) -> LayerError {
        LayerError::Member { path: path.into(), cause: self }
    }
}
