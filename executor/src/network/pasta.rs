//! The way out for ordinary users: pasta (package passt) translates between a link in the namespace and sockets of its own.
//!
//! It is told to forward no ports in either direction, and not to show the host's loopback as the gateway, which it would do
//! by default. It goes into the background when the link is there; it stays in the pid namespace of the launcher, so that it
//! cannot outlive kiln.

use std::fs;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::CWD;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::thread::UnshareFlags;

use super::NetworkError;
use super::error::During as _;
use super::outside::Child;
use crate::sys;

/// The container's address. Nobody outside sees it, so it is the same in every network.
pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 100);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const ADDRESS_V6: &str = "fd6b:696c:6e00::100";
const GATEWAY_V6: &str = "fd6b:696c:6e00::2";

/// Where packages and people put it, if it is not in PATH.
const PLACES: [&str; 3] = ["/usr/bin", "/usr/local/bin", "/bin"];

/// Looks for pasta in the directories of `path`; in the usual places if that is empty.
pub(super) fn find(path: &str) -> Option<PathBuf> {
    let directories: Vec<&str> =
        if path.is_empty() { PLACES.to_vec() } else { path.split(':').filter(|d| !d.is_empty()).collect() };
    directories.into_iter().map(|directory| Path::new(directory).join("pasta")).find(|file| file.is_file())
}

/// A running pasta; ends when dropped.
#[derive(Debug)]
pub(super) struct Pasta(Child);

impl Pasta {
    /// Connects the namespace; returns when its link works. To be called in a process of one thread, whose mounts are changed.
    pub(super) fn start(program: &Path, namespace: BorrowedFd<'_>) -> Result<Self, NetworkError> {
        // Its daemon becomes a child of this process.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).during("adopt pasta")?;
        let place = show(namespace).during("show the network namespace to pasta")?;
        let pid_file = place.with_file_name("pasta.pid");
        let mut command = Command::new(program);
        command.args(["--config-net", "--quiet", "--no-map-gw", "--netns-only", "--ns-ifname", "eth0"]);
        command.args(["-t", "none", "-u", "none", "-T", "none", "-U", "none"]);
        command.args([
            "--address",
            &ADDRESS.to_string(),
            "--netmask",
            "24",
            "--gateway",
            &GATEWAY.to_string(),
        ]);
        if has_route_v6(&fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default()) {
            command.args(["--address", ADDRESS_V6, "--gateway", GATEWAY_V6]);
        } else {
            command.arg("--ipv4-only");
        }
        command.arg("--pid").arg(&pid_file).arg("--netns").arg(&place);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).env_clear();
        let output = match command.output() {
            Ok(output) => output,
            Err(error) => return Err(NetworkError::Pasta(error.to_string())),
        };
        if !output.status.success() {
            return Err(NetworkError::Pasta(complaint(&String::from_utf8_lossy(&output.stderr))));
        }
        let number = fs::read_to_string(&pid_file).during("read pasta's process id")?;
        let pid = number.trim().parse().ok().and_then(Pid::from_raw).ok_or(NetworkError::Lost)?;
        Ok(Self(Child(pidfd_open(pid, PidfdFlags::empty()).during("find pasta")?)))
    }

    /// Readable when it has ended.
    pub(super) fn process(&self) -> &OwnedFd {
        &self.0.0
    }
}

/// Shows a namespace as a file. A path below `/proc` would not do: pasta gives up the capabilities without which it may not
/// look at this process's descriptors. `/run/user/0/netns` is where AppArmor's profile of pasta lets it look.
fn show(namespace: BorrowedFd<'_>) -> std::io::Result<PathBuf> {
    sys::unshare(UnshareFlags::NEWNS)?;
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
    mount(c"tmpfs", "/run", c"tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"mode=755,size=64k")?;
    fs::create_dir_all("/run/user/0/netns")?;
    let place = PathBuf::from("/run/user/0/netns/kiln");
    rustix::fs::openat(
        CWD,
        &place,
        rustix::fs::OFlags::CREATE | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::from_raw_mode(0o600),
    )?;
    mount_bind(format!("/proc/self/fd/{}", namespace.as_raw_fd()), &place)?;
    Ok(place)
}

/// The last thing that pasta said of itself; old versions also complain of each line that no syslog took.
fn complaint(stderr: &str) -> String {
    let mut lines =
        stderr.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("Failed to send"));
    let line = lines.next_back().unwrap_or("it said nothing");
    let hint = if line.contains("tun") {
        " (is /dev/net/tun there, and may everybody open it? `modprobe tun`, `chmod 0666 /dev/net/tun`)"
    } else {
        ""
    };
    format!("{line}{hint}")
}

/// Whether the host has an IPv6 default route, from the text of `/proc/net/ipv6_route`.
fn has_route_v6(table: &str) -> bool {
    const NOWHERE: &str = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 ";
    table.lines().any(|line| {
        line.starts_with(NOWHERE)
            && line.split_whitespace().nth(4).is_some_and(|gateway| gateway.bytes().any(|b| b != b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pasta_says_is_told_without_its_complaints_of_syslog() {
        let said = "Failed to send 45 bytes to syslog\nFailed to open tun socket in namespace\n";
        assert!(complaint(said).starts_with("Failed to open tun socket in namespace (is /dev/net/tun there"));
        assert_eq!(complaint(""), "it said nothing");
    }
}
