//! Fuzzing without instrumentation, as ordinary tests.
//!
//! In: seeds (the corpus, and the cases that former findings became), a dictionary, and a target that reads one input. Out: a
//! panic that shows the smallest input that fails, or nothing.
//!
//! | module | noun |
//! | --- | --- |
//! | `campaign` | [`Campaign`]: the loop, its pool of inputs, the shrinking of what fails |
//! | `mutation` | what is done to an input |
//! | `random` | [`Random`] numbers from a seed |
//! | `seeds` | texts of the corpus and of `cases/` |
//! | `trace` | [`Trace`]: what a target did with an input |
//!
//! What an input reached is told by the target itself through its [`Trace`] (messages, kinds of instructions, shapes of results);
//! an input that reached something new joins the pool that further inputs are made of.
//!
//! **Invariant:** a seed and a target make the same inputs on every machine; only how many is a matter of time.

mod campaign;
mod mutation;
mod random;
mod seeds;
mod trace;

pub use campaign::Campaign;
pub use random::Random;
pub use seeds::{cases, corpus_files, corpus_texts};
pub use trace::Trace;
