//! Copying files into containers and out of them, and what a container has changed.
//!
//! | module | nouns |
//! | --- | --- |
//! | `end` | what the words of `kiln cp` name |
//! | `root` | a root directory and what a path means in it |
//! | `tree` | files as they stand, for the exporter and for a place |
//! | `place` | a directory that files are put into |
//! | `changes` | a container's changes as a layer |
//!
//! **Invariant:** a program in the container may change its files at any moment. Every step is relative to an open
//! directory, and no symbolic link is followed but by the kernel within the root (`RESOLVE_IN_ROOT`).

pub(crate) mod changes;
pub(crate) mod end;
pub(crate) mod place;
pub(crate) mod root;
pub(crate) mod tree;
