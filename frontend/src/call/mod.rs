//! What `--call` tells of a Dockerfile without building it, as data, as BuildKit's JSON and as BuildKit's text.

mod check;
mod excerpt;
mod outline;
mod place;
mod table;
mod targets;

pub use check::{CheckError, CheckResult, CheckWarning, check};
pub use excerpt::excerpt;
pub use outline::{Outline, OutlineArg, OutlineCache, OutlineRequest, OutlineSecret, outline};
pub use place::{Lines, Place, Position, Sources};
pub use targets::{Target, Targets, targets};

#[cfg(test)]
mod tests;
