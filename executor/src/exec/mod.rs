//! RUN: a process on a snapshot, what it changed as a layer.

mod cache_mount;
mod ground;
mod held;
mod mounts;
mod output;
mod ssh;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use kiln_cache::{Attributes, Draft, Links, View};
use kiln_core::{
    ContentHash, Event, Exec, NetworkMode, SecurityMode, Snapshot, StableHash as _, StableHasher, StepId,
};

use crate::cdi;
use crate::error::ExecutorError;
use crate::executor::{Inner, Value};
use crate::network::{NetworkError, NetworkRequest, PrivateNetwork};
use crate::process::{User, UserError, parse_accounts, parse_groups, resolve_group, resolve_user};
use crate::sandbox::{self, Bundle, Exit, Handle, Io, SandboxError, Stream};
use crate::spec::{ProcessRequest, specification};

pub use ground::Ground;
pub use held::{HeldStep, Look, StepShell};
pub(crate) use mounts::content;

/// Gives a running step up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cancel(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    cancelled: bool,
    running: Option<Handle>,
}

/// Cancels when it is dropped.
#[derive(Debug)]
pub(crate) struct CancelOnDrop(Cancel);

impl Cancel {
    /// For the future that waits for the step.
    pub(crate) fn on_drop(&self) -> CancelOnDrop {
        CancelOnDrop(self.clone())
    }

    fn is_cancelled(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).cancelled
    }

    /// Notes the process to kill; kills it at once if the step was given up meanwhile.
    fn running(&self, handle: Handle) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.cancelled {
            handle.kill();
        }
        state.running = Some(handle);
    }

    fn finished(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).running = None;
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        let mut state = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.cancelled = true;
        if let Some(handle) = state.running.take() {
            handle.kill();
        }
    }
}

/// All that a step's process is started with; locks and scratch directories are held, and a network is there, as long as this is.
struct Prepared {
    ground: Ground,
    mounted: mounts::Mounted,
    network: Option<PrivateNetwork>,
    request: ProcessRequest,
}

fn prepare(inner: &Inner, exec: &Exec, inputs: &[Value], command: &str) -> Result<Prepared, ExecutorError> {
    let base = base(inputs)?;
    let view = inner.services.store.layers().view(base)?;
    let user = user(&view, &exec.user)
        .map_err(|cause| ExecutorError::User { command: command.to_owned(), cause: Arc::new(cause) })?;
    let devices = inner.services.devices.of_step(&exec.devices)?;
    let ground = Ground::new(&inner.services.store, base, (&exec.cwd, &user), Some(mount_points(inner)?))?;
    let mounted = mounts::mounts(inner, exec, inputs)?;
    let mut request = request(inner, exec, user, &mounted);
    cdi::apply(&devices, &mut request)?;
    let network = match request.network {
        NetworkMode::Private => Some(private_network(inner)?),
        NetworkMode::Default | NetworkMode::Host | NetworkMode::None => None,
    };
    if let Some(network) = &network {
        request.resolv_conf = Some(network.resolv_conf().to_vec());
        request.joined = Some(network.joined());
    }
    Ok(Prepared { ground, mounted, network, request })
}

fn base(inputs: &[Value]) -> Result<&Snapshot, ExecutorError> {
    match inputs.first() {
        Some(Value::Snapshot(base)) => Ok(base),
        _ => Err(ExecutorError::Input(0)),
    }
}

/// Runs `exec` on input 0 and commits what it changed.
pub(crate) fn run(
    inner: &Inner,
    step: StepId,
    exec: &Exec,
    inputs: &[Value],
    cancel: &Cancel,
) -> Result<Snapshot, ExecutorError> {
    let base = base(inputs)?;
    let command = exec.args.join(" ");
    let Prepared { ground, mounted, network, request } = prepare(inner, exec, inputs, &command)?;
    let (spec, mut grafts, profile) = specification(&request)?;
    grafts.extend(mounted.grafts.iter().cloned());
    let bundle = Bundle { spec, root: ground.tree(), grafts, profile };
    let exit = start(inner, step, &bundle, &command, cancel);
    if let Some(look) =
        inner.services.on_failure.as_ref().filter(|_| has_failed(&exit) && !cancel.is_cancelled())
    {
        let (request, grafts, command) = (&request, &mounted.grafts[..], &command[..]);
        look.look(&HeldStep { inner, step, command, request, root: ground.tree(), grafts, cancel });
        cancel.finished();
    }
    let exit = exit?;
    drop((mounted, network));
    if cancel.is_cancelled() {
        return Err(ExecutorError::GivenUp);
    }
    if !exit.success() {
        return Err(ExecutorError::Process { command, exit });
    }
    let layer = ground.commit(inner.services.store.layers(), base, &exit.stubs)?;
    Ok(base.with(layer.id))
}

/// Prepares `exec` and has `look` look at it in place of running it; nothing is kept.
pub(crate) fn look(
    inner: &Inner,
    step: StepId,
    exec: &Exec,
    inputs: &[Value],
    cancel: &Cancel,
    look: &dyn Look,
) -> Result<(), ExecutorError> {
    let command = exec.args.join(" ");
    let prepared = prepare(inner, exec, inputs, &command)?;
    let (request, grafts, root) = (&prepared.request, &prepared.mounted.grafts[..], prepared.ground.tree());
    look.look(&HeldStep { inner, step, command: &command, request, root, grafts, cancel });
    cancel.finished();
    drop(prepared.network);
    Ok(())
}

/// Whether it is the step's own fault, rather than that of the sandbox.
fn has_failed(exit: &Result<Exit, ExecutorError>) -> bool {
    match exit {
        Ok(exit) => !exit.success(),
        Err(ExecutorError::Start { cause, .. }) => matches!(**cause, SandboxError::Exec { .. }),
        Err(_) => false,
    }
}

fn start(
    inner: &Inner,
    step: StepId,
    bundle: &Bundle,
    command: &str,
    cancel: &Cancel,
) -> Result<Exit, ExecutorError> {
    let failed = |cause| ExecutorError::Start { command: command.to_owned(), cause: Arc::new(cause) };
    if cancel.is_cancelled() {
        return Err(ExecutorError::GivenUp);
    }
    let io = Io::Streams { stdin: Stream::Null, stdout: Stream::Pipe, stderr: Stream::Pipe };
    let mut running = inner.services.sandbox.start(bundle, io).map_err(failed)?;
    cancel.running(running.handle());
    for limit in running.passed_over() {
        let data = format!("warning: not limited: {limit}\n").into_bytes();
        inner.services.progress.emit(Event::Log { step, stream: kiln_core::Stream::Stderr, data });
    }
    let (stdout, stderr) = (running.stdout.take(), running.stderr.take());
    let exit = output::forward(&*inner.services.progress, step, stdout, stderr, || running.wait());
    cancel.finished();
    exit.map_err(failed)
}

fn private_network(inner: &Inner) -> Result<PrivateNetwork, NetworkError> {
    let networks = inner.services.networks.as_ref().ok_or(NetworkError::Unavailable)?;
    networks.start(&NetworkRequest::default())
}

/// The lowest layer of every root: what is mounted over is there already, so that no step has to make it in its own layer.
fn mount_points(inner: &Inner) -> Result<PathBuf, ExecutorError> {
    let scratch = match inner.mount_points.get() {
        Some(made) => made,
        None => {
            let scratch = inner.services.store.scratch_dir()?;
            let failed = cache_mount::failed(scratch.path());
            sandbox::mount_points(scratch.path()).map_err(failed)?;
            // Another step may have been faster: one of the two is enough.
            inner.mount_points.get_or_init(|| scratch)
        }
    };
    Ok(scratch.path().to_path_buf())
}

/// The directories to stack for a snapshot, bottom first.
pub(crate) fn trees(inner: &Inner, snapshot: &Snapshot) -> Result<Vec<PathBuf>, ExecutorError> {
    let layers = inner.services.store.stack(snapshot)?;
    Ok(layers.iter().map(|layer| layer.tree().to_path_buf()).collect())
}

fn request(inner: &Inner, exec: &Exec, user: User, mounted: &mounts::Mounted) -> ProcessRequest {
    let services = &inner.services;
    let mut request = ProcessRequest::new(exec.args.clone(), user);
    let variables = exec.env.iter().chain(&exec.proxy_env).map(|(name, value)| format!("{name}={value}"));
    request.env = variables.chain(mounted.env.iter().cloned()).collect();
    request.cwd = exec.cwd.clone();
    request.hostname = exec.surroundings.hostname.clone();
    request.add_hosts = exec.surroundings.add_hosts.clone();
    request.network = match exec.network {
        NetworkMode::Default => services.network,
        network => network,
    };
    request.resolv_conf = Some(services.resolv_conf.clone());
    request.ulimits = exec.surroundings.ulimits.clone();
    request.shm_size = exec.surroundings.shm_size;
    request.insecure = exec.security == SecurityMode::Insecure;
    request.cgroup_parent = exec.surroundings.cgroup_parent.clone();
    request.memory = services.memory;
    request.limits = services.limits.clone();
    request
}

/// Who a process runs as (`user[:group]`, by name or number), from the account files of its root.
///
/// # Errors
/// If there is no such user, or an account file cannot be read.
pub fn user(view: &View, wanted: &str) -> Result<User, UserError> {
    let accounts = parse_accounts(&account_file(view, "etc/passwd")?);
    let groups = parse_groups(&account_file(view, "etc/group")?);
    resolve_user(wanted, &accounts, &groups)
}

/// Looks a group up in the root file system: a name or a number.
///
/// # Errors
/// If there is no such group, or the file cannot be read.
pub fn group(view: &View, wanted: &str) -> Result<u32, UserError> {
    resolve_group(wanted, &parse_groups(&account_file(view, "etc/group")?))
}

fn account_file(view: &View, path: &'static str) -> Result<Vec<u8>, UserError> {
    let read = |cause| UserError::Read { path, cause };
    let Ok(resolved) = view.resolve(Path::new(path), Links::Followed) else { return Ok(Vec::new()) };
    let Some(found) = resolved.found.filter(|found| found.content().is_some()) else { return Ok(Vec::new()) };
    let file = view.open(&found).map_err(|error| read(std::io::Error::other(error)))?;
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(file, 16 << 20), &mut bytes).map_err(read)?;
    Ok(bytes)
}

/// Makes the working directory in the upper tree if the base has none: it belongs to the user.
///
/// # Errors
/// If the store cannot be written.
pub fn make_directory(draft: &Draft, view: &View, path: &str, user: &User) -> Result<(), ExecutorError> {
    let Ok(resolved) = view.resolve(Path::new(path), Links::Followed) else { return Ok(()) };
    if resolved.found.is_some() {
        return Ok(());
    }
    let writer = draft.writer()?;
    let mut current = PathBuf::new();
    for name in resolved.path.components() {
        current.push(name);
        match view.lookup(&current) {
            // As it is: a directory of the upper tree hides the attributes of the lower one.
            Some(found) => writer.dir(&current, &found.entry().attributes)?,
            None => {
                let attributes =
                    Attributes { mode: 0o755, uid: user.uid, gid: user.gid, ..Attributes::default() };
                writer.dir(&current, &attributes)?;
            }
        }
    }
    writer.finish()?;
    Ok(())
}

/// The hash of a path of a snapshot that a mount shows.
fn mounted_content(view: &View, path: &str) -> Result<ContentHash, ExecutorError> {
    let missing = || ExecutorError::MountSource(path.to_owned());
    let resolved = view.resolve(Path::new(path), Links::Followed).map_err(|_| missing())?;
    let found = resolved.found.ok_or_else(missing)?;
    let mut hasher = StableHasher::new("kiln mounted 1");
    view.content(&found.entry().path).stable_hash(&mut hasher);
    Ok(hasher.finish())
}
