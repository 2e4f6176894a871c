//! A world with busybox whose containers do not outlive the test, however it ends.

use std::ops::Deref;
use std::time::{Duration, Instant};

use kiln_tests::{Outcome, TestEnv};
use serde_json::Value;

/// A [`TestEnv`] with busybox in it.
pub(crate) struct World {
    env: TestEnv,
}

impl Deref for World {
    type Target = TestEnv;
    fn deref(&self) -> &TestEnv {
        &self.env
    }
}

impl World {
    /// As the user who runs the tests.
    pub(crate) fn new() -> Self {
        Self::of(TestEnv::new())
    }

    /// In this environment.
    pub(crate) fn of(env: TestEnv) -> Self {
        env.busybox();
        Self { env }
    }

    /// As root and as an ordinary user.
    pub(crate) fn each() -> Vec<Self> {
        let mut envs = vec![TestEnv::new()];
        if kiln_tests::is_root() {
            envs.extend(TestEnv::rootless());
        }
        envs.into_iter().map(Self::of).collect()
    }

    /// Runs `kiln` with words that are separated by blanks.
    #[track_caller]
    pub(crate) fn line(&self, words: &str) -> Outcome {
        self.env.kiln(words.split(' ')).run()
    }

    /// Runs `kiln`.
    #[track_caller]
    pub(crate) fn words(&self, words: &[&str]) -> Outcome {
        self.env.kiln(words).run()
    }

    /// A container in the background that runs a script: its id.
    #[track_caller]
    pub(crate) fn background(&self, flags: &str, script: &str) -> String {
        let mut words = vec!["run", "-d"];
        words.extend(flags.split(' ').filter(|word| !word.is_empty()));
        words.extend(["busybox", "sh", "-c", script]);
        self.words(&words).success().stdout().trim().to_owned()
    }

    /// What `inspect` says of one container.
    #[track_caller]
    pub(crate) fn inspect(&self, container: &str) -> Value {
        self.words(&["inspect", container]).success().json()[0].clone()
    }

    /// One field of it.
    #[track_caller]
    pub(crate) fn field(&self, container: &str, template: &str) -> String {
        self.words(&["inspect", "--format", template, container]).success().stdout().trim().to_owned()
    }

    /// Asks until `holds` of what `inspect` says; ten seconds are more than enough.
    #[track_caller]
    pub(crate) fn until(&self, container: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let patience = Instant::now() + Duration::from_secs(10);
        loop {
            let value = self.inspect(container);
            if holds(&value) {
                return value;
            }
            assert!(Instant::now() < patience, "it never came: {value:#}");
            std::thread::sleep(Duration::from_millis(20)); // the state is a file of another process
        }
    }

    /// Waits until the log of a container has this text.
    #[track_caller]
    pub(crate) fn until_logged(&self, container: &str, text: &str) {
        let patience = Instant::now() + Duration::from_secs(10);
        while !self.words(&["logs", container]).success().text().contains(text) {
            assert!(Instant::now() < patience, "{container} never wrote {text}");
            std::thread::sleep(Duration::from_millis(20)); // the log is a file of another process
        }
    }

    /// Removes all containers, and their volumes that nobody named.
    pub(crate) fn tidy(&self) {
        if self.kept() == 0 {
            return;
        }
        let all = self.env.kiln(["ps", "-aq", "--no-trunc"]).run().stdout();
        let all: Vec<&str> = all.split_whitespace().collect();
        if !all.is_empty() {
            self.env.kiln([&["rm", "-f", "-v"], all.as_slice()].concat()).run();
        }
    }

    /// Names in `containers/` of the store that are containers.
    pub(crate) fn kept(&self) -> usize {
        let Ok(entries) = std::fs::read_dir(self.store().join("containers")) else { return 0 };
        entries.flatten().filter(|entry| entry.file_name() != "names").count()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.tidy();
    }
}
