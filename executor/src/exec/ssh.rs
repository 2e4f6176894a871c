//! A forwarded SSH agent: a socket of the step's own, whose connections are carried on to the user's agent.

use std::io;
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Carries connections as long as it lives.
#[derive(Debug)]
pub(super) struct Forward {
    socket: PathBuf,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Forward {
    /// Listens at `socket`, which gets this mode, for `agent`.
    pub(super) fn start(agent: &Path, socket: &Path, mode: u32) -> io::Result<Self> {
        let listener = UnixListener::bind(socket)?;
        std::fs::set_permissions(socket, std::fs::Permissions::from_mode(mode))?;
        let stopped = Arc::new(AtomicBool::new(false));
        let (agent, stop) = (agent.to_path_buf(), stopped.clone());
        let thread = std::thread::Builder::new().name("ssh agent".to_owned()).spawn(move || {
            for client in listener.incoming().flatten() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                // An agent that is gone closes the connection: the client says so.
                if let Ok(agent) = UnixStream::connect(&agent) {
                    carry(client, agent);
                }
            }
        })?;
        Ok(Self { socket: socket.to_path_buf(), stopped, thread: Some(thread) })
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Wakes the thread up. Where that fails it ends with the process.
        if UnixStream::connect(&self.socket).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

/// Both directions, each in a thread that ends with the connection.
fn carry(client: UnixStream, agent: UnixStream) {
    let (Ok(client_again), Ok(agent_again)) = (client.try_clone(), agent.try_clone()) else { return };
    for (mut from, mut to) in [(client, agent), (agent_again, client_again)] {
        std::thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn connections_reach_the_agent_and_end_with_the_step() {
        let scratch = tempfile::tempdir().unwrap();
        let (agent, socket) = (scratch.path().join("agent"), scratch.path().join("socket"));
        let listener = UnixListener::bind(&agent).unwrap();
        let answering = std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut question = [0; 4];
            stream.read_exact(&mut question).unwrap();
            stream.write_all(b"pong").unwrap();
            question
        });
        let forward = Forward::start(&agent, &socket, 0o640).unwrap();
        assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o640);
        let mut client = UnixStream::connect(&socket).unwrap();
        client.write_all(b"ping").unwrap();
        let mut answer = [0; 4];
        client.read_exact(&mut answer).unwrap();
        assert_eq!((&answer, &answering.join().unwrap()), (b"pong", b"ping"));
        drop(forward);
        assert!(UnixStream::connect(&socket).is_err());
    }
}
