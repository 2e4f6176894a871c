//! Where a build's bytes come from: images, downloads, git repositories. (Local directories are in `context`.)

mod error;
mod git;
mod http;
mod image;
mod layout;
mod remote;

pub use error::SourceError;
pub(crate) use git::Repository;
pub use git::{GitError, GitOptions};
pub(crate) use http::{Download, download, snapshot as download_snapshot};
pub use image::ImageStore;
pub use layout::{Layout, LayoutImage};
pub use remote::{Checkout, Fetched, Remote};
pub(crate) use remote::{lock_name, mirror};
