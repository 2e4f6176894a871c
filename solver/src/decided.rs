//! What was decided of a vertex, for whoever wants to tell why.

use kiln_core::{ContentHash, VertexId};

use crate::{CacheKey, Definition};

/// How it was decided whether a vertex runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Its definition was asked before: nothing it needs was looked at.
    Asked,
    /// What it leads to is known, so it was not looked at.
    Beyond,
    /// The same op on the same contents was performed before.
    Made,
    /// It has to run.
    Runs,
    /// It ran.
    Ran,
}

/// A decision and what it stands on. A vertex that runs is decided twice: before ([`How::Runs`]) and after
/// ([`How::Ran`]).
#[derive(Debug)]
pub struct Decided<'a, T> {
    /// Which.
    pub vertex: VertexId,
    /// The decision.
    pub how: How,
    /// What was asked.
    pub definition: &'a Definition,
    /// What pins it, if it is a source.
    pub lock: Option<&'a ContentHash>,
    /// What its result is made from; only of what was looked at.
    pub key: Option<&'a CacheKey>,
    /// The content of what it reads of each input; empty where it was not looked at.
    pub contents: &'a [ContentHash],
    /// The inputs; empty where they were not looked at.
    pub inputs: &'a [T],
    /// The result, where there is one.
    pub output: Option<&'a T>,
}
