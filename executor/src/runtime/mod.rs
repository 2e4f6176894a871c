//! Sandboxes of an OCI runtime that is installed (crun, runc): kiln mounts the trees of a bundle in its own mount namespace and
//! writes a `config.json`; the runtime does the rest.
//!
//! `create` and `start` are used instead of `run`: in between the process is there and its pid is known, and afterwards kiln,
//! as the nearest subreaper, waits for it itself and learns how it really ended. A thread plays the launcher's part towards
//! [`Running`].

mod config;
mod error;
mod guard;
mod stage;

use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio as Wiring};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

use crate::isolation::Rung;
use crate::launcher::message::{Report, send_report};
use crate::sandbox::plan::{Given, Stdio};
use crate::sandbox::setup::Marks;
use crate::sandbox::{Bundle, Io, Running, Sandbox, SandboxError, Stream, translate};
pub use error::RuntimeError;
use error::{setup, why};
use guard::Guard;
use stage::Stage;

/// An OCI runtime that starts the processes.
#[derive(Debug)]
pub struct OciRuntime {
    program: PathBuf,
    crun: bool,
    marks: Marks,
    /// Where the mounts of the running sandboxes are.
    scratch: PathBuf,
}

/// Tells the sandboxes of this process apart.
static NUMBERS: AtomicU64 = AtomicU64::new(0);

impl OciRuntime {
    /// The runtime called `name` in `search` (PATH), or at the path `name`. Its mounts are made below `scratch`, whose layers keep
    /// their marks in `user.` attributes if `user_xattrs`.
    ///
    /// # Errors
    /// When it is not there, or where kiln cannot mount what it is to run.
    pub fn find(
        name: &str,
        search: &str,
        scratch: PathBuf,
        rung: Rung,
        user_xattrs: bool,
    ) -> Result<Self, RuntimeError> {
        if matches!(rung, Rung::SingleId | Rung::Chroot) {
            return Err(RuntimeError::Rung(rung.as_str().to_owned()));
        }
        let program = if name.contains('/') {
            PathBuf::from(name)
        } else {
            let mut places = search.split(':').map(|place| Path::new(place).join(name));
            places.find(|path| path.is_file()).ok_or_else(|| RuntimeError::missing(name))?
        };
        let said = Command::new(&program)
            .arg("--version")
            .stdin(Wiring::null())
            .output()
            .map_err(|cause| RuntimeError::Execute { program: program.clone(), cause })?;
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .map_err(|error| RuntimeError::Adopt(error.into()))?;
        let marks = if user_xattrs { Marks::User } else { Marks::Trusted };
        Ok(Self { program, crun: said.stdout.starts_with(b"crun"), marks, scratch })
    }

    /// Where it is.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// With the options that come before every command.
    fn arguments(&self, stage: &Path) -> Vec<String> {
        let path = |name: &str| stage.join(name).display().to_string();
        let mut words = vec!["--root".to_owned(), path("state"), "--log".to_owned(), path("log")];
        words.extend(["--log-format", "json"].map(str::to_owned));
        if self.crun {
            // It needs a delegated group otherwise.
            words.push("--cgroup-manager=disabled".to_owned());
        }
        words
    }

    fn name(&self) -> String {
        self.program.display().to_string()
    }
}

impl Sandbox for OciRuntime {
    fn start(&self, bundle: &Bundle, io: Io) -> Result<Running, SandboxError> {
        let (stdio, ours, theirs) = streams(io)?;
        // What kiln's own sandbox refuses is refused here too, in the same words.
        let plan = translate::plan(bundle, stdio)?;
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let id = format!("kiln-{}-{number}", std::process::id());
        let mut stage = Stage::make(&self.scratch.join(&id), &bundle.root, self.marks, plan.root_devices)?;
        let (config, passed_over) = config::config(bundle, &plan, &mut stage, self.crun, &id, self.marks)?;
        stage.write_config(&config)?;
        let words = self.arguments(stage.path());
        let guard =
            Guard::start(&self.program, &words, &id).map_err(setup("start the guard of a sandbox"))?;

        let mut create = Command::new(&self.program);
        create.args(&words).args(["create", "--bundle"]).arg(stage.path()).arg("--pid-file");
        create.arg(stage.path().join("pid")).arg(&id);
        wire(&mut create, theirs, plan.process.uid)?;
        self.perform(create, &stage, &plan.process.args[0])?;
        let text = std::fs::read_to_string(stage.path().join("pid")).map_err(setup("read the pid file"))?;
        let process = text.trim().parse().ok().and_then(Pid::from_raw).ok_or(rustix::io::Errno::SRCH);
        let process = process
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()))
            .map_err(|error| setup("watch the process of a sandbox")(error.into()))?;
        let mut start = Command::new(&self.program);
        start.args(&words).args(["start", &id]).stdin(Wiring::null()).stdout(Wiring::null());
        start.stderr(Wiring::null());
        self.perform(start, &stage, &plan.process.args[0])?;

        let (near, far) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(|error| setup("make a socket")(error.into()))?;
        let tell = |report: &Report, fd| send_report(&far, report, fd).map_err(setup("report the start"));
        if !passed_over.is_empty() {
            tell(&Report::PassedOver(passed_over), None)?;
        }
        tell(&Report::Stubs(stage.stubs()), None)?;
        tell(&Report::Started, Some(process.as_fd()))?;
        std::thread::Builder::new()
            .name("kiln-runtime".to_owned())
            .spawn(move || follow(&process, &far, guard, stage))
            .map_err(setup("start a thread"))?;
        // `start` comes back when the program was executed: the pipe that says so is closed.
        let (executed, closes) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|error| setup("make a pipe")(error.into()))?;
        drop(closes);
        // No launcher knows it by that number.
        Running::begin(number, (near, executed), ours, Some(&bundle.root), false)
    }
}

impl OciRuntime {
    /// Runs a command of the runtime to its end.
    fn perform(&self, mut command: Command, stage: &Stage, program: &str) -> Result<(), SandboxError> {
        let status = command.status().map_err(setup(format!("execute {}", self.name())))?;
        drop(command);
        if status.success() { Ok(()) } else { Err(why(&self.name(), stage, program, status)) }
    }
}

/// Waits for the process, cleans up, and says how it ended: nothing may be mounted over the layer when kiln hears of it.
fn follow(process: &OwnedFd, report: &OwnedFd, guard: Guard, stage: Stage) {
    let status = rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED));
    let (code, signal) = match status {
        Ok(Some(status)) => match status.terminating_signal() {
            Some(signal) => (signal, true),
            None => (status.exit_status().unwrap_or(255), false),
        },
        _ => (255, false),
    };
    guard.finish();
    drop(stage);
    // Nobody may be interested any more.
    let _ = send_report(report, &Report::Ended { code, signal, out_of_memory: false }, None);
}

type Ends = [Option<OwnedFd>; 3];
type TheirEnds = [(Given, Option<OwnedFd>); 3];

/// Kiln's ends and the process's of the streams.
fn streams(io: Io) -> Result<(Stdio, Ends, TheirEnds), SandboxError> {
    let Io::Streams { stdin, stdout, stderr } = io else {
        return Err(SandboxError::Spec("a terminal is not supported with --runtime: leave out --tty".into()));
    };
    let mut ours = [None, None, None];
    let mut theirs = [(Given::No, None), (Given::No, None), (Given::No, None)];
    for (index, stream) in [stdin, stdout, stderr].into_iter().enumerate() {
        theirs[index] = match stream {
            Stream::Null => (Given::No, None),
            Stream::Given(fd) => (Given::Yes, Some(fd)),
            Stream::Pipe => {
                let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
                    .map_err(|error| setup("make a pipe")(error.into()))?;
                let (end, mine) = if index == 0 { (read, write) } else { (write, read) };
                ours[index] = Some(mine);
                (Given::Pipe, Some(end))
            }
        };
    }
    let given = [theirs[0].0, theirs[1].0, theirs[2].0];
    Ok((Stdio::Streams(given), ours, theirs))
}

/// Gives the streams to the command; pipes belong to the process's user, so that it can open `/dev/stdout`.
fn wire(command: &mut Command, ends: TheirEnds, uid: u32) -> Result<(), SandboxError> {
    let mut wires = Vec::new();
    for (given, end) in ends {
        let Some(end) = end else {
            wires.push(Wiring::null());
            continue;
        };
        if given == Given::Pipe && uid != 0 {
            rustix::fs::fchown(&end, Some(rustix::fs::Uid::from_raw(uid)), None)
                .map_err(|error| setup("give a pipe to the user")(error.into()))?;
        }
        wires.push(Wiring::from(File::from(end)));
    }
    let mut wires = wires.into_iter();
    if let (Some(stdin), Some(stdout), Some(stderr)) = (wires.next(), wires.next(), wires.next()) {
        command.stdin(stdin).stdout(stdout).stderr(stderr);
    }
    Ok(())
}
