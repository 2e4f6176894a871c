//! Progress as a picture on a terminal, in BuildKit's manner, drawn about ten times a second by indicatif.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use kiln_core::{Event, Outcome};

use super::steps::{Part, Step, Steps};
use super::{Display, printable, size};

/// How many of the last lines of a running step are shown.
const LOG_LINES: usize = 6;

/// The picture.
pub(super) struct Tty {
    title: &'static str,
    color: bool,
    steps: Steps,
    rows: Vec<ProgressBar>,
    area: MultiProgress,
    warnings: usize,
}

impl Tty {
    pub(super) fn new(title: &'static str, color: bool) -> Self {
        let area = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(20));
        Self { title, color, steps: Steps::default(), rows: Vec::new(), area, warnings: 0 }
    }

    /// All lines of the picture; `height` rows at most, the finished ones at the top left out first.
    fn frame(&self, at: Duration, width: usize, height: usize) -> Vec<String> {
        let done = self.steps.steps.iter().filter(|step| step.completed.is_some()).count();
        let total = self.steps.queued.max(self.steps.steps.len());
        let finished = if done == total && total > 0 { " FINISHED" } else { "" };
        let head = format!("[+] {} {:.1}s ({done}/{total}){finished}", self.title, at.as_secs_f64());
        let mut lines = Vec::new();
        for step in &self.steps.steps {
            self.step(step, at, width, &mut lines);
        }
        let skip = lines.len().saturating_sub(height.saturating_sub(1).max(1));
        lines.drain(..skip);
        lines.insert(0, self.paint(&head, "1"));
        lines
    }

    fn step(&self, step: &Step, at: Duration, width: usize, lines: &mut Vec<String>) {
        let (mark, color) = match &step.completed {
            Some((_, Outcome::Cached)) => ("CACHED ", "34"),
            Some((_, Outcome::Done)) => ("", "34"),
            Some((_, Outcome::Failed(_))) => ("ERROR ", "31"),
            Some((_, Outcome::Canceled)) => ("CANCELED ", "33"),
            None => ("", "0"),
        };
        let text = format!(" => {mark}{}", printable(&step.name));
        lines.push(self.paint(&row(&text, step.elapsed(at), width), color));
        if step.completed.as_ref().is_some_and(|(_, outcome)| *outcome == Outcome::Cached) {
            return;
        }
        for part in &step.parts {
            let elapsed = part.completed.unwrap_or(at).saturating_sub(part.started);
            lines.push(self.paint(&row(&format!(" => => {}", part_text(part)), elapsed, width), color));
        }
        let failed = matches!(step.completed, Some((_, Outcome::Failed(_))));
        if step.completed.is_none() || failed {
            let first = step.tail.len().saturating_sub(LOG_LINES);
            for line in step.tail.iter().skip(first) {
                let line = printable(line);
                lines.push(self.paint(&clip(&format!(" => => # {line}"), width), "2"));
            }
        }
    }

    fn paint(&self, text: &str, code: &str) -> String {
        if self.color && code != "0" { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

fn part_text(part: &Part) -> String {
    match (part.current, part.total) {
        (0, 0) => part.id.clone(),
        (current, 0) => format!("{} {}", part.id, size(current)),
        (current, total) => {
            const CELLS: u64 = 20;
            let filled = current.min(total) * CELLS / total.max(1);
            let bar: String = (0..CELLS).map(|cell| if cell < filled { '█' } else { '░' }).collect();
            let bar = if part.completed.is_some() { String::new() } else { format!(" {bar}") };
            format!("{}{bar} {} / {}", part.id, size(current), size(total))
        }
    }
}

/// `text` on the left and a duration on the right, `width` columns in all.
fn row(text: &str, elapsed: Duration, width: usize) -> String {
    let time = format!("{:.1}s", elapsed.as_secs_f64());
    let room = width.saturating_sub(time.len() + 1);
    let text = clip(text, room);
    let gap = room.saturating_sub(text.chars().count()) + 1;
    format!("{text}{}{time}", " ".repeat(gap))
}

fn clip(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// Columns and rows of the terminal on standard error.
fn terminal_size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(std::io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            (usize::from(size.ws_col), usize::from(size.ws_row))
        }
        _ => (80, 24),
    }
}

impl Display for Tty {
    fn event(&mut self, at: Duration, event: &Event) {
        if matches!(event, Event::Warning { .. }) {
            self.warnings += 1;
        }
        self.steps.apply(at, event);
    }

    fn tick(&mut self, at: Duration) {
        let (width, height) = terminal_size();
        // The last column stays free: a full line would wrap on some terminals.
        let lines = self.frame(at, width.saturating_sub(1), height.saturating_sub(1));
        while self.rows.len() < lines.len() {
            let style =
                ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
            let row = self.area.add(ProgressBar::new_spinner().with_style(style));
            self.rows.push(row);
        }
        for (index, row) in self.rows.iter().enumerate() {
            row.set_message(lines.get(index).cloned().unwrap_or_default());
        }
    }

    fn pause(&mut self) {
        // A terminal that is gone has nothing to clear.
        let _ = self.area.clear();
    }

    fn finish(&mut self, at: Duration) {
        // The picture's rows are taken away, and the whole of it is left as plain text, however long.
        let _ = self.area.clear();
        if self.steps.steps.is_empty() {
            return;
        }
        let (width, _) = terminal_size();
        for line in self.frame(at, width.saturating_sub(1), usize::MAX) {
            eprintln!("{line}");
        }
        if self.warnings > 0 {
            let plural = if self.warnings == 1 { "" } else { "s" };
            eprintln!("\n {} warning{plural} found (use --check to see them)", self.warnings);
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use kiln_core::{StepId, Stream};

    use super::*;

    #[test]
    fn the_picture_shows_marks_times_and_the_last_lines() {
        let mut tty = Tty::new("Building", false);
        let (a, b) = (StepId::internal("a"), StepId::internal("b"));
        for (at, event) in [
            (0, Event::Queued { step: a, name: "[1/2] FROM busybox".into(), inputs: vec![] }),
            (0, Event::Queued { step: b, name: "[2/2] RUN make\tall".into(), inputs: vec![a] }),
            (0, Event::Completed { step: a, outcome: Outcome::Cached }),
            (100, Event::Started { step: b }),
            (
                200,
                Event::Status { step: b, id: "sha256:12".into(), current: 5_000, total: 10_000, done: false },
            ),
            (300, Event::Log { step: b, stream: Stream::Stderr, data: b"cc a.c\ncc b.c\n".to_vec() }),
        ] {
            tty.event(Duration::from_millis(at), &event);
        }
        let frame = tty.frame(Duration::from_millis(2100), 60, 20).join("\n");
        expect![[r#"
            [+] Building 2.1s (1/2)
             => CACHED [1/2] FROM busybox                           0.0s
             => [2/2] RUN make    all                               2.0s
             => => sha256:12 ██████████░░░░░░░░░░ 5.00kB / 10.0kB   1.9s
             => => # cc a.c
             => => # cc b.c"#]]
        .assert_eq(&frame);
        assert_eq!(tty.frame(Duration::from_millis(2100), 60, 3).len(), 3);
    }
}
