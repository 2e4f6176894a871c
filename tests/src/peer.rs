//! Programs that read what kiln wrote: skopeo, umoci, podman, crun, docker-registry.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;

/// Whether the tests run as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says that a test is skipped and why. Under `make test`, which installs all that tests need, that is a failure.
#[track_caller]
pub fn skipped(why: &str) {
    assert!(std::env::var_os("KILN_TESTS_REQUIRE_ALL").is_none(), "this may not be skipped here: {why}");
    println!("skipped: {why}");
}

/// A program of the machine.
#[derive(Debug, Clone)]
pub struct Peer {
    program: PathBuf,
    first: Vec<String>,
}

impl Peer {
    /// Looks for a program; if it is absent, the test is skipped.
    #[track_caller]
    pub fn find(name: &str) -> Option<Self> {
        let found = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
            .iter()
            .map(|dir| Path::new(dir).join(name))
            .find(|path| path.is_file());
        if found.is_none() {
            skipped(&format!("`{name}` is not installed"));
        }
        Some(Self { program: found?, first: Vec::new() })
    }

    /// podman with its storage in `dir`, if it can run here (as root).
    #[track_caller]
    pub fn podman(dir: &Path) -> Option<Self> {
        if !is_root() {
            skipped("podman is only driven as root");
            return None;
        }
        let podman = Self::find("podman")?;
        Self::find("crun")?;
        // crun refuses a hybrid cgroup layout; a view of cgroup2 alone, in a mount namespace of its own, it takes.
        let script = "mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec \"$@\"";
        let mut first: Vec<String> =
            ["--mount", "sh", "-c", script, "sh"].iter().map(ToString::to_string).collect();
        first.push(podman.program.display().to_string());
        for (flag, name) in [("--root", "root"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
            first.extend([flag.to_owned(), dir.join("podman").join(name).display().to_string()]);
        }
        for word in "--runtime crun --storage-driver overlay --cgroup-manager cgroupfs --events-backend none"
            .split_whitespace()
        {
            first.push(word.to_owned());
        }
        Some(Self { program: Self::find("unshare")?.program, first })
    }

    /// The arguments of `podman run` that a machine without cgroup controllers and raised limits grants.
    pub const PODMAN_RUN: [&str; 9] = [
        "run",
        "--rm",
        "--network=host",
        "--cgroups=disabled",
        "--pids-limit=0",
        "--ulimit=nofile=1024:1024",
        "--ulimit=nproc=1000:1000",
        "--log-driver=none",
        "--pull=never",
    ];

    /// The same program, with `first` before all other arguments.
    #[must_use]
    pub fn with<const N: usize>(mut self, first: [&str; N]) -> Self {
        self.first.extend(first.map(str::to_owned));
        self
    }

    /// A command of it, not started yet.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.first);
        command
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Outcome {
        let mut command = self.command();
        command.args(arguments).stdin(std::process::Stdio::null());
        let words = format!("{command:?}");
        match command.output() {
            Ok(output) => Outcome::new(words, output),
            Err(error) => panic!("{words}: {error}"),
        }
    }
}
