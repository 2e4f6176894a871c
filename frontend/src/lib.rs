//! Dockerfile text to a build graph.
//!
//! In: the text of a Dockerfile, what the user asked for, what the base images' configurations say. Out: a tree with places
//! ([`ast`]), findings, the graph of operations and the image's configuration.
//!
//! **Invariant:** no I/O. Base images are asked for through a trait, all at once.

pub mod ast;
pub mod call;
mod dump;
pub mod expand;
pub mod git_url;
mod graph_text;
pub mod lint;
mod lower;
mod options;
mod plan;
mod resolve;
mod spelling;
mod syntax;

pub use dump::dump;
pub use graph_text::{GraphFormat, show_graph};
pub use lower::{Lowered, lower};
pub use options::{LayoutName, MAIN_CONTEXT, NamedContext, NoCache, Options};
pub use plan::{EpochSource, ImageName, StageGraph, plan};
pub use resolve::{Bases, ImageResolver, ImageWanted, ResolveError, ResolvedImage, resolve};
pub use syntax::{Parsed, parse, parse_trigger};
