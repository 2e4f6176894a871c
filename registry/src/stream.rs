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
    pub(crate) length: Length,
    /// Told the number of bytes of each piece that the connection took.
    pub(crate) sent: Box<dyn Fn(u64) + Send + Sync>,
}

/// How long a body is.
#[derive(Clone, Copy)]
pub(crate) enum Length {
    Exactly(u64),
    /// As long as the source is, wherever that ends, and this at most.
    UpTo(u64),
}

/// What is known of an upload that is under way.
#[derive(Clone)]
pub(crate) struct Pulse(Arc<Mutex<State>>);

struct State {
    /// When the connection last took something; `None` while it waits for the source.
    moved: Option<Instant>,
    /// `None` as long as the end is not known.
    left: Option<u64>,
    failure: Option<Fault>,
}

impl Upload {
    /// The body as a stream, and its pulse.
    pub(crate) fn into_body(self) -> (impl Stream<Item = io::Result<Bytes>> + Send + 'static, Pulse) {
        let Self { open, length, sent } = self;
        let left = match length {
            Length::Exactly(length) => Some(length),
            Length::UpTo(_) => None,
        };
        let pulse = Pulse(Arc::new(Mutex::new(State { moved: Some(Instant::now()), left, failure: None })));
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
                    Err(Ended::Whole) => {
                        pulse.ended();
                        None
                    }
                    Err(Ended::Broken(fault)) => {
                        let text = fault.to_string();
                        pulse.fail(fault);
                        Some((Err(io::Error::other(text)), None))
                    }
                }
            });
        // `unfold` is not to be polled after its end; hyper does not, once the announced length or the end is there.
        (stream, pulse)
    }
}

/// Why there are no more pieces.
enum Ended {
    /// A source whose length nobody knew is at its end.
    Whole,
    Broken(Fault),
}

fn read_pieces(open: Open, length: Length, sender: &mpsc::Sender<Result<Bytes, Ended>>) {
    let mut read = 0_u64;
    let mut source = match open() {
        Ok(source) => source,
        Err(cause) => {
            let _ = sender.blocking_send(Err(Ended::Broken(Fault::Source(cause))));
            return;
        }
    };
    let (Length::Exactly(most) | Length::UpTo(most)) = length;
    while read < most {
        let left = usize::try_from(most - read).unwrap_or(PIECE);
        let mut piece = vec![0; PIECE.min(left)];
        let next = match (source.read(&mut piece), length) {
            (Ok(0), Length::UpTo(_)) => Err(Ended::Whole),
            (Ok(0), Length::Exactly(expected)) => {
                Err(Ended::Broken(Fault::ShortSource { expected, found: read }))
            }
            (Ok(n), _) => {
                read += n as u64;
                piece.truncate(n);
                Ok(Bytes::from(piece))
            }
            (Err(cause), _) if cause.kind() == io::ErrorKind::Interrupted => continue,
            (Err(cause), _) => Err(Ended::Broken(Fault::Source(cause))),
        };
        let ended = next.is_err();
        // A closed queue: the connection is gone, and nobody wants more.
        if sender.blocking_send(next).is_err() || ended {
            return;
        }
    }
    if matches!(length, Length::UpTo(_)) {
        let _ = sender.blocking_send(Err(Ended::Whole));
    }
}

impl Pulse {
    fn moved(&self, bytes: u64) {
        let mut state = self.0.lock().expect("no panic while locked");
        state.moved = Some(Instant::now());
        state.left = state.left.map(|left| left.saturating_sub(bytes));
    }

    fn waits(&self) {
        let mut state = self.0.lock().expect("no panic while locked");
        if state.left != Some(0) {
            state.moved = None;
        }
    }

    fn ended(&self) {
        let mut state = self.0.lock().expect("no panic while locked");
        state.moved = Some(Instant::now());
        state.left = Some(0);
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
                state.moved.unwrap_or_else(Instant::now) + if state.left == Some(0) { commit } else { stall }
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
