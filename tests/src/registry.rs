//! A docker-registry on loopback, with a directory of its own, gone when it is dropped.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Peer;

/// The user name and password that [`Login::Basic`] asks for.
const USER: &str = "kiln";
const PASSWORD: &str = "letmein";
/// bcrypt of the password.
const HTPASSWD: &str = "kiln:$2b$04$RVwcdZoPxut8kIK6EGrKa.YPgL9u..J79GN1WmylGtpuVYkRfDCjm\n";

/// Whether a registry wants to know who is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// Anyone may pull and push.
    Open,
    /// Basic authentication.
    Basic,
}

/// Files by which a registry shows who it is, and asks others.
#[derive(Debug, Clone, Copy)]
pub struct Tls<'a> {
    /// Its certificate and its key, in PEM.
    pub own: (&'a str, &'a str),
    /// The authority whose certificates it wants to see from others, in PEM.
    pub clients: Option<&'a str>,
}

/// A running registry.
pub struct Registry {
    child: Child,
    dir: TempDir,
    address: String,
}

impl Registry {
    /// Starts one on a free port; if docker-registry is absent, the test is skipped.
    #[track_caller]
    pub fn start(login: Login) -> Option<Self> {
        Self::start_as(login, None)
    }

    /// Starts one that speaks TLS.
    #[track_caller]
    pub fn start_tls(tls: Tls<'_>) -> Option<Self> {
        Self::start_as(Login::Open, Some(tls))
    }

    #[track_caller]
    fn start_as(login: Login, tls: Option<Tls<'_>>) -> Option<Self> {
        Peer::find("docker-registry")?;
        let dir = TempDir::new().expect("mkdir");
        // A port is free until somebody else takes it: try again with another then.
        (0..5).find_map(|_| Self::try_start(&dir, login, tls)).map(|(child, address)| Self {
            child,
            dir,
            address,
        })
    }

    fn try_start(dir: &TempDir, login: Login, tls: Option<Tls<'_>>) -> Option<(Child, String)> {
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        let address = format!("127.0.0.1:{port}");
        let path = |name: &str| dir.path().join(name).display().to_string();
        let mut config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
             http: {{addr: \"{address}\"}}\n",
            path("data")
        );
        if login == Login::Basic {
            fs::write(path("htpasswd"), HTPASSWD).expect("write htpasswd");
            config += &format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", path("htpasswd"));
        }
        if let Some(Tls { own: (certificate, key), clients }) = tls {
            let mut lines = String::new();
            let files = [("certificate", Some(certificate)), ("key", Some(key)), ("clientcas", clients)];
            for (name, text) in files.iter().filter_map(|(name, text)| Some((name, (*text)?))) {
                fs::write(path(name), text).expect("write a certificate");
                let value = if *name == "clientcas" { format!("[{}]", path(name)) } else { path(name) };
                lines += &format!("  {name}: {value}\n");
            }
            config = config.replace(
                &format!("http: {{addr: \"{address}\"}}\n"),
                &format!("http:\n addr: \"{address}\"\n tls:\n{lines}"),
            );
        }
        fs::write(path("config.yml"), config).expect("write the configuration");
        let log = fs::File::create(path("log")).expect("create the log");
        let mut command = Command::new("setpriv");
        // It does not outlive a test that is killed.
        command.args(["--pdeathsig", "KILL", "docker-registry", "serve", &path("config.yml")]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut child = command.spawn().expect("start docker-registry");
        let patience = Instant::now() + Duration::from_secs(20);
        while Instant::now() < patience && child.try_wait().is_ok_and(|ended| ended.is_none()) {
            if answers(&address) {
                return Some((child, address));
            }
            std::thread::sleep(Duration::from_millis(20)); // a foreign process gives no event to wait on
        }
        let _ = child.kill();
        let _ = child.wait();
        None
    }

    /// The reference of a repository in it: `127.0.0.1:40123/app`.
    pub fn name(&self, repository: &str) -> String {
        format!("{}/{repository}", self.address)
    }

    /// `127.0.0.1:40123`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The user name that [`Login::Basic`] asks for.
    pub fn user(&self) -> &'static str {
        USER
    }

    /// The password that [`Login::Basic`] asks for.
    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    /// Damages the stored blob of a digest (`sha256:…`), so that it no longer matches.
    pub fn corrupt(&self, digest: &str) {
        let hex = digest.strip_prefix("sha256:").expect("a sha256 digest");
        let blob = self
            .dir
            .path()
            .join("data/docker/registry/v2/blobs/sha256")
            .join(&hex[..2])
            .join(hex)
            .join("data");
        let mut bytes = fs::read(&blob).expect("the registry's blob");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        fs::write(&blob, bytes).expect("damage the blob");
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn answers(address: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let mut reply = [0; 5];
    stream.write_all(b"GET /v2/ HTTP/1.0\r\n\r\n").is_ok()
        && stream.read_exact(&mut reply).is_ok()
        && reply.starts_with(b"HTTP/")
}
