//! Text to tree.

mod csv;
pub(crate) mod go;
pub(crate) mod mount;
pub(crate) mod suggest;
