//! A Docker of the test's own.

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::{Peer, TestEnv};

/// dockerd with everything of its own in a directory; it ends with the test.
#[derive(Debug)]
pub struct Docker {
    daemon: Child,
    /// `docker`, which speaks to it.
    pub client: Peer,
    /// What `DOCKER_HOST` is to be for others who speak to it.
    pub host: String,
}

impl Docker {
    /// Starts it, if this machine can; otherwise the test is skipped.
    #[track_caller]
    pub fn start(env: &TestEnv) -> Option<Self> {
        let (daemon, client) = (Peer::find("dockerd")?, Peer::find("docker")?);
        let at = |name: &str| env.path("docker").join(name).display().to_string();
        fs::create_dir(env.path("docker")).expect("mkdir");
        let socket = format!("unix://{}", at("socket"));
        let log = fs::File::create(env.path("docker/log")).expect("create the log");
        let mut command = daemon.command();
        command
            .args(["--data-root", &at("data"), "--exec-root", &at("exec"), "--pidfile", &at("pid")])
            .args(["--host", &socket, "--iptables=false", "--ip6tables=false", "--bridge=none"])
            .args(["--ip-forward=false", "--ip-masq=false", "--storage-driver=overlay2"])
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log);
        let mut child = command.spawn().expect("start dockerd");
        let patience = Instant::now() + Duration::from_secs(30);
        // It makes the socket when it is ready, or ends.
        while std::os::unix::net::UnixStream::connect(at("socket")).is_err() {
            if child.try_wait().expect("look at dockerd").is_some() || Instant::now() > patience {
                let _ = child.kill();
                let said = fs::read_to_string(env.path("docker/log")).unwrap_or_default();
                crate::skipped(&format!(
                    "dockerd does not start here: {}",
                    said.lines().last().unwrap_or_default()
                ));
                return None;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(Self { daemon: child, client: client.with(["--host", &socket]), host: socket })
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // On SIGTERM it unmounts what it has mounted, and ends its containerd.
        let process = rustix::process::Pid::from_child(&self.daemon);
        let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        let _ = self.daemon.wait();
    }
}
