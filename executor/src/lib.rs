//! Performs one [`Op`](kiln_core::Op) on snapshots: RUN in a sandbox, COPY and ADD, and the sources.
//!
//! Data in: an op, the outputs of its inputs, the store, the registry client, the user's contexts and secrets. Data out: a
//! snapshot with at most one layer more, or a walked context.
//!
//! **Invariant:** a step reads and changes nothing of the machine that it was not given. All unsafe code is in `sys`.

pub mod cdi;
mod changes;
mod chroot;
pub mod context;
mod edit;
mod error;
mod exec;
mod executor;
mod file;
pub mod isolation;
pub mod launcher;
pub mod network;
mod owners;
pub mod packet;
pub mod process;
mod resolve;
pub mod runtime;
pub mod sandbox;
pub mod source;
pub mod spec;
mod sys;
pub mod waiting;

pub use changes::{FileChange, FileState, changes};
pub use error::ExecutorError;
pub use exec::{Ground, HeldStep, Look, StepShell, group, make_directory, user};
pub use executor::{Executor, SecretValue, Services, Value};
pub use file::{FileError, LeftOut, LinkLoop, ModeError};
