//! Walks a build graph in parallel, decides what is already known, and has a [`Worker`] do the rest.
//!
//! In: a [`Graph`](kiln_core::Graph), its root and a worker. Out: the root's output.
//!
//! The algorithm, in full ([`solve`]):
//!
//! 1. *Lock* the sources: a context is walked, a URL revalidated, a branch looked up. What comes back is a hash.
//! 2. *Define*: every vertex gets the hash of its op and its inputs' definitions ([`Definition`]).
//! 3. *Ask* from the root down: was this asked before? Where the answer is yes, nothing above it is looked at. An
//!    unchanged build ends here, after one question.
//! 4. *Make* the rest, each vertex as soon as its inputs are there: hash the op with its inputs' contents
//!    ([`CacheKey`]); was this made before? If not, run it. Remember both hashes.
//!
//! A step that ran again and made the same content as before changes nothing below it, because keys are of contents.
//!
//! **Invariant:** the solver never sees what an output is, prints nothing and touches no file.

mod decided;
mod error;
mod keys;
mod once;
mod solve;
#[cfg(test)]
mod toy;
mod worker;

pub use decided::{Decided, How};
pub use error::SolveError;
pub use keys::{CacheKey, Definition, step_ids};
pub use solve::solve;
pub use worker::Worker;
