//! Progress as lines, for logs of CI: BuildKit's plain form.

use std::io::Write;
use std::time::Duration;

use kiln_core::{Event, Outcome};

use super::steps::{Change, Part, Steps};
use super::{Display, size};

/// Writes lines to standard error.
pub(super) struct Plain {
    steps: Steps,
    /// The step that wrote last, if it is still open.
    current: Option<usize>,
    out: Box<dyn Write + Send>,
}

impl Plain {
    pub(super) fn new() -> Self {
        Self::to(Box::new(std::io::stderr()))
    }

    pub(super) fn to(out: Box<dyn Write + Send>) -> Self {
        Self { steps: Steps::default(), current: None, out }
    }

    /// Says which step the next lines are of.
    fn switch(&mut self, index: usize) {
        if self.current == Some(index) {
            return;
        }
        if let Some(before) = self.current.take() {
            let number = self.steps.steps[before].number;
            self.line(&format!("#{number} ...\n"));
        }
        let step = &self.steps.steps[index];
        let line = format!("#{} {}", step.number, step.name);
        self.line(&line);
        self.current = Some(index);
    }

    fn line(&mut self, text: &str) {
        // Nobody reads: the build goes on.
        let _ = writeln!(self.out, "{text}");
    }

    fn log(&mut self, index: usize, at: Duration, lines: &[String]) {
        let step = &self.steps.steps[index];
        let since = step.started.map_or(Duration::ZERO, |started| at.saturating_sub(started)).as_secs_f64();
        let number = step.number;
        for line in lines {
            self.line(&format!("#{number} {since:.3} {line}"));
        }
    }
}

fn part_line(part: &Part) -> String {
    let amount = match (part.current, part.total) {
        (0, 0) => String::new(),
        (current, 0) => format!(" {}", size(current)),
        (current, total) => format!(" {} / {}", size(current), size(total)),
    };
    let end = match part.completed {
        Some(completed) => format!(" {:.1}s done", completed.saturating_sub(part.started).as_secs_f64()),
        None => String::new(),
    };
    format!("{}{amount}{end}", part.id)
}

impl Display for Plain {
    fn event(&mut self, at: Duration, event: &Event) {
        match self.steps.apply(at, event) {
            Change::None => {}
            Change::Started(index) => self.switch(index),
            Change::Log(index, lines) => {
                if !lines.is_empty() {
                    self.switch(index);
                    self.log(index, at, &lines);
                }
            }
            Change::Part(index, part) => {
                // A line when a part is done: progress in between would flood a log.
                let step = &self.steps.steps[index];
                let part = &step.parts[part];
                if part.completed == Some(at) {
                    let line = format!("#{} {}", step.number, part_line(part));
                    self.switch(index);
                    self.line(&line);
                }
            }
            Change::Completed(index, rest) => {
                self.switch(index);
                self.log(index, at, &rest);
                let step = &self.steps.steps[index];
                let number = step.number;
                let Some((_, outcome)) = &step.completed else { return };
                let line = match outcome {
                    Outcome::Done => format!("#{number} DONE {:.1}s\n", step.elapsed(at).as_secs_f64()),
                    Outcome::Cached => format!("#{number} CACHED\n"),
                    Outcome::Canceled => format!("#{number} CANCELED\n"),
                    Outcome::Failed(error) => {
                        let mut text = format!("#{number} ERROR: {error}\n------\n > {}:\n", step.name);
                        let tail: Vec<&String> = step.tail.iter().collect();
                        for line in &tail[tail.len().saturating_sub(10)..] {
                            text.push_str(&format!("{line}\n"));
                        }
                        text + "------"
                    }
                };
                self.line(&line);
                self.current = None;
            }
        }
        if let Event::Warning { diagnostic, file } = event {
            self.current = None;
            let rule = diagnostic.rule.map_or(String::new(), |rule| format!("{rule}: "));
            let place = file.as_ref().map_or(String::new(), |file| {
                format!(" ({} line {})", file.name, file.position(diagnostic.span.start).0)
            });
            self.line(&format!("WARN: {rule}{}{place}\n", diagnostic.message));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use expect_test::expect;
    use kiln_core::{StepId, Stream};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(data);
            Ok(data.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn steps_that_run_together_say_whose_line_it_is() {
        let buffer = Buffer::default();
        let mut plain = Plain { steps: Steps::default(), current: None, out: Box::new(buffer.clone()) };
        let (a, b) = (StepId::internal("a"), StepId::internal("b"));
        let log =
            |step, data: &str| Event::Log { step, stream: Stream::Stdout, data: data.as_bytes().to_vec() };
        for (at, event) in [
            (0, Event::Queued { step: a, name: "[a 1/1] RUN x".into(), inputs: vec![] }),
            (0, Event::Queued { step: b, name: "[b 1/1] RUN y".into(), inputs: vec![] }),
            (0, Event::Started { step: a }),
            (1, Event::Started { step: b }),
            (100, log(a, "one\ntw")),
            (200, log(a, "o\n")),
            (300, Event::Completed { step: b, outcome: Outcome::Cached }),
            (400, Event::Completed { step: a, outcome: Outcome::Failed("exit code: 1".into()) }),
        ] {
            plain.event(Duration::from_millis(at), &event);
        }
        expect![[r#"
            #1 [a 1/1] RUN x
            #1 ...

            #2 [b 1/1] RUN y
            #2 ...

            #1 [a 1/1] RUN x
            #1 0.100 one
            #1 0.200 two
            #1 ...

            #2 [b 1/1] RUN y
            #2 CACHED

            #1 [a 1/1] RUN x
            #1 ERROR: exit code: 1
            ------
             > [a 1/1] RUN x:
            one
            two
            ------
        "#]]
        .assert_eq(&String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap());
    }
}
