//! What a process writes, told as it comes.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use kiln_core::{Event, Progress, StepId, Stream};

/// Reads both streams to their ends while `wait` waits for the process.
pub(super) fn forward<T>(
    progress: &dyn Progress,
    step: StepId,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    wait: impl FnOnce() -> T,
) -> T {
    std::thread::scope(|scope| {
        for (stream, fd) in [(Stream::Stdout, stdout), (Stream::Stderr, stderr)] {
            if let Some(fd) = fd {
                scope.spawn(move || read(progress, step, stream, File::from(fd)));
            }
        }
        // The streams end when the last process of the step is gone, which is what it waits for.
        wait()
    })
}

fn read(progress: &dyn Progress, step: StepId, stream: Stream, mut from: File) {
    let mut buffer = [0; 16 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => progress.emit(Event::Log { step, stream, data: buffer[..n].to_vec() }),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
