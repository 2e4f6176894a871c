//! Progress for people and for machines. Events come in from any thread; one thread draws.

mod internal;
mod pause;
mod plain;
mod rawjson;
mod steps;
mod tty;

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use kiln_core::{Event, Progress};

pub(crate) use self::internal::InternalStep;
use self::pause::Pause;
pub(crate) use self::pause::Paused;

use crate::environment::{Environment, now, stderr_is_terminal};

/// How progress is shown: `--progress`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ProgressMode {
    /// `tty` on a terminal, `plain` otherwise.
    Auto,
    /// Lines, as BuildKit's.
    Plain,
    /// A picture that is drawn again and again.
    Tty,
    /// Nothing.
    Quiet,
    /// Nothing, as buildx spells it too.
    None,
    /// BuildKit's status messages, one JSON document a line, on standard error.
    Rawjson,
}

/// What draws events.
trait Display: Send {
    /// Takes note of an event, and of when it happened since the build began.
    fn event(&mut self, at: Duration, event: &Event);
    /// Draws what is due; called about ten times a second.
    fn tick(&mut self, _at: Duration) {}
    /// Leaves the terminal to somebody else; the next `tick` takes it again.
    fn pause(&mut self) {}
    /// Draws the end.
    fn finish(&mut self, _at: Duration) {}
}

struct Quiet;

impl Display for Quiet {
    fn event(&mut self, _at: Duration, _event: &Event) {}
}

/// What the drawer is told.
enum Message {
    Event(Instant, Event),
    Pause(Pause),
}

/// Events that may wait to be drawn: a step that writes faster than they are drawn waits, and kiln's memory stays small.
const WAITING: usize = 256;

/// The sender's side: hand it to whoever emits events, and [`close`](Reporter::close) it before printing a result.
#[derive(Debug)]
pub(crate) struct Reporter {
    sender: Mutex<Option<SyncSender<Message>>>,
    drawer: Mutex<Option<JoinHandle<()>>>,
}

impl Reporter {
    /// Starts drawing. `title` heads the picture: `Building`.
    pub(crate) fn start(mode: ProgressMode, environment: &Environment, title: &'static str) -> Self {
        let mode = match (mode, environment.get("BUILDKIT_PROGRESS")) {
            (ProgressMode::Auto, Some("plain")) => ProgressMode::Plain,
            (ProgressMode::Auto, Some("tty")) => ProgressMode::Tty,
            (ProgressMode::Auto, Some("quiet" | "none")) => ProgressMode::Quiet,
            (ProgressMode::Auto, Some("rawjson")) => ProgressMode::Rawjson,
            (mode, _) => mode,
        };
        let color = !environment.no_color();
        let display: Box<dyn Display> = match mode {
            ProgressMode::Quiet | ProgressMode::None => Box::new(Quiet),
            ProgressMode::Rawjson => Box::new(rawjson::RawJson::new(now())),
            ProgressMode::Tty => Box::new(tty::Tty::new(title, color)),
            ProgressMode::Auto if stderr_is_terminal() && environment.get("TERM") != Some("dumb") => {
                Box::new(tty::Tty::new(title, color))
            }
            ProgressMode::Auto | ProgressMode::Plain => Box::new(plain::Plain::new()),
        };
        let (sender, receiver) = sync_channel(WAITING);
        let started = Instant::now();
        let drawer = std::thread::Builder::new()
            .name("progress".to_owned())
            .spawn(move || draw(display, &receiver, started))
            .ok();
        Self { sender: Mutex::new(Some(sender)), drawer: Mutex::new(drawer) }
    }

    /// Draws nothing until what this gives is dropped. Everything that was emitted before has been taken note of.
    pub(crate) fn pause(&self) -> Option<Paused> {
        let (pause, paused) = Pause::new();
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        sender.send(Message::Pause(pause)).ok()?;
        Some(paused.begun())
    }

    /// Draws the end and waits until it is drawn. Events that come later are lost.
    pub(crate) fn close(&self) {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(drawer) = self.drawer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A drawer that panicked has drawn all it ever will.
            let _ = drawer.join();
        }
    }
}

impl Progress for Reporter {
    fn emit(&self, event: Event) {
        if let Some(sender) = &*self.sender.lock().unwrap_or_else(PoisonError::into_inner) {
            // A drawer that is gone has nobody to tell.
            let _ = sender.send(Message::Event(Instant::now(), event.without_credentials()));
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.close();
    }
}

fn draw(mut display: Box<dyn Display>, events: &Receiver<Message>, started: Instant) {
    const FRAME: Duration = Duration::from_millis(100);
    let mut due = Instant::now() + FRAME;
    loop {
        match events.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Ok(Message::Event(at, event)) => display.event(at.saturating_duration_since(started), &event),
            Ok(Message::Pause(pause)) => pause.wait(&mut *display, events, started),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if Instant::now() >= due {
            display.tick(started.elapsed());
            due = Instant::now() + FRAME;
        }
    }
    display.finish(started.elapsed());
}

/// Writes the events of a past build to standard output as plain lines.
pub(crate) fn replay_plain(events: &[(Duration, Event)]) {
    replay(&mut plain::Plain::to(Box::new(std::io::stdout())), events);
}

/// Writes the events of a past build to standard output as BuildKit's status messages.
pub(crate) fn replay_rawjson(events: &[(Duration, Event)], began: SystemTime) {
    replay(&mut rawjson::RawJson::to(Box::new(std::io::stdout()), began), events);
}

fn replay(display: &mut dyn Display, events: &[(Duration, Event)]) {
    for (at, event) in events {
        display.event(*at, event);
    }
    display.finish(events.last().map_or(Duration::ZERO, |(at, _)| *at));
}

/// A time of the drawing as wall-clock time.
fn wall(started: SystemTime, at: Duration) -> SystemTime {
    started + at
}

/// `12.3MB`, as Docker writes sizes.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1000.0 && unit < UNITS.len() - 1 {
        value /= 1000.0;
        unit += 1;
    }
    match (unit, value) {
        (0, _) => format!("{bytes}B"),
        (_, v) if v >= 100.0 => format!("{v:.0}{}", UNITS[unit]),
        (_, v) if v >= 10.0 => format!("{v:.1}{}", UNITS[unit]),
        (_, v) => format!("{v:.2}{}", UNITS[unit]),
    }
}

/// Replaces what would move a terminal's cursor or change its colours; tabs become blanks.
fn printable(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '\u{1b}' => {
                // A control sequence: up to its final letter.
                if characters.next_if_eq(&'[').is_some() {
                    while characters.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
                }
            }
            '\t' => text.push_str("    "),
            c if c.is_control() => {}
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, text) in
            [(0, "0B"), (999, "999B"), (1_000, "1.00kB"), (12_345, "12.3kB"), (999_900_000, "1000MB")]
        {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn control_sequences_do_not_reach_the_picture() {
        assert_eq!(printable("a\u{1b}[31mred\u{1b}[0m\tb\u{7}\r"), "ared    b");
    }
}
