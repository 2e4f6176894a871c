//! What a process does that waits for others, perhaps for weeks: hears of signals beside other events, and takes little
//! memory.

use std::io;
use std::os::fd::OwnedFd;

use crate::sys;

/// From now on the signals with these numbers arrive as bytes in a pipe, instead of their usual action. To be called once;
/// reading from the pipe never blocks.
///
/// # Errors
/// When a number is no signal that can be caught.
pub fn signals_as_bytes(numbers: &[i32]) -> io::Result<OwnedFd> {
    sys::signals_as_bytes(numbers)
}

/// Gives the kernel back what this process can read again from its own program file, and free memory.
pub fn give_memory_back() {
    sys::give_memory_back();
}
