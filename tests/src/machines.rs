//! Machines that build the same: each has a store of its own, and all have one base image.

use std::ffi::OsStr;

use crate::{Outcome, Progress, TestEnv};

/// Stores beside each other, told apart by names.
pub struct Machines {
    /// The context and all files.
    pub env: TestEnv,
    variables: Vec<(&'static str, String)>,
}

impl Machines {
    /// Machines that know busybox and build `dockerfile`.
    #[track_caller]
    pub fn new(dockerfile: &str) -> Self {
        let env = TestEnv::new();
        env.busybox().file("Dockerfile", dockerfile);
        // One image for all: each import would have a time, and thereby a digest, of its own.
        let image = env.path("base.tar").display().to_string();
        env.kiln(["save", "-o", &*image, "busybox"]).run().success();
        Self { env, variables: Vec::new() }
    }

    /// The same with these variables in the environment of every command.
    #[must_use]
    pub fn with<const N: usize>(self, variables: [(&'static str, &str); N]) -> Self {
        let variables = variables.map(|(name, value)| (name, value.to_owned())).into();
        Self { variables, ..self }
    }

    /// A path of the machines' own, as text.
    pub fn place(&self, name: &str) -> String {
        self.env.path(name).display().to_string()
    }

    /// The store of a machine.
    #[track_caller]
    pub fn store(&self, machine: &str) -> String {
        let root = self.env.path(&format!("store-{machine}"));
        let text = root.display().to_string();
        if !root.exists() {
            let image = self.place("base.tar");
            self.env.kiln(["--root", &*text, "load", "-i", &*image]).run().success();
        }
        text
    }

    /// A kiln command on a machine.
    #[track_caller]
    pub fn on<S: AsRef<OsStr>>(&self, machine: &str, words: impl IntoIterator<Item = S>) -> Outcome {
        let root = ["--root".to_owned(), self.store(machine)].map(Into::into);
        let words = words.into_iter().map(|word| word.as_ref().to_owned());
        let command = self.env.kiln(root.into_iter().chain(words));
        self.variables.iter().fold(command, |command, (name, value)| command.env(name, value)).run()
    }

    /// A build of the context on a machine, which says what it does in status lines.
    #[track_caller]
    pub fn build<const N: usize>(&self, machine: &str, arguments: [&str; N]) -> Outcome {
        let context = self.place("context");
        let words = ["build", "--progress=rawjson"].into_iter().chain(arguments).chain([&*context]);
        self.on(machine, words)
    }
}

/// The steps of the Dockerfile that a build with status lines has performed. Sources and exports are none.
#[track_caller]
pub fn steps_ran(build: &Outcome) -> Vec<String> {
    let progress = Progress::read(&build.stderr);
    assert!(!progress.steps.is_empty(), "no status lines in {build}");
    let runs = |name: &&str| ["RUN ", "COPY ", "ADD ", "WORKDIR "].iter().any(|word| name.contains(word));
    progress.ran().into_iter().filter(runs).map(str::to_owned).collect()
}
