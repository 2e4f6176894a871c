//! Bytes between blocking readers and writers and the network, through small bounded queues.

use std::io::{self, Read};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use kiln_core::Digest;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::error::Fault;

/// Bytes of one piece that is read from a source.
const PIECE: usize = 256 << 10;
/// Pieces that wait for the network.
const WAITING: usize = 3;

/// Opens a source at an offset; called on a thread that may block.
pub(crate) type Open = Box<dyn FnOnce() -> io::Result<Box<dyn Read + Send>> + Send>;

/// A body that is read from a source while it is sent.
pub(crate) struct Upload {
    /// Opens the source where the body begins.
    pub(crate) open: Open,
    /// The body's length in bytes.
    pub(crate) length: u64,
    /// Told the number of bytes of each piece that the connection took.
    pub(crate) sent: Box<dyn Fn(u64) + Send + Sync>,
}

/// What is known of an upload that is under way.
#[derive(Clone)]
pub(crate) struct Pulse(Arc<Mutex<State>>);

struct State {
    /// When the connection last took something; `None` while it waits for the source.
    moved: Option<Instant>,
    left: u64,
    failure: Option<Fault>,
}

impl Upload {
    /// The body as a stream, and its pulse.
    pub(crate) fn into_body(self) -> (impl Stream<Item = io::Result<Bytes>> + Send + 'static, Pulse) {
        let Self { open, length, sent } = self;
        let pulse =
            Pulse(Arc::new(Mutex::new(State { moved: Some(Instant::now()), left: length, failure: None })));
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::task::spawn_blocking(move || read_pieces(open, length, &sender));
        let stream =
            futures_util::stream::unfold(Some((receiver, pulse.clone(), sent)), |state| async move {
                let (mut receiver, pulse, sent) = state?;
                // The connection asks for more: from here on it is the source that is waited for.
                pulse.waits();
                match receiver.recv().await? {
                    Ok(bytes) => {
                        pulse.moved(bytes.len() as u64);
                        sent(bytes.len() as u64);
                        Some((Ok(bytes), Some((receiver, pulse, sent))))
                    }
                    Err(fault) => {
                        let text = fault.to_string();
                        pulse.fail(fault);
                        Some((Err(io::Error::other(text)), None))
                    }
                }
            });
        // `unfold` is not to be polled after its end; hyper does not, once the announced length is there.
        (stream, pulse)
    }
}

fn read_pieces(open: Open, length: u64, sender: &mpsc::Sender<Result<Bytes, Fault>>) {
    let mut left = length;
    let mut source = match open() {
        Ok(source) => source,
        Err(cause) => {
            let _ = sender.blocking_send(Err(Fault::Source(cause)));
            return;
        }
    };
    while left > 0 {
        let mut piece = vec![0; PIECE.min(usize::try_from(left).unwrap_or(PIECE))];
        let read = match source.read(&mut piece) {
            Ok(0) => Err(Fault::ShortSource { expected: length, found: length - left }),
            Ok(n) => {
                left -= n as u64;
                piece.truncate(n);
                Ok(Bytes::from(piece))
            }
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
            Err(cause) => Err(Fault::Source(cause)),
        };
        let failed = read.is_err();
        // A closed queue: the connection is gone, and nobody wants more.
        if sender.blocking_send(read).is_err() || failed {
            return;
        }
    }
}

impl Pulse {
    fn moved(&self, bytes: u64) {
        let mut state = self.0.lock().expect("no panic while locked");
        state.moved = Some(Instant::now());
        state.left = state.left.saturating_sub(bytes);
    }

    fn waits(&self) {
        let mut state = self.0.lock().expect("no panic while locked");
        if state.left > 0 {
            state.moved = None;
        }
    }

    fn fail(&self, fault: Fault) {
        self.0.lock().expect("no panic while locked").failure = Some(fault);
    }

    /// What went wrong on this side.
    pub(crate) fn failure(&self) -> Option<Fault> {
        self.0.lock().expect("no panic while locked").failure.take()
    }

    /// Returns when nothing was taken for `stall`, or no answer came within `commit` after everything was taken.
    pub(crate) async fn stopped(&self, stall: Duration, commit: Duration) {
        loop {
            let deadline = {
                let state = self.0.lock().expect("no panic while locked");
                state.moved.unwrap_or_else(Instant::now) + if state.left == 0 { commit } else { stall }
            };
            if Instant::now() >= deadline {
                return;
            }
            tokio::time::sleep_until(deadline).await;
        }
    }
}

/// A queue of pieces to a thread that may block.
pub(crate) struct Pieces(mpsc::Sender<Piece>);

/// What is told to the writing thread.
pub(crate) enum Piece {
    /// The next bytes.
    Bytes(Bytes),
    /// That was all: is it what was wanted?
    Check(oneshot::Sender<Verdict>),
}

/// What the writing thread says of all bytes together.
pub(crate) enum Verdict {
    Good,
    Damaged {
        found: Digest,
        /// Whether the sink is ready to begin anew.
        restarted: bool,
    },
}

impl Pieces {
    /// A queue that holds few pieces: hyper's are up to 400 kB.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Piece>) {
        let (sender, receiver) = mpsc::channel(6);
        (Self(sender), receiver)
    }

    /// Hands a piece over; `false` if the thread has stopped.
    pub(crate) async fn send(&self, piece: Piece) -> bool {
        self.0.send(piece).await.is_ok()
    }
}
