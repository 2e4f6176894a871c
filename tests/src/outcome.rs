//! How a command ended.

use std::process::Output;

/// A finished command: its words, exit code, and what it wrote.
#[derive(Debug)]
pub struct Outcome {
    /// The command as one would type it.
    pub command: String,
    /// The exit code; 128 and the number for a signal, as shells count.
    pub code: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// What a command that was started in a way of its own has come to.
    pub fn new(command: String, output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let status = output.status;
        Self {
            command,
            code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Standard output as text.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Both streams, for looking for a word wherever it is printed.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout(), self.stderr)
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_slice(&self.stdout) {
            Ok(value) => value,
            Err(error) => panic!("no JSON ({error}) from {self}"),
        }
    }

    /// Requires exit code 0.
    #[track_caller]
    pub fn success(self) -> Self {
        assert!(self.code == 0, "should have succeeded: {self}");
        self
    }

    /// Requires that it failed with `code`, and without a panic.
    #[track_caller]
    pub fn failure(self, code: i32) -> Self {
        assert!(!self.stderr.contains("panicked at"), "panicked: {self}");
        assert!(self.code == code, "should have failed with {code}: {self}");
        self
    }

    /// Requires each of `words` in what it wrote.
    #[track_caller]
    pub fn says<const N: usize>(self, words: [&str; N]) -> Self {
        let text = self.text();
        for word in words {
            assert!(text.contains(word), "should say `{word}`: {self}");
        }
        self
    }

    /// Requires that none of `words` is in what it wrote.
    #[track_caller]
    pub fn says_not<const N: usize>(self, words: [&str; N]) -> Self {
        let text = self.text();
        for word in words {
            assert!(!text.contains(word), "should not say `{word}`: {self}");
        }
        self
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let out = self.stdout();
        let shown: String = out.chars().take(4000).collect();
        write!(
            f,
            "`{}`, exit code {}\n--- stdout\n{shown}\n--- stderr\n{}",
            self.command, self.code, self.stderr
        )
    }
}
