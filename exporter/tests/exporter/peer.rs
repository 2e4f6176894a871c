//! Other tools that read what was written, if they are installed.

use std::path::Path;
use std::process::Command;

/// A command, or a line that says why the test is skipped.
pub(crate) fn peer(name: &str) -> Option<Command> {
    let found = ["/usr/bin", "/usr/local/bin", "/usr/sbin"]
        .iter()
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.exists());
    if found.is_none() {
        println!("skipped: {name} is not installed");
    }
    found.map(Command::new)
}

/// Runs a command that must succeed and returns its standard output.
pub(crate) fn succeed(command: &mut Command) -> String {
    let out = command.output().unwrap();
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}
