//! `kiln run`: an image's layers, one writable layer more, and a process in a sandbox over them.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use kiln_cache::ImageRecord;
use kiln_core::{Platform, Progress, Reference, Silent};
use kiln_executor::Ground;
use kiln_executor::sandbox::{
    Bundle, Graft, GraftSource, Handle, Io, Running, Sandbox, SandboxError, Status, Stream,
};
use kiln_executor::spec::specification;
use tokio::signal::unix::{SignalKind, signal};

use super::CommandError;
use crate::args::RunArgs;
use crate::container::network::ContainerNetwork;
use crate::container::process;
use crate::local;
use crate::progress::{ProgressMode, Reporter};
use crate::pulling::PullPolicy;
use crate::request::{UsageError, limits};
use crate::terminal::{self, RawMode};
use crate::wiring::Services;

/// Runs a container and gives its exit code; 125 to 127 are Docker's for a container that did not start.
///
/// # Errors
/// What kept the container from being made.
pub(crate) fn run(args: &RunArgs, services: &Services) -> Result<ExitCode, CommandError> {
    let runtime = services.runtime()?;
    let image = runtime.block_on(find_or_pull(args, services))?;
    let view = services.store.layers().view(&image.snapshot)?;
    let mut request = process::request(args, &image, &services.environment)?;
    request.user = user(args, &image, &view)?;
    let wanted = ContainerNetwork::new(&args.network, &image)?;

    let on = (request.cwd.as_str(), &request.user);
    let ground = Ground::new(&services.store, &image.snapshot, on, None)?;
    // Before the sandbox, and gone after it.
    let network = wanted.start(services, &mut request)?;
    let (spec, mut grafts, profile) =
        specification(&request).map_err(|error| CommandError::Usage(error.to_string()))?;
    grafts.extend(binds(args)?);
    let bundle = Bundle { spec, root: ground.tree(), grafts, profile };

    let _guard = runtime.enter();
    let io = if args.tty {
        Io::Terminal { rows: terminal::size().0, columns: terminal::size().1 }
    } else {
        streams(args)?
    };
    let started = services.launcher()?.start(&bundle, io);
    let running = match started {
        Ok(running) => running,
        Err(error) => return Ok(not_started(&error)),
    };
    for limit in running.passed_over() {
        eprintln!("warning: not limited: {limit}");
    }
    let code = runtime.block_on(attend(running, args))?;
    // The network and the writable layer go with the container.
    drop((network, ground));
    Ok(code)
}

async fn find_or_pull(args: &RunArgs, services: &Services) -> Result<ImageRecord, CommandError> {
    let platform = args.platform.as_deref().map(str::parse::<Platform>).transpose()?;
    let fits =
        |image: &ImageRecord| platform.as_ref().is_none_or(|platform| *platform == image.config.platform());
    let policy: PullPolicy =
        args.pull.parse().map_err(|problem: String| UsageError::value("pull", &args.pull, &problem))?;
    let mut stored = None;
    if policy != PullPolicy::Always {
        match local::find(&services.store, &args.image) {
            Ok(image) if fits(&image.record) && policy == PullPolicy::Newer => stored = Some(image.record),
            Ok(image) if fits(&image.record) => return Ok(image.record),
            Ok(_) => {}
            Err(local::LocalError::Missing(_)) if policy != PullPolicy::Never => {}
            Err(error) => return Err(error.into()),
        }
    }
    if policy == PullPolicy::Never {
        return Err(local::LocalError::Missing(args.image.clone()).into());
    }
    let name: Reference = args.image.parse()?;
    let mode = if args.quiet { ProgressMode::Quiet } else { ProgressMode::Auto };
    let reporter = Arc::new(Reporter::start(mode, &services.environment, "Pulling"));
    let progress: Arc<dyn Progress> = if args.quiet { Arc::new(Silent) } else { Arc::clone(&reporter) as _ };
    let pulled = services.pull(&name, &platform.unwrap_or_else(Platform::host), &progress).await;
    reporter.close();
    match (pulled, stored) {
        (Err(CommandError::Registry(error)), Some(image)) if error.is_unreachable() => Ok(image),
        (pulled, _) => pulled,
    }
}

fn user(
    args: &RunArgs,
    image: &ImageRecord,
    view: &kiln_cache::View,
) -> Result<kiln_executor::process::User, CommandError> {
    let wanted = args.user.as_deref().unwrap_or(&image.config.config.user);
    kiln_executor::user(view, wanted).map_err(executor)
}

fn executor(error: impl std::fmt::Display) -> CommandError {
    CommandError::Usage(error.to_string())
}

/// `-v SRC:DST[:ro]` and `--tmpfs DIR`.
fn binds(args: &RunArgs) -> Result<Vec<Graft>, CommandError> {
    let mut grafts = Vec::new();
    for text in &args.volumes {
        let wrong = |why: &str| CommandError::from(UsageError::value("volume", text, why));
        let parts: Vec<&str> = text.split(':').collect();
        let (source, target, options) = match parts.as_slice() {
            [source, target] => (*source, *target, ""),
            [source, target, options] => (*source, *target, *options),
            _ => return Err(wrong("expected SRC:DST[:ro]")),
        };
        if !target.starts_with('/') {
            return Err(wrong("the place in the container is not an absolute path"));
        }
        let path = PathBuf::from(source);
        let absolute = std::path::absolute(&path).map_err(|cause| file("find", &path, cause))?;
        if !absolute.exists() {
            if !source.starts_with('/') && !source.starts_with('.') {
                return Err(wrong("named volumes are not supported: give a directory"));
            }
            // Docker makes what is not there.
            std::fs::create_dir_all(&absolute).map_err(|cause| file("make", &absolute, cause))?;
        }
        let read_only = options.split(',').any(|option| option == "ro");
        grafts.push(Graft { target: target.to_owned(), source: GraftSource::Path(absolute), read_only });
    }
    for text in &args.tmpfs {
        let (target, options) = text.split_once(':').unwrap_or((text, ""));
        let mut size = None;
        let mut mode = 0o1777;
        for option in options.split(',') {
            match option.split_once('=') {
                Some(("size", value)) => size = Some(limits::bytes("tmpfs", value)?),
                Some(("mode", value)) => {
                    mode = u32::from_str_radix(value, 8)
                        .map_err(|_| UsageError::value("tmpfs", text, "mode is not octal"))?;
                }
                _ => {}
            }
        }
        grafts.push(Graft {
            target: target.to_owned(),
            source: GraftSource::Tmpfs { size, mode },
            read_only: false,
        });
    }
    Ok(grafts)
}

fn file(verb: &'static str, path: &std::path::Path, cause: io::Error) -> CommandError {
    CommandError::File { verb, what: "volume", path: path.to_owned(), cause }
}

/// The streams of kiln itself; standard input only where it was asked for.
fn streams(args: &RunArgs) -> Result<Io, CommandError> {
    let own = |fd: &dyn AsFd| -> Result<Stream, CommandError> {
        let copy = fd.as_fd().try_clone_to_owned();
        Ok(Stream::Given(copy.map_err(|cause| CommandError::System { what: "duplicate a stream", cause })?))
    };
    let stdin = if args.interactive { own(&io::stdin())? } else { Stream::Null };
    Ok(Io::Streams { stdin, stdout: own(&io::stdout())?, stderr: own(&io::stderr())? })
}

/// Docker's exit code for a container that did not start, and why on standard error.
fn not_started(error: &SandboxError) -> ExitCode {
    eprintln!("error: {}", crate::report::chain(error));
    u8::try_from(error.exit_code()).map_or(ExitCode::from(125), ExitCode::from)
}

/// Relays bytes, sizes and signals until the container ends.
async fn attend(mut running: Running, args: &RunArgs) -> Result<ExitCode, CommandError> {
    let system = |what| move |cause| CommandError::System { what, cause };
    let mut raw = None;
    let mut output = None;
    let mut screen: Option<OwnedFd> = None;
    if let Some(terminal) = running.terminal.take() {
        let copy = |fd: &OwnedFd| fd.try_clone().map_err(system("duplicate the terminal"));
        let (from_screen, to_keys) = (copy(&terminal)?, copy(&terminal)?);
        let duplicate = |fd: &dyn AsFd| fd.as_fd().try_clone_to_owned().map_err(system("duplicate a stream"));
        let (stdin, stdout) = (duplicate(&io::stdin())?, duplicate(&io::stdout())?);
        if args.interactive {
            raw = RawMode::enter().map_err(system("make the terminal raw"))?;
            // It ends with the process: nothing can interrupt a read of a terminal.
            let handle = running.handle();
            std::thread::spawn(move || {
                if terminal::relay(stdin, to_keys) {
                    hang_up(&handle);
                }
            });
        }
        output = Some(std::thread::spawn(move || terminal::relay(from_screen, stdout)));
        screen = Some(terminal);
    }
    let handle = running.handle();
    let signals = tokio::spawn(forward(handle, screen));
    let ended = tokio::task::spawn_blocking(move || running.wait()).await;
    signals.abort();
    if let Some(output) = output {
        // A relay that panicked has relayed all it ever will.
        let _ = output.join();
    }
    drop(raw);
    let exit = match ended {
        Ok(Ok(exit)) => exit,
        Ok(Err(error)) => return Ok(not_started(&error)),
        Err(_) => {
            return Err(CommandError::Usage("the thread that waited for the container failed".to_owned()));
        }
    };
    if exit.out_of_memory {
        eprintln!("error: the container reached its memory limit and was killed");
    }
    let code = match exit.status {
        Status::Code(code) => code,
        Status::Signal(number) => 128 + number,
    };
    Ok(ExitCode::from(u8::try_from(code & 0xff).unwrap_or(255)))
}

/// The user's terminal has gone: so does the container, after a moment to say farewell.
fn hang_up(handle: &Handle) {
    // It may have ended.
    drop(handle.signal(SignalKind::hangup().as_raw_value()));
    std::thread::sleep(std::time::Duration::from_secs(2));
    handle.kill();
}

/// Passes signals on to the container's process, and the size of the terminal when it changes.
async fn forward(handle: Handle, screen: Option<OwnedFd>) {
    let mut streams = Vec::new();
    for kind in [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
        SignalKind::quit(),
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
        SignalKind::window_change(),
    ] {
        if let Ok(stream) = signal(kind) {
            streams.push((kind, stream));
        }
    }
    loop {
        let number = std::future::poll_fn(|context| {
            for (kind, stream) in &mut streams {
                if let std::task::Poll::Ready(Some(())) = stream.poll_recv(context) {
                    return std::task::Poll::Ready(kind.as_raw_value());
                }
            }
            std::task::Poll::Pending
        })
        .await;
        match (&screen, number == SignalKind::window_change().as_raw_value()) {
            (Some(screen), true) => terminal::pass_size(screen),
            (None, true) => {}
            (Some(_), false) if number == SignalKind::hangup().as_raw_value() => {
                let handle = handle.clone();
                std::thread::spawn(move || hang_up(&handle));
            }
            // The container may have ended: then there is nobody to tell.
            (_, false) => drop(handle.signal(number)),
        }
    }
}
