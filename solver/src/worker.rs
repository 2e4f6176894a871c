//! Who does the work: the one trait that the solver needs.

use std::future::Future;

use kiln_core::{ContentHash, Op, StepId, Vertex};

use crate::{CacheKey, Decided, Definition};

/// Performs ops and remembers what they made. `Output` is a snapshot in production and an integer in the tests.
///
/// Every method may be called from several tasks at once. A future that is dropped gives its work up: a process that
/// it started is killed.
pub trait Worker: Send + Sync + 'static {
    /// What an op makes.
    type Output: Clone + Send + Sync + 'static;
    /// Why an op fails.
    type Error: std::error::Error + Clone + Send + Sync + 'static;
    /// Held while a key's work is done; other processes that want the same key wait for it.
    type Claim: Send + 'static;

    /// The hash that pins a source: the digest of a context's files, a download's content, a commit.
    fn lock(
        &self,
        step: StepId,
        source: &Vertex,
    ) -> impl Future<Output = Result<ContentHash, Self::Error>> + Send;

    /// The output that `definition` had before, if it is still there.
    fn asked(
        &self,
        definition: &Definition,
    ) -> impl Future<Output = Result<Option<Self::Output>, Self::Error>> + Send;

    /// The output that `key` had before, on `inputs`, if it is still there.
    fn made(
        &self,
        key: &CacheKey,
        op: &Op,
        inputs: &[Self::Output],
    ) -> impl Future<Output = Result<Option<Self::Output>, Self::Error>> + Send;

    /// The content of the part of input `index` that `op` reads.
    fn content(
        &self,
        op: &Op,
        index: usize,
        input: &Self::Output,
    ) -> impl Future<Output = Result<ContentHash, Self::Error>> + Send;

    /// Waits until no other process works on `key`.
    fn claim(&self, key: &CacheKey) -> impl Future<Output = Result<Self::Claim, Self::Error>> + Send;

    /// Performs `vertex.op` on `inputs`.
    fn run(
        &self,
        step: StepId,
        vertex: &Vertex,
        inputs: &[Self::Output],
    ) -> impl Future<Output = Result<Self::Output, Self::Error>> + Send;

    /// Takes note that `output` is what `definition` asks for and what `key` makes of `inputs`.
    fn remember(
        &self,
        definition: &Definition,
        key: &CacheKey,
        op: &Op,
        inputs: &[Self::Output],
        output: &Self::Output,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Hears what was decided of each vertex, and on what grounds. Must not block.
    fn decided(&self, _decided: &Decided<'_, Self::Output>) {}
}
