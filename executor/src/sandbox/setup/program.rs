//! Finding the program in the sandbox, and making sure that it is in the sandbox.

use std::ffi::{CString, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{CWD, FileType, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::failure::{Failure, Setup};

/// Where a program is looked for if the environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Interpreters of interpreters, as the kernel allows them.
const MAX_INTERPRETERS: usize = 5;

pub(super) fn failure(program: &str, error: Errno) -> Failure {
    Failure { operation: program.to_owned(), errno: error.raw_os_error(), program: true }
}

/// The path of `name`: as it stands if it has a slash, otherwise the first match in `PATH`.
pub(super) fn find(name: &str, env: &[String]) -> Setup<CString> {
    let c_string = |path: String| CString::new(path).map_err(|_| failure(name, Errno::NOENT));
    if name.contains('/') {
        let file = open(name).map_err(|error| failure(name, error))?;
        let stat = rustix::fs::fstat(&file).map_err(|error| failure(name, error))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => check(name).map_err(|error| failure(name, error))?,
            FileType::Directory => return Err(failure(name, Errno::ISDIR)),
            _ => return Err(failure(name, Errno::ACCESS)),
        }
        return c_string(name.to_owned());
    }
    let path = env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    for directory in path.split(':').filter(|directory| !directory.is_empty()) {
        let candidate = format!("{directory}/{name}");
        let Ok(file) = open(&candidate) else { continue };
        let Ok(stat) = rustix::fs::fstat(&file) else { continue };
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_mode & 0o111 != 0 {
            check(&candidate).map_err(|error| failure(name, error))?;
            return c_string(candidate);
        }
    }
    Err(failure(name, Errno::NOENT))
}

/// Opens without magic links: `/proc/self/exe` is kiln itself until the program runs.
fn open(path: impl AsRef<OsStr>) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    match crate::resolve::openat2(CWD, path.as_ref(), flags, ResolveFlags::NO_MAGICLINKS) {
        Err(Errno::LOOP) => Err(Errno::ACCESS),
        found => found,
    }
}

/// Follows `#!` lines: an interpreter is opened by the kernel while this process is still kiln's, so it may not be reached
/// by a magic link either.
fn check(path: &str) -> rustix::io::Result<()> {
    let mut path = path.as_bytes().to_vec();
    for _ in 0..MAX_INTERPRETERS {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let name = OsStr::from_bytes(&path);
        let file = match crate::resolve::openat2(CWD, name, flags, ResolveFlags::NO_MAGICLINKS) {
            Err(Errno::LOOP) => return Err(Errno::ACCESS),
            // Execution gives the error that belongs to it.
            Err(_) => return Ok(()),
            Ok(file) => file,
        };
        let mut start = [0; 256];
        let read = rustix::io::read(&file, &mut start).unwrap_or(0);
        let Some(line) = start[..read].strip_prefix(b"#!") else { return Ok(()) };
        let line = line.split(|&b| b == b'\n').next().unwrap_or_default();
        let mut words = line.split(|&b| matches!(b, b' ' | b'\t' | 0)).filter(|word| !word.is_empty());
        let Some(interpreter) = words.next() else { return Ok(()) };
        open(OsStr::from_bytes(interpreter))
            .or_else(|e| if e == Errno::ACCESS { Err(e) } else { Ok(file) })?;
        path = interpreter.to_vec();
    }
    Ok(())
}
