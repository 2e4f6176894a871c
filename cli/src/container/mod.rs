//! Containers: what they are made from, how they are kept, who looks after them.

pub(crate) mod network;
pub(crate) mod process;
