//! Dockerfile text to a build graph.
//!
//! In: the text of a Dockerfile, what the user asked for, what the base images' configurations say. Out: a tree with places
//! ([`ast`]), findings, the graph of operations and the image's configuration.
//!
//! **Invariant:** no I/O. Base images are asked for through a trait, all at once.

pub mod ast;
mod dump;
pub mod expand;
pub mod lint;
mod syntax;

pub use dump::dump;
pub use syntax::{Parsed, parse, parse_trigger};
