//! Patterns over paths, in the two languages that Dockerfiles know.
//!
//! | language | where | here |
//! | --- | --- | --- |
//! | Go's `filepath.Match` | sources of COPY and ADD | [`wildcard`] |
//! | moby's ignore rules, with `**` and `!` | `.dockerignore`, `--exclude` | [`Ignore`] |
//!
//! Both are shared by the frontend, which checks, and the executor, which walks trees.

mod compile;
mod ignore;
mod tokens;
pub mod wildcard;

pub use ignore::{Decision, Ignore, IgnoreError, Matched, Rule};
