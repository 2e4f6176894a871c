//! Builds whose result is a directory.

use std::fs;
use std::path::PathBuf;

use kiln_tests::{Outcome, Progress, TestEnv};
use tempfile::TempDir;

/// A build and the directory it made.
pub(crate) struct Made {
    pub(crate) outcome: Outcome,
    dir: TempDir,
}

impl Made {
    /// Builds the world's own context.
    pub(crate) fn new(env: &TestEnv, words: &[&str]) -> Self {
        Self::of(env, words, &env.path("context").display().to_string())
    }

    /// Builds another context: a URL.
    pub(crate) fn of(env: &TestEnv, words: &[&str], context: &str) -> Self {
        Self::with_input(env, words, context, "")
    }

    /// Builds with something on standard input.
    pub(crate) fn with_input(
        env: &TestEnv,
        words: &[&str],
        context: &str,
        input: impl Into<Vec<u8>>,
    ) -> Self {
        let dir = tempfile::tempdir_in(env.path(".")).expect("mkdir");
        let output = format!("--output=type=local,dest={}", dir.path().join("out").display());
        let all = ["build", "--progress=rawjson", &output].into_iter().chain(words.iter().copied());
        let command = env.kiln(all.chain([context]));
        let outcome = command.through(["timeout", "--kill-after=5", "120"]).stdin(input).run();
        Self { outcome, dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("out").join(name)
    }

    /// Requires that it succeeded.
    #[track_caller]
    pub(crate) fn success(self) -> Self {
        Self { outcome: self.outcome.success(), dir: self.dir }
    }

    /// Requires that it failed, saying `words`.
    #[track_caller]
    pub(crate) fn fails(self, words: &str) {
        self.outcome.failure(1).says([words]);
    }

    /// The content of a file of a build that succeeded.
    #[track_caller]
    pub(crate) fn content(&self, name: &str) -> String {
        assert_eq!(self.outcome.code, 0, "{}", self.outcome);
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// What lies at a path, without following a link.
    #[track_caller]
    pub(crate) fn metadata(&self, name: &str) -> fs::Metadata {
        self.path(name).symlink_metadata().unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Whether a path is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.path(name).symlink_metadata().is_ok()
    }

    /// The steps that were performed, not answered from the cache.
    pub(crate) fn ran(&self) -> Vec<String> {
        Progress::read(&self.outcome.stderr).ran().into_iter().map(str::to_owned).collect()
    }
}

/// Makes an image of the local store from a Dockerfile that reads no context.
#[track_caller]
pub(crate) fn image(env: &TestEnv, name: &str, dockerfile: &str) {
    env.kiln(["build", "--progress=plain", "--tag", name, "-"]).stdin(dockerfile).run().success();
}

/// busybox, and what the scenarios ask of Alpine Linux: a file with its version.
#[track_caller]
pub(crate) fn busybox_and_alpine(env: &TestEnv) {
    env.busybox();
    image(env, "alpine", "FROM busybox\nCOPY <<EOF /etc/alpine-release\n3.20.0\nEOF\n");
}
