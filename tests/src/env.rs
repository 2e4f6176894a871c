//! A test's own world: directory, store, environment, user.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::{Image, Outcome, busybox_tar, debian_tar, is_root, kiln_binary, skipped};

/// The unprivileged users that tests run as, without and with subordinate ids; `make setup-test` creates them.
const ROOTLESS_USER: &str = "kiln-test";
const SINGLE_ID_USER: &str = "kiln-single";

/// An ordinary user of this machine.
struct User {
    name: &'static str,
    uid: u32,
    gid: u32,
}

/// A directory with a build context in it, a store of its own, and the user who works with them.
pub struct TestEnv {
    dir: TempDir,
    user: Option<User>,
    isolation: Option<&'static str>,
}

impl Drop for TestEnv {
    /// kiln syncs and collects behind a command's back: what that makes while the directory is removed would stay.
    fn drop(&mut self) {
        let patience = Instant::now() + Duration::from_secs(1);
        while fs::remove_dir_all(self.dir.path()).is_err() && self.dir.path().exists() {
            if Instant::now() > patience {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl TestEnv {
    /// The same world with `--isolation` in every command.
    #[must_use]
    pub fn isolated(mut self, rung: &'static str) -> Self {
        self.isolation = Some(rung);
        self
    }

    /// A world for the user who runs the tests.
    #[expect(clippy::new_without_default, reason = "it makes directories, which is no default value")]
    pub fn new() -> Self {
        Self::with_user(None)
    }

    /// A world for an ordinary user with subordinate ids; if there is none, the test is skipped.
    #[track_caller]
    pub fn rootless() -> Option<Self> {
        if !is_root() {
            return Some(Self::new());
        }
        Some(Self::with_user(Some(user(ROOTLESS_USER)?)))
    }

    /// A world for an ordinary user without subordinate ids; if there is none, the test is skipped.
    #[track_caller]
    pub fn single_id() -> Option<Self> {
        if !is_root() {
            skipped("needs root, to become an ordinary user without subordinate ids");
            return None;
        }
        let user = user(SINGLE_ID_USER)?;
        let ranges = ["/etc/subuid", "/etc/subgid"].map(|file| fs::read_to_string(file).unwrap_or_default());
        if ranges.iter().any(|text| text.lines().any(|line| line.split(':').next() == Some(user.name))) {
            skipped(&format!("`{SINGLE_ID_USER}` has subordinate ids, and is to have none"));
            return None;
        }
        Some(Self::with_user(Some(user)))
    }

    fn with_user(user: Option<User>) -> Self {
        let env = Self { dir: tempfile::tempdir().expect("make a scratch directory"), user, isolation: None };
        fs::set_permissions(env.dir.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        env.own(env.dir.path());
        for dir in ["context", "home"] {
            env.make_dir(&env.path(dir));
        }
        env
    }

    /// A world for root, and one for an ordinary user with subordinate ids.
    pub fn each() -> Vec<Self> {
        let mut envs = vec![Self::new()];
        if is_root() {
            envs.extend(Self::rootless());
        }
        envs
    }

    /// A world for each kind of user that this machine has: those of [`Self::each`], and an ordinary one without subordinate
    /// ids.
    pub fn all() -> Vec<Self> {
        let mut envs = Self::each();
        if is_root() {
            envs.extend(Self::single_id());
        }
        envs
    }

    /// Whether kiln works without privileges here.
    pub fn is_rootless(&self) -> bool {
        self.user.is_some() || !is_root()
    }

    fn own(&self, path: &Path) {
        if let Some(User { uid, gid, .. }) = &self.user {
            lchown(path, Some(*uid), Some(*gid)).expect("chown");
        }
    }

    fn make_dir(&self, path: &Path) {
        if path.is_dir() {
            return;
        }
        self.make_dir(path.parent().expect("the scratch directory is there"));
        fs::create_dir(path).expect("mkdir");
        self.own(path);
    }

    /// A path in the scratch directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The store.
    pub fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// Writes a file of the build context.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        self.write(&format!("context/{name}"), content)
    }

    /// Writes a file anywhere in the scratch directory.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path(name);
        self.make_dir(path.parent().expect("a file is in a directory"));
        fs::write(&path, content).expect("write a file");
        self.own(&path);
        self
    }

    /// Makes a symbolic link in the build context.
    pub fn symlink(&self, name: &str, target: &str) -> &Self {
        let path = self.path("context").join(name);
        self.make_dir(path.parent().expect("a link is in a directory"));
        std::os::unix::fs::symlink(target, &path).expect("symlink");
        self.own(&path);
        self
    }

    /// Sets the mode of a file of the build context.
    pub fn mode(&self, name: &str, mode: u32) -> &Self {
        fs::set_permissions(self.path("context").join(name), fs::Permissions::from_mode(mode))
            .expect("chmod");
        self
    }

    /// Imports the busybox base image as `busybox`.
    #[track_caller]
    pub fn busybox(&self) -> &Self {
        // Imported once more, it is the same image.
        if !self.path("busybox.tar").exists() {
            busybox_tar(&self.path("busybox.tar"));
            self.own(&self.path("busybox.tar"));
        }
        self.import("busybox.tar", "/bin/sh", "busybox");
        self
    }

    /// Imports the Debian base image as `debian`; if there is none, the test is skipped.
    #[track_caller]
    pub fn debian(&self) -> Option<&Self> {
        let tar = debian_tar()?.to_owned();
        let file = fs::File::open(tar).expect("open the Debian tar");
        self.import_from(Stdio::from(file), "-", "/bin/bash", "debian");
        Some(self)
    }

    fn import(&self, tar: &str, shell: &str, name: &str) {
        self.import_from(Stdio::null(), &self.path(tar).display().to_string(), shell, name);
    }

    fn import_from(&self, stdin: Stdio, tar: &str, shell: &str, name: &str) {
        let path = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let cmd = format!("CMD [\"{shell}\"]");
        let arguments = ["import", "--change", path, "--change", &cmd, "--message", "base", tar, name];
        self.kiln(arguments).stdin_from(stdin).run().success();
    }

    /// A kiln command, not started yet.
    pub fn kiln<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Invocation<'_> {
        Invocation {
            env: self,
            arguments: arguments.into_iter().map(|word| word.as_ref().to_owned()).collect(),
            variables: Vec::new(),
            before: Vec::new(),
            input: Stdio::null(),
            bytes: None,
        }
    }

    /// Runs `kiln build … <context>`.
    pub fn build<const N: usize>(&self, arguments: [&str; N]) -> Outcome {
        self.build_command(arguments).run()
    }

    /// `kiln build … <context>`, not started yet.
    pub fn build_command<const N: usize>(&self, arguments: [&str; N]) -> Invocation<'_> {
        let context = self.path("context").display().to_string();
        let words = ["build", "--progress=plain"].into_iter().chain(arguments).chain([context.as_str()]);
        self.kiln(words)
    }

    /// Builds into an OCI layout and reads it back.
    #[track_caller]
    pub fn image<const N: usize>(&self, arguments: [&str; N]) -> Image {
        let layout = tempfile::Builder::new().prefix("layout").tempdir_in(self.dir.path()).expect("mkdir");
        self.own(layout.path());
        let dest = layout.path().join("oci");
        let output = format!("--output=type=oci,tar=false,dest={}", dest.display());
        let context = self.path("context").display().to_string();
        let words = ["build", "--progress=plain"].into_iter().chain(arguments).chain([&*output, &*context]);
        self.kiln(words).run().success();
        Image::layout(&dest)
    }

    /// The path of a kiln binary that this world's user can execute.
    pub fn binary(&self) -> PathBuf {
        if self.user.is_none() {
            return kiln_binary().to_owned();
        }
        // The workspace may lie where only root looks.
        let own = self.path("kiln");
        if !own.exists() {
            fs::copy(kiln_binary(), &own).expect("copy the kiln binary");
        }
        own
    }
}

/// The user of this name; if there is none, the test is skipped.
#[track_caller]
fn user(name: &'static str) -> Option<User> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name));
    let user = line.and_then(|line| {
        let mut fields = line.split(':').skip(2);
        Some(User { name, uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
    });
    if user.is_none() {
        skipped(&format!("there is no user `{name}`; `make setup-test` creates it"));
    }
    user
}

/// A kiln command that can be changed before it runs.
pub struct Invocation<'a> {
    env: &'a TestEnv,
    arguments: Vec<OsString>,
    variables: Vec<(String, String)>,
    before: Vec<OsString>,
    input: Stdio,
    bytes: Option<Vec<u8>>,
}

impl Invocation<'_> {
    /// Sets a variable in its otherwise bare environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs it through another program: `setsid --ctty kiln …`.
    pub fn through<const N: usize>(mut self, words: [&str; N]) -> Self {
        self.before = words.iter().map(OsString::from).collect();
        self
    }

    /// Gives it these bytes on standard input.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.bytes = Some(bytes.into());
        self
    }

    /// Gives it a file, a terminal or nothing on standard input.
    pub fn stdin_from(mut self, input: impl Into<Stdio>) -> Self {
        self.input = input.into();
        self
    }

    /// The command, for a caller who starts it in a way of its own.
    pub fn command(self) -> Command {
        let mut words: Vec<OsString> = Vec::new();
        if let Some(user) = &self.env.user {
            words.extend(["runuser", "--user", user.name, "--"].map(OsString::from));
        }
        words.extend(self.before);
        words.push(self.env.binary().into());
        if let Some(rung) = self.env.isolation {
            words.extend(["--isolation", rung].map(OsString::from));
        }
        words.extend(self.arguments);
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.env.path("home"))
            .env("KILN_ROOT", self.env.store())
            .envs(self.variables)
            .current_dir(self.env.dir.path())
            .stdin(self.input);
        command
    }

    /// Starts it, with its output into pipes.
    #[track_caller]
    pub fn start(mut self) -> Child {
        let bytes = self.bytes.take();
        if bytes.is_some() {
            self.input = Stdio::piped();
        }
        let mut command = self.command();
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        if let Some(bytes) = bytes {
            let mut stdin = child.stdin.take().expect("standard input is a pipe");
            // It need not read all of it: an error may end it early.
            std::thread::spawn(move || stdin.write_all(&bytes));
        }
        child
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn run(self) -> Outcome {
        let words: Vec<_> = self.arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let output = self.start().wait_with_output().expect("wait for kiln");
        Outcome::new(format!("kiln {}", words.join(" ")), output)
    }
}
