//! Why a step ran: plain data, printed as text and as JSON.

use serde::Serialize;

/// A build for one platform, explained.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Explained {
    /// For what.
    pub(crate) platform: String,
    /// Whether there was a build to compare with.
    pub(crate) compared: bool,
    /// The first step with a reason of its own, from which the others follow.
    pub(crate) first: Option<String>,
    /// All steps, inputs first.
    pub(crate) steps: Vec<Step>,
}

/// A step, explained.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Step {
    /// As progress shows it.
    pub(crate) name: String,
    /// Its id in progress.
    pub(crate) digest: String,
    /// What was done.
    pub(crate) decision: Verdict,
    /// In what it differs from the build before, or why it ran all the same.
    pub(crate) reasons: Vec<Reason>,
}

/// What was done with a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// It ran.
    Run,
    /// It ran and did not succeed, or was given up.
    Failed,
    /// The same was asked before.
    Cached,
    /// The same was made before from the same contents.
    SameContent,
    /// It was not needed: what it leads to is known.
    NotNeeded,
    /// A step before it failed.
    NotReached,
}

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Reason {
    /// Nothing like it was built before in this store.
    NeverBuilt,
    /// The Dockerfile did not have it.
    NewStep,
    /// An option asked for it.
    Flag {
        /// As typed.
        flag: String,
    },
    /// A part of the instruction, a variable or the base differs.
    Changed {
        /// Which.
        part: String,
        /// `None` if it was not there.
        old: Option<String>,
        /// `None` if it is not there any more.
        new: Option<String>,
    },
    /// What is behind a URL or a branch differs.
    Source {
        /// The hash that pinned it.
        old: String,
        /// The hash that pins it.
        new: String,
    },
    /// Files that it copies differ.
    Files {
        /// Where they come from.
        from: String,
        /// The first of them.
        files: Vec<File>,
        /// How many there are; 0 if they are not known one by one.
        count: usize,
    },
    /// A step before it made something else.
    Follows {
        /// That step.
        step: String,
        /// The first files in which it differs.
        files: Vec<File>,
        /// How many there are.
        count: usize,
    },
    /// It is as it was, but its result is gone: pruned, collected or damaged.
    Collected,
    /// It did not come to an end the last time.
    Unfinished,
}

/// A file that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct File {
    /// In the image.
    pub(crate) path: String,
    /// In what was copied from, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<String>,
    /// `None`: added.
    pub(crate) old: Option<FileState>,
    /// `None`: removed.
    pub(crate) new: Option<FileState>,
}

/// What a file was or is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct FileState {
    /// `file`, `directory`, `link to …`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// BLAKE3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) digest: Option<String>,
    /// In bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<u64>,
    /// Permission bits in octal digits.
    pub(crate) mode: String,
    /// `user:group` by number.
    pub(crate) owner: String,
}

impl From<kiln_executor::FileState> for FileState {
    fn from(state: kiln_executor::FileState) -> Self {
        Self {
            kind: state.kind,
            digest: state.digest.map(|digest| format!("blake3:{digest}")),
            size: state.size,
            mode: format!("{:04o}", state.mode),
            owner: format!("{}:{}", state.uid, state.gid),
        }
    }
}

impl From<kiln_executor::FileChange> for File {
    fn from(change: kiln_executor::FileChange) -> Self {
        Self {
            path: format!("/{}", change.path.display()),
            source: change.source.map(|source| source.display().to_string()),
            old: change.old.map(FileState::from),
            new: change.new.map(FileState::from),
        }
    }
}
