//! What lies outside of the sandbox: a directory that kiln itself could read and change, and no step may.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use kiln_tests::{Outcome, TestEnv};

/// What stands in `outside/secret`.
pub(crate) const SECRET: &str = "a secret of the host";

/// A world with busybox, a directory outside of everything that a build is given, and how that looked before the attack.
pub(crate) struct Attacked {
    pub(crate) env: TestEnv,
    before: BTreeMap<String, String>,
}

impl Attacked {
    /// A world for each kind of user.
    pub(crate) fn each() -> Vec<Self> {
        TestEnv::each().into_iter().map(Self::new).collect()
    }

    fn new(env: TestEnv) -> Self {
        env.busybox();
        env.write("outside/secret", format!("{SECRET}\n"));
        env.write("outside/victim", "to be left as it is\n");
        env.write("outside/sub/target/kept", "kept\n");
        env.write("outside/empty/gone", "");
        fs::remove_file(env.path("outside/empty/gone")).expect("it was made");
        let before = listing(&env.path("outside"));
        Self { env, before }
    }

    /// The path of the directory outside.
    pub(crate) fn outside(&self) -> String {
        self.env.path("outside").display().to_string()
    }

    /// Builds a Dockerfile; it may fail or not, but the attack may not have succeeded.
    #[track_caller]
    pub(crate) fn build(&self, dockerfile: &str) -> Outcome {
        self.build_with(dockerfile, [])
    }

    /// The same with further arguments.
    #[track_caller]
    pub(crate) fn build_with<const N: usize>(&self, dockerfile: &str, arguments: [&str; N]) -> Outcome {
        self.env.file("Dockerfile", dockerfile);
        let words = ["--no-cache", "--output=type=cacheonly"].into_iter().chain(arguments);
        let context = self.env.path("context").display().to_string();
        let all = ["build", "--progress=plain"].into_iter().chain(words).chain([context.as_str()]);
        self.held(self.env.kiln(all).run())
    }

    /// Runs a command of kiln; it may fail or not, but the attack may not have succeeded.
    #[track_caller]
    pub(crate) fn kiln(&self, arguments: &[&str]) -> Outcome {
        self.held(self.env.kiln(arguments).run())
    }

    /// Requires that nothing outside was shown or changed, and that kiln did not panic.
    #[track_caller]
    pub(crate) fn held(&self, outcome: Outcome) -> Outcome {
        assert!(!outcome.text().contains(SECRET), "the secret was read: {outcome}");
        assert!(!outcome.stderr.contains("panicked at"), "{outcome}");
        let after = listing(&self.env.path("outside"));
        assert_eq!(self.before, after, "something outside was changed: {outcome}");
        outcome
    }
}

/// Each path below `top`: its type, mode, owner, modification time and content.
fn listing(top: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![top.to_owned()];
    while let Some(path) = waiting.pop() {
        let stat = fs::symlink_metadata(&path).expect("it is there");
        let content = if stat.is_dir() {
            waiting.extend(fs::read_dir(&path).expect("list").flatten().map(|entry| entry.path()));
            String::new()
        } else {
            fs::read_to_string(&path).unwrap_or_default()
        };
        let mode = stat.permissions().mode();
        let line = format!("{mode:o} {}:{} {} {content}", stat.uid(), stat.gid(), stat.mtime_nsec());
        found.insert(path.display().to_string(), line);
    }
    found
}
