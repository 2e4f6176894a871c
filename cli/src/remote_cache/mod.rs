//! `--cache-to` and `--cache-from`: results of steps that other machines share.
//!
//! A cache is one document that lists results and the layers they consist of ([`document`]), and the layers as blobs,
//! wherever a backend keeps such things. A build asks the imported documents where its own store knows nothing. What is
//! found stands for layers that are not here: they are fetched when a step or an output reads their files, and not before.
//!
//! | module | job |
//! | --- | --- |
//! | `spec` | what was typed |
//! | `document` | the list of results, as an OCI artifact |
//! | `backend` | where documents and blobs are: `directory`, `repository`, `bucket` (S3), `actions` (GitHub's) |
//! | `export` | a build's results to a backend: what is there is neither packed nor sent |
//! | `all` | all that a store knows, cache mounts included, at once |
//! | `import` | the documents of a build, and layers from them |
//!
//! A backend that fails costs the cache: it is a warning, never the end of a build.

mod actions;
mod all;
mod backend;
mod bucket;
mod directory;
mod document;
mod export;
mod import;
mod repository;
mod spec;

pub(crate) use self::all::{Fate, Moved, Selection, export_all, import_all};
pub(crate) use self::backend::CacheError;
pub(crate) use self::document::INLINE_KEY;
pub(crate) use self::export::{Exportable, export, inline_document};
pub(crate) use self::import::{Imported, SharedImports};
pub(crate) use self::spec::{CacheSpec, Place};
