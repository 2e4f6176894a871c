//! What went wrong in the sandbox's first process, in a form that crosses to kiln.

use std::io;

use serde::{Deserialize, Serialize};

/// An operation and the kernel's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// What was attempted, on what.
    pub(crate) operation: String,
    /// The kernel's error number.
    pub(crate) errno: i32,
    /// Whether it was the execution of the program itself.
    pub(crate) program: bool,
}

pub(crate) type Setup<T> = Result<T, Failure>;

/// An error that carries the kernel's number.
pub(crate) trait Errno {
    fn errno(&self) -> i32;
}

impl Errno for rustix::io::Errno {
    fn errno(&self) -> i32 {
        self.raw_os_error()
    }
}

impl Errno for io::Error {
    fn errno(&self) -> i32 {
        self.raw_os_error().unwrap_or(libc::EIO)
    }
}

/// Names what failed.
pub(crate) trait During<T> {
    fn during(self, operation: impl FnOnce() -> String) -> Setup<T>;
}

impl<T, E: Errno> During<T> for Result<T, E> {
    fn during(self, operation: impl FnOnce() -> String) -> Setup<T> {
        self.map_err(|error| Failure { operation: operation(), errno: error.errno(), program: false })
    }
}
