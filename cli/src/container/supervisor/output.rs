//! What a container writes: read, logged, and passed to whoever watches.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::container::log::{Log, Stream};

/// While as many bytes wait for somebody who watches, nothing is read: the container waits too.
const ENOUGH: usize = 1 << 20;
/// As many bytes fit into a pipe that is ready for any.
const PIECE: usize = 4096;

/// A stream of the container.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) fd: OwnedFd,
    pub(super) stream: Stream,
}

/// Somebody who watches a stream.
#[derive(Debug)]
pub(super) struct Sink {
    pub(super) fd: OwnedFd,
    pub(super) stream: Stream,
    /// The client that it belongs to; none for the terminal of this process itself.
    pub(super) client: Option<u64>,
    waiting: VecDeque<u8>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) sources: Vec<Source>,
    pub(super) sinks: Vec<Sink>,
    pub(super) log: Log,
}

impl Output {
    pub(super) fn new(log: Log) -> Self {
        Self { sources: Vec::new(), sinks: Vec::new(), log }
    }

    pub(super) fn watch(&mut self, stream: Stream, fd: OwnedFd, client: Option<u64>) {
        self.sinks.push(Sink { fd, stream, client, waiting: VecDeque::new() });
    }

    pub(super) fn is_full(&self) -> bool {
        self.sinks.iter().any(|sink| sink.waiting.len() >= ENOUGH)
    }

    /// Whether nothing waits to be written for `client`.
    pub(super) fn is_flushed(&self, client: Option<u64>) -> bool {
        self.sources.is_empty()
            && self.sinks.iter().filter(|sink| sink.client == client).all(|sink| sink.waiting.is_empty())
    }

    /// Whether all was read and written.
    pub(super) fn is_done(&self) -> bool {
        self.sources.is_empty() && self.sinks.iter().all(|sink| sink.waiting.is_empty())
    }

    /// Those who have not taken yet what waits for them.
    pub(super) fn pending(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sinks.iter().filter(|sink| !sink.waiting.is_empty()).map(|sink| sink.fd.as_fd())
    }

    /// Lets go of what `client` watched.
    pub(super) fn forget(&mut self, client: Option<u64>) {
        self.sinks.retain(|sink| sink.client != client);
    }

    /// Reads once from the source; a stream that has ended is let go of.
    pub(super) fn read(&mut self, index: usize) {
        let Some(source) = self.sources.get(index) else { return };
        let mut buffer = [0; 16 << 10];
        match rustix::io::retry_on_intr(|| rustix::io::read(&source.fd, &mut buffer)) {
            // A terminal whose other side is closed fails with EIO: that is its end.
            Ok(0) | Err(_) => {
                self.sources.remove(index);
            }
            Ok(n) => {
                let stream = source.stream;
                self.log.write(stream, &buffer[..n]);
                for sink in self.sinks.iter_mut().filter(|sink| sink.stream == stream) {
                    sink.waiting.extend(&buffer[..n]);
                }
                self.write_what_fits();
            }
        }
    }

    /// Reads what is there and lets go of all streams: their container has ended. A descriptor that it gave away might
    /// keep them open for ever.
    pub(super) fn drain(&mut self) {
        while !self.sources.is_empty() && !self.is_full() {
            let mut waiting: Vec<PollFd<'_>> =
                self.sources.iter().map(|source| PollFd::new(&source.fd, PollFlags::IN)).collect();
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            let ready = rustix::io::retry_on_intr(|| poll(&mut waiting, Some(&now))).unwrap_or(0);
            let Some(index) = waiting.iter().position(|fd| !fd.revents().is_empty()).filter(|_| ready > 0)
            else {
                break;
            };
            self.read(index);
        }
        if !self.is_full() {
            self.sources.clear();
            self.log.finish();
        }
    }

    /// Writes to every sink as much as it takes without blocking.
    pub(super) fn write_what_fits(&mut self) {
        self.sinks.retain_mut(Sink::write_what_fits);
    }
}

impl Sink {
    /// Whether somebody still watches.
    fn write_what_fits(&mut self) -> bool {
        while !self.waiting.is_empty() {
            let mut ready = [PollFd::new(&self.fd, PollFlags::OUT)];
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            match rustix::io::retry_on_intr(|| poll(&mut ready, Some(&now))) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
            let (piece, _) = self.waiting.as_slices();
            let piece = &piece[..piece.len().min(PIECE)];
            match rustix::io::retry_on_intr(|| rustix::io::write(&self.fd, piece)) {
                Ok(n) => drop(self.waiting.drain(..n)),
                Err(rustix::io::Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
        true
    }
}
