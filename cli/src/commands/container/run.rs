//! `kiln run` and `kiln create`.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use super::start::{Attachment, begin};
use super::{image, print};
use crate::args::RunArgs;
use crate::container::attach::{self, End};
use crate::container::create::{self, Made};
use crate::container::network;
use crate::container::signal;
use crate::container::supervisor::{Foreground, Outcome, Starter, Supervisor};
use crate::error::CommandError;
use crate::report;
use crate::terminal;
use crate::wiring::Services;

/// Makes a container and starts it; gives its exit code, or prints its id if it runs in the background. 125 to 127 are
/// Docker's for a container that did not start; it is removed again.
///
/// # Errors
/// What kept the container from being made.
pub(crate) fn run(args: &RunArgs, services: &Services) -> Result<ExitCode, CommandError> {
    let keep = &args.keep;
    if args.tty && args.interactive && !keep.detach && !attach::stdin_is_terminal() {
        return Err(CommandError::Usage("the input device is not a terminal".to_owned()));
    }
    // Somebody who detaches leaves the container running: then it cannot be a child of this process.
    let in_background =
        keep.detach || args.tty && args.interactive || keep.restart.as_deref().is_some_and(|r| r != "no");
    // Early: without an isolation there is no use in making anything.
    services.launcher()?;
    let image = image::find_or_pull(args, services)?;
    let made = create::create(args, &image, services, in_background || !args.rm)?;
    write_id(args, &made, services)?;
    if !in_background {
        return in_foreground(&made, args, services);
    }
    let attachment = (!keep.detach).then(|| Attachment {
        stdin: args.interactive,
        sig_proxy: keep.sig_proxy,
        detach_keys: keep.detach_keys.clone(),
    });
    let begun = begin(&made.container, &made.config, services, attachment.as_ref());
    match begun {
        Ok(None) => {
            print(&format!("{}\n", made.container.id))?;
            Ok(ExitCode::SUCCESS)
        }
        Ok(Some(End::Exited(code))) => Ok(exit_code(code)),
        Ok(Some(End::Detached)) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            if !made.container.state().is_ok_and(|state| state.status.is_active()) {
                discard(args, &made, services);
            }
            Err(error.into())
        }
    }
}

/// Makes a container and prints its id.
///
/// # Errors
/// What kept it from being made.
pub(crate) fn create(args: &RunArgs, services: &Services) -> Result<ExitCode, CommandError> {
    let image = image::find_or_pull(args, services)?;
    let made = create::create(args, &image, services, true)?;
    write_id(args, &made, services)?;
    print(&format!("{}\n", made.container.id))?;
    Ok(ExitCode::SUCCESS)
}

fn write_id(args: &RunArgs, made: &Made, services: &Services) -> Result<(), CommandError> {
    let Some(path) = &args.keep.cidfile else { return Ok(()) };
    let written = std::fs::File::create_new(path)
        .and_then(|mut file| io::Write::write_all(&mut file, made.container.id.as_bytes()));
    written.map_err(|cause| {
        made.discard(&services.store);
        CommandError::File { verb: "write", what: "container id", path: path.clone(), cause }
    })
}

/// Takes a container away that did not start, with the file that has its id.
fn discard(args: &RunArgs, made: &Made, services: &Services) {
    made.discard(&services.store);
    if let Some(path) = &args.keep.cidfile {
        // What cannot be removed now is in nobody's way.
        let _ = std::fs::remove_file(path);
    }
}

/// A container's exit code as a process's.
pub(crate) fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code & 0xff).unwrap_or(255))
}

/// This process is the supervisor: the container ends with it, and it starts as fast as can be.
fn in_foreground(made: &Made, args: &RunArgs, services: &Services) -> Result<ExitCode, CommandError> {
    let system = |what| move |cause| CommandError::System { what, cause };
    let own = |fd: &dyn AsFd| -> Result<OwnedFd, CommandError> {
        fd.as_fd().try_clone_to_owned().map_err(system("duplicate a stream"))
    };
    let foreground = Foreground {
        stdin: if args.interactive { Some(own(&io::stdin())?) } else { None },
        stdout: own(&io::stdout())?,
        stderr: own(&io::stderr())?,
        size: terminal::size(),
    };
    let numbers =
        [signal::HUP, signal::INT, signal::QUIT, signal::USR1, signal::USR2, signal::TERM, signal::WINDOW];
    let passed = if args.keep.sig_proxy { &numbers[..] } else { &numbers[6..] };
    let signals = kiln_executor::waiting::signals_as_bytes(passed).map_err(system("listen for signals"))?;
    let lock = made.container.lock()?;
    let parts = (made.containers.clone(), made.container.clone(), made.config.clone());
    let isolation =
        services.isolation.as_ref().map_err(|error| CommandError::NoIsolation(error.to_string()))?;
    let starter = Starter::of(&made.config, isolation, isolation.rung, services.store.root())?;
    let starter = (starter, network::networks(services)?);
    let supervisor = Supervisor::new(parts, lock, starter, signals, Some(foreground))?;
    match supervisor.run() {
        Outcome::Idle => Ok(ExitCode::SUCCESS),
        Outcome::NotStarted(code, message) => {
            eprintln!("error: {message}");
            if let Some(advice) = report::advice(&message) {
                eprintln!("help: {advice}");
            }
            discard(args, made, services);
            Ok(ExitCode::from(code))
        }
        Outcome::Ended(code, out_of_memory) => {
            if out_of_memory {
                eprintln!("error: the container reached its memory limit and was killed");
            }
            Ok(exit_code(code))
        }
    }
}
