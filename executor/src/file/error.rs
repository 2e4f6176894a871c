//! What fails with COPY, ADD and WORKDIR, in BuildKit's words where people look for them.

use std::io;
use std::path::PathBuf;

use kiln_cache::{ArchiveError, LayerError};
use kiln_core::pattern::IgnoreError;

use super::mode::ModeError;
use super::tree::LinkLoop;

/// Why files could not be written on a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A source is not there.
    #[error(
        "failed to compute cache key: failed to calculate checksum of ref: \"{path}\": not found{}",
        left_out.as_ref().map(LeftOut::to_string).unwrap_or_default()
    )]
    NotFound {
        /// The source, absolute in its tree.
        path: String,
        /// The ignore rule that took it out of the context.
        left_out: Option<LeftOut>,
    },
    /// A directory should be made or merged where something else is.
    #[error("cannot copy to non-directory: /{}", path.display())]
    NotADirectory {
        /// In the target's root.
        path: PathBuf,
    },
    /// A file should replace a directory.
    #[error("cannot replace to directory /{} with file", path.display())]
    FileOverDirectory {
        /// In the target's root.
        path: PathBuf,
    },
    /// A name of a user or group where there is nothing to look it up in.
    #[error("cannot look up the owner `{owner}` in an empty base: invalid user index: -1")]
    UnknownOwner {
        /// As written.
        owner: String,
    },
    /// `--exclude` or a `--parents` pattern.
    #[error("invalid pattern")]
    Exclude(#[source] IgnoreError),
    /// `--chmod`.
    #[error(transparent)]
    Mode(#[from] ModeError),
    /// Links that lead in a circle.
    #[error(transparent)]
    LinkLoop(#[from] LinkLoop),
    /// The op names an input that its vertex does not have.
    #[error("the step has no input {0}")]
    NoInput(usize),
    /// A file could not be read.
    #[error("failed to read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A file is not what it was when the step began.
    #[error("{} changed while it was copied", path.display())]
    Changed {
        /// Which.
        path: PathBuf,
    },
    /// An archive is damaged.
    #[error("failed to unpack {}", path.display())]
    Archive {
        /// Which.
        path: PathBuf,
        /// How.
        #[source]
        cause: ArchiveError,
    },
    /// A member of an archive cannot be unpacked.
    #[error("failed to unpack `{}` of {}", path.display(), archive.display())]
    Member {
        /// The archive.
        archive: PathBuf,
        /// The member, as the archive calls it.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The place for unpacked members.
    #[error("failed to make room for an archive's members")]
    Spool(#[source] io::Error),
    /// The layer could not be written.
    #[error("failed to write the layer")]
    Layer(#[from] LayerError),
}

/// The ignore rule that left a file out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// From 1.
    pub line: usize,
    /// As written.
    pub pattern: String,
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, ": excluded by line {} of .dockerignore (`{}`)", self.line, self.pattern)
    }
}
