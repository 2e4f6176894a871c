//! What ends a container when kiln ends, however it ends: a shell that waits for the end of a pipe and has the runtime delete it.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Dropped or lost, the container is deleted.
#[derive(Debug)]
pub(super) struct Guard(Child);

impl Guard {
    pub(super) fn start(program: &Path, words: &[String], id: &str) -> io::Result<Self> {
        let script = r#"read -r _; exec "$@" >/dev/null 2>&1"#;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script, "sh"]).arg(program).args(words).args(["delete", "--force", id]);
        // Interrupted at the terminal, kiln ends first.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(command.spawn()?))
    }

    /// Deletes the container now.
    pub(super) fn finish(self) {
        drop(self);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // It fails only for a process that is gone.
        let _ = self.0.wait();
    }
}
