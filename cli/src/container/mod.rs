//! Containers: what they are made from, how they are kept, who looks after them. No daemon: a directory each, which any
//! kiln process reads, and a supervisor each while they run.
//!
//! | module | nouns |
//! | --- | --- |
//! | `create`, `process`, `mounts`, `fill` | from flags and an image to a [`config::Config`] |
//! | `directory`, `config`, `state`, `name`, `id`, `removal`, `roots` | what is kept of a container, and finding it |
//! | `volume` | directories that outlive containers |
//! | `network`, `sharing`, `ports` | its network, or that of another |
//! | `bundle`, `supervisor`, `processes`, `usage` | the process that looks after a container |
//! | `protocol`, `client`, `attach` | speaking to it |
//! | `copy` | files in and out, and what a container has changed |
//! | `log` | what the container wrote |
//!
//! **Invariant:** only a supervisor writes a container's state, and only while it holds the container's lock.

pub(crate) mod attach;
pub(crate) mod bundle;
pub(crate) mod client;
pub(crate) mod config;
pub(crate) mod copy;
pub(crate) mod create;
pub(crate) mod directory;
pub(crate) mod disk;
pub(crate) mod error;
mod fill;
pub(crate) mod id;
pub(crate) mod log;
mod mounts;
mod name;
pub(crate) mod network;
pub(crate) mod ports;
pub(crate) mod process;
mod processes;
pub(crate) mod protocol;
pub(crate) mod removal;
pub(crate) mod roots;
pub(crate) mod sharing;
pub(crate) mod signal;
pub(crate) mod state;
pub(crate) mod supervisor;
pub(crate) mod usage;
pub(crate) mod volume;
