//! What goes into a key.
//!
//! | | in [`Definition`] | in [`CacheKey`] | why |
//! | --- | --- | --- | --- |
//! | the op's fields, but for those it leaves out itself | yes | yes | they can change the result |
//! | a source's lock (manifest, context digest, commit) | yes | yes | the source is what the lock says |
//! | an input's definition | yes | no | the definition says what was asked, not what came out |
//! | the content of the part of an input that the op reads | no | yes | equal contents give equal results: early cutoff |
//! | names, spans, stages, `no_cache` | no | no | they change nothing in the output |

use std::fmt;

use kiln_core::{ContentHash, Graph, Op, StableHash, StableHasher, StepId, VertexId};

/// What was asked: an op, its inputs' definitions, sources locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Definition(pub ContentHash);

/// What a result is made from: an op and its inputs' contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheKey(pub ContentHash);

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A new number when the meaning of an op or of a worker's output changes, so that old results are not taken for new.
const DEFINITION: &str = "kiln definition 1";
const CACHE_KEY: &str = "kiln key 1";
const STEP: &str = "kiln step 1";

pub(crate) fn definition(op: &Op, lock: Option<&ContentHash>, inputs: &[Definition]) -> Definition {
    let mut hasher = StableHasher::new(DEFINITION);
    op.stable_hash(&mut hasher);
    lock.copied().stable_hash(&mut hasher);
    hasher.number(inputs.len() as u64);
    for input in inputs {
        input.0.stable_hash(&mut hasher);
    }
    Definition(hasher.finish())
}

pub(crate) fn cache_key(op: &Op, lock: Option<&ContentHash>, contents: &[ContentHash]) -> CacheKey {
    let mut hasher = StableHasher::new(CACHE_KEY);
    op.stable_hash(&mut hasher);
    lock.copied().stable_hash(&mut hasher);
    contents.stable_hash(&mut hasher);
    CacheKey(hasher.finish())
}

/// The identity of every vertex in progress output, by [`VertexId::index`]: known before anything is locked.
pub fn step_ids(graph: &Graph) -> Vec<StepId> {
    let mut ids: Vec<StepId> = Vec::with_capacity(graph.len());
    for (_, vertex) in graph.vertices() {
        let mut hasher = StableHasher::new(STEP);
        vertex.op.stable_hash(&mut hasher);
        vertex.about.name.stable_hash(&mut hasher);
        hasher.number(vertex.inputs.len() as u64);
        for input in &vertex.inputs {
            ids[input.index()].0.stable_hash(&mut hasher);
        }
        ids.push(StepId(hasher.finish()));
    }
    ids
}

/// For each vertex by [`VertexId::index`], whether it or something it needs was asked to run whatever is known.
pub(crate) fn fresh(graph: &Graph) -> Vec<bool> {
    let mut fresh: Vec<bool> = Vec::with_capacity(graph.len());
    for (_, vertex) in graph.vertices() {
        let above = |input: &VertexId| fresh[input.index()];
        let is = vertex.about.no_cache || vertex.inputs.iter().any(above);
        fresh.push(is);
    }
    fresh
}
