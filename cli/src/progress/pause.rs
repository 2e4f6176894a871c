//! Leaves the terminal to somebody else for a while.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::{Display, Message};

/// Events that are kept meanwhile; more wait where they come from.
const KEPT: usize = 4096;

/// The drawer's side.
pub(super) struct Pause {
    begun: Sender<()>,
    over: Receiver<()>,
}

/// Nothing is drawn until this is dropped.
#[derive(Debug)]
pub(crate) struct Paused {
    begun: Receiver<()>,
    _over: Sender<()>,
}

impl Pause {
    pub(super) fn new() -> (Self, Paused) {
        let (begun, hears_begun) = channel();
        let (over, hears_over) = channel();
        (Self { begun, over: hears_over }, Paused { begun: hears_begun, _over: over })
    }

    /// Keeps what happens until the pause is over, and shows it then.
    pub(super) fn wait(self, display: &mut dyn Display, events: &Receiver<Message>, started: Instant) {
        const LOOK: Duration = Duration::from_millis(50);
        display.pause();
        // Nobody waits for it any more: the pause is over at once.
        let _ = self.begun.send(());
        let (mut kept, mut next) = (Vec::new(), None);
        while let Err(RecvTimeoutError::Timeout) = self.over.recv_timeout(LOOK) {
            while next.is_none() && kept.len() < KEPT {
                match events.try_recv() {
                    Ok(Message::Event(at, event)) => kept.push((at, event)),
                    Ok(Message::Pause(pause)) => next = Some(pause),
                    Err(_) => break,
                }
            }
        }
        for (at, event) in kept {
            display.event(at.saturating_duration_since(started), &event);
        }
        if let Some(pause) = next {
            pause.wait(display, events, started);
        }
    }
}

impl Paused {
    /// Waits until the terminal is free.
    pub(super) fn begun(self) -> Self {
        // A drawer that is gone leaves it free.
        let _ = self.begun.recv();
        self
    }
}
