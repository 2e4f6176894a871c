//! A busybox root, and steps in it.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use kiln_executor::isolation::{Isolation, IsolationRequest, Rung, enter};
use kiln_executor::process::User;
use kiln_executor::sandbox::{
    Bundle, Exit, Io, Profile, Running, Sandbox as _, SandboxError, Stream, Surroundings, Tree, Writable,
    default_spec, mount_points,
};
use tempfile::TempDir;

/// An entered isolation, and a store to take layers from.
pub(crate) struct Fixture {
    pub(crate) isolation: Isolation,
    pub(crate) store: TempDir,
}

/// A step to be run: changed as a case likes, then run.
pub(crate) struct Step<'a> {
    fixture: &'a Fixture,
    pub(crate) bundle: Bundle,
    pub(crate) upper: PathBuf,
}

/// What a step did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) exit: Exit,
    pub(crate) output: String,
}

/// The applets that cases use.
const APPLETS: &[&str] = &[
    "sh", "cat", "ls", "echo", "id", "hostname", "mount", "umount", "sleep", "kill", "touch", "mkdir", "rm",
    "rmdir", "mknod", "chroot", "unshare", "stat", "readlink", "ps", "grep", "ln", "cp", "mv", "chmod",
    "chown", "dd", "nc", "ip", "wc", "env", "pwd", "true", "false", "head", "tr", "sort", "find", "test",
    "tty", "stty", "setsid", "nproc", "seq",
];

impl Fixture {
    pub(crate) fn enter() -> Result<Self, String> {
        // A process that is going to be killed leaves its store to the one that kills it.
        let marker = crate::victim_marker().map(PathBuf::from);
        Self::enter_with_store_in(marker.as_deref().and_then(Path::parent).unwrap_or(Path::new("/tmp")))
    }

    pub(crate) fn enter_with_store_in(place: &Path) -> Result<Self, String> {
        let flag = |name: &str| std::env::args().any(|argument| argument == name);
        let wanted = match (flag(crate::AS_USER), flag(crate::ONE_ID)) {
            (true, true) => Some(Rung::SingleId),
            (true, false) => Some(Rung::SubordinateIds),
            (false, _) => None,
        };
        let isolation = enter(&IsolationRequest { wanted, login: None, ..IsolationRequest::default() })
            .map_err(|error| error.to_string())?;
        let store = tempfile::Builder::new().prefix("kiln-sandbox").tempdir_in(place);
        let store = store.map_err(|error| error.to_string())?;
        let fixture = Self { isolation, store };
        mount_points(&fixture.path("points")).expect("the store is writable");
        fixture.make_base();
        Ok(fixture)
    }

    pub(crate) fn root(&self) -> bool {
        self.isolation.rung == Rung::Root
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.store.path().join(name)
    }

    fn make_base(&self) {
        let base = self.path("base");
        for directory in ["bin", "etc", "tmp", "root", "var"] {
            fs::create_dir_all(base.join(directory)).expect("the store is writable");
        }
        fs::copy("/bin/busybox", base.join("bin/busybox")).expect("busybox-static is installed");
        for applet in APPLETS {
            symlink("busybox", base.join("bin").join(applet)).expect("the store is writable");
        }
        fs::set_permissions(base.join("tmp"), fs::Permissions::from_mode(0o1777)).expect("it was just made");
        fs::write(base.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nbob:x:1000:1000::/home/bob:/bin/sh\n")
            .unwrap();
    }

    /// A step with the default profile that runs `script` in the shell.
    pub(crate) fn step(&self, script: &str) -> Step<'_> {
        self.step_of(&["/bin/sh", "-c", script])
    }

    pub(crate) fn step_of(&self, args: &[&str]) -> Step<'_> {
        let directory = tempfile::Builder::new().prefix("step").tempdir_in(self.store.path()).unwrap().keep();
        let (upper, work) = (directory.join("upper"), directory.join("work"));
        fs::create_dir(&upper).unwrap();
        fs::create_dir(&work).unwrap();
        let root = Tree::Overlay {
            lowers: vec![self.path("points"), self.path("base")],
            upper: Some(Writable { upper: upper.clone(), work }),
        };
        let spec = default_spec(&surroundings(args)).expect("the default is valid");
        let bundle = Bundle { spec, root, grafts: Vec::new(), profile: Profile::Default };
        Step { fixture: self, bundle, upper }
    }

    /// The output of a script that must succeed.
    pub(crate) fn output(&self, script: &str) -> String {
        let done = self.step(script).run();
        assert!(done.exit.success(), "{script}: {done:?}");
        done.output
    }
}

pub(crate) fn surroundings(args: &[&str]) -> Surroundings {
    Surroundings {
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
        env: vec!["PATH=/usr/bin:/bin".to_owned()],
        cwd: "/".to_owned(),
        user: User { uid: 0, gid: 0, groups: Vec::new(), home: "/root".to_owned() },
        hostname: "buildkitsandbox".to_owned(),
        own_network: false,
        shm_size: 64 << 20,
        insecure: false,
    }
}

impl Step<'_> {
    /// Replaces the specification by the default one for changed surroundings.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Surroundings)) -> Self {
        let args = self.bundle.spec.process().as_ref().and_then(|p| p.args().clone()).unwrap_or_default();
        let mut wanted = surroundings(&[]);
        wanted.args = args;
        change(&mut wanted);
        self.bundle.spec = default_spec(&wanted).expect("the default is valid");
        self
    }

    pub(crate) fn graft(mut self, graft: kiln_executor::sandbox::Graft) -> Self {
        self.bundle.grafts.push(graft);
        self
    }

    pub(crate) fn start(&self, io: Io) -> Result<Running, SandboxError> {
        self.fixture.isolation.launcher.start(&self.bundle, io)
    }

    /// Runs it to its end with both outputs in one pipe.
    pub(crate) fn try_run(&self) -> Result<Done, SandboxError> {
        let (mut reader, writer) = std::io::pipe().expect("a pipe can be made");
        let again = writer.try_clone().expect("a pipe can be copied");
        let mut running = self.start(Io::Streams {
            stdin: Stream::Null,
            stdout: Stream::Given(writer.into()),
            stderr: Stream::Given(again.into()),
        })?;
        let mut output = String::new();
        reader.read_to_string(&mut output).expect("steps of these tests write text");
        Ok(Done { exit: running.wait()?, output })
    }

    pub(crate) fn run(&self) -> Done {
        self.try_run().unwrap_or_else(|error| panic!("{}", chain(&error)))
    }

    /// What is in its upper directory, sorted, relative.
    pub(crate) fn changes(&self) -> Vec<String> {
        let mut found = Vec::new();
        list(&self.upper, &self.upper, &mut found);
        found.sort();
        found
    }
}

fn list(top: &Path, directory: &Path, into: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        into.push(path.strip_prefix(top).unwrap().display().to_string());
        if entry.file_type().unwrap().is_dir() {
            list(top, &path, into);
        }
    }
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    text
}

/// The user that the rootless tests run as; made if it is missing.
const USER: &str = "kiln-test";

/// Runs this program as an ordinary user with subordinate ids.
pub(crate) fn as_ordinary_user(arguments: &[&str]) -> ExitCode {
    // Other tests may be about the same.
    let lock = fs::File::create("/tmp/kiln-test-user.lock").expect("/tmp is writable");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("a file can be locked");
    let listed = |file: &str| fs::read_to_string(file).is_ok_and(|text| text.contains(&format!("{USER}:")));
    if !listed("/etc/passwd") {
        let _ = Command::new("useradd").args(["--no-create-home", "--shell", "/bin/sh", USER]).status();
    }
    if !listed("/etc/subuid") || !listed("/etc/subgid") {
        let ranges = ["--add-subuids", "5000000-5065535", "--add-subgids", "5000000-5065535", USER];
        let _ = Command::new("usermod").args(ranges).status();
    }
    drop(lock);
    // The program may lie where that user cannot go.
    let copy = tempfile::Builder::new().prefix("kiln-rootless").tempdir_in("/tmp").expect("/tmp is writable");
    fs::set_permissions(copy.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = copy.path().join("sandbox");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let status = Command::new("setpriv")
        .args(["--reuid", USER, "--regid", USER, "--clear-groups", "--inh-caps=-all", "--bounding-set=+all"])
        .arg(&program)
        .args(arguments)
        .status()
        .expect("setpriv is installed");
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
