//! Images at registries, seen and joined without pulling them.

mod combine;
mod details;
mod source;

pub(crate) use combine::{Annotations, combine, only};
pub(crate) use details::Details;
pub(crate) use source::{Source, fetch, sources};
