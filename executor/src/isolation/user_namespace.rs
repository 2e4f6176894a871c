//! Entering a user namespace as an ordinary user.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{WaitId, WaitIdOptions, waitid};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use super::Rung;
use super::subordinate::{self, Range};
use crate::process::parse_accounts;
use crate::sys::{self, Forked, SingleThreaded};

/// Where the set-user-id programs are looked for.
const PLACES: [&str; 5] = ["/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin", "/usr/local/sbin"];

/// What mapping more than one id takes.
#[derive(Debug)]
pub(super) enum Subordinate {
    /// An ordinary user's ranges, and the programs that map them.
    Ranges { newuidmap: PathBuf, newgidmap: PathBuf, uids: Vec<Range>, gids: Vec<Range> },
    /// Root without CAP_SYS_ADMIN, in a container: all ids that it has itself, mapped to themselves.
    Own { uids: String, gids: String },
}

impl Subordinate {
    /// Looks for the user's ranges and the programs that map them.
    pub(super) fn find(login: Option<&str>) -> Result<Self, String> {
        let uid = rustix::process::geteuid().as_raw();
        if uid == 0 {
            let own = |file: &str| fs::read_to_string(file).map(|map| subordinate::same(&map));
            let read = |error: io::Error| format!("read this process's ids: {error}");
            let (uids, gids) =
                (own("/proc/self/uid_map").map_err(read)?, own("/proc/self/gid_map").map_err(read)?);
            return Ok(Self::Own { uids, gids });
        }
        let accounts = fs::read("/etc/passwd").map(|text| parse_accounts(&text)).unwrap_or_default();
        let listed = accounts.into_iter().find(|account| account.uid == uid).map(|account| account.name);
        let name = listed.as_deref().or(login);
        let ranges = |file: &str| {
            let found = subordinate::ranges(&fs::read_to_string(file).unwrap_or_default(), uid, name);
            if found.is_empty() {
                let shown = name.map_or_else(|| uid.to_string(), str::to_owned);
                return Err(format!(
                    "{file} has no range for {shown}: `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {shown}` as root adds one"
                ));
            }
            Ok(found)
        };
        let program = |name: &str| {
            let found = PLACES.iter().map(|place| Path::new(place).join(name)).find(|path| path.is_file());
            found.ok_or_else(|| {
                format!("{name} is not installed: it is in the package uidmap or shadow-utils")
            })
        };
        Ok(Self::Ranges {
            uids: ranges("/etc/subuid")?,
            gids: ranges("/etc/subgid")?,
            newuidmap: program("newuidmap")?,
            newgidmap: program("newgidmap")?,
        })
    }

    /// Enters a new user and mount namespace with all ids mapped. If it fails after the namespaces were made, they are left
    /// without a map.
    pub(super) fn enter(&self, alone: &SingleThreaded) -> Result<(), String> {
        let failed = |what: &str, error: io::Error| format!("{what}: {error}");
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let process = std::process::id();
        let (mut go, ready) = io::pipe().map_err(|e| failed("make a pipe", e))?;
        let (mut answer, tell) = io::pipe().map_err(|e| failed("make a pipe", e))?;
        // The programs work from outside of the namespace, on its first process: this one.
        match sys::fork(alone, UnshareFlags::empty()).map_err(|e| failed("fork", e))? {
            Forked::Child => {
                drop((ready, answer));
                let mut tell = tell;
                let went = go.read_exact(&mut [0]);
                let outcome =
                    went.map_err(|e| e.to_string()).and_then(|()| self.write_maps(process, uid, gid));
                // Nobody listens if the parent failed.
                let _ = tell.write_all(outcome.err().unwrap_or_default().as_bytes());
                sys::exit(0)
            }
            Forked::Parent(helper) => {
                drop((go, tell));
                let mut ready = ready;
                let entered = unshare();
                if entered.is_ok() {
                    ready.write_all(&[1]).map_err(|e| failed("speak to the helper", e))?;
                }
                drop(ready);
                let mut problem = String::new();
                let heard = answer.read_to_string(&mut problem);
                let _ = rustix::io::retry_on_intr(|| {
                    waitid(WaitId::PidFd(helper.as_fd()), WaitIdOptions::EXITED)
                });
                entered?;
                heard.map_err(|e| failed("hear from the helper", e))?;
                if problem.is_empty() { Ok(()) } else { Err(problem) }
            }
        }
    }

    /// Runs both programs at once: each takes milliseconds. Root needs none.
    fn write_maps(&self, process: u32, uid: u32, gid: u32) -> Result<(), String> {
        let (newuidmap, newgidmap, uids, gids) = match self {
            Self::Ranges { newuidmap, newgidmap, uids, gids } => (newuidmap, newgidmap, uids, gids),
            Self::Own { uids, gids } => {
                for (kind, map) in [("uid_map", uids), ("gid_map", gids)] {
                    let file = format!("/proc/{process}/{kind}");
                    fs::write(&file, map).map_err(|error| {
                        format!("write {file} (needs CAP_SETUID, CAP_SETGID and CAP_SETFCAP): {error}")
                    })?;
                }
                return Ok(());
            }
        };
        let start = |program: &Path, own, ranges: &[Range]| {
            let mut command = Command::new(program);
            command.arg(process.to_string()).args(subordinate::map(own, ranges)).env_clear();
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
            command.spawn().map_err(|error| format!("{}: {error}", program.display()))
        };
        let (users, groups) = (start(newuidmap, uid, uids)?, start(newgidmap, gid, gids)?);
        for (program, child) in [(newuidmap, users), (newgidmap, groups)] {
            let output =
                child.wait_with_output().map_err(|error| format!("{}: {error}", program.display()))?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                return Err(format!("{} failed: {}", program.display(), said.trim()));
            }
        }
        Ok(())
    }
}

/// Enters the user namespace of a process of the same user, and a new mount namespace; gives the rung of who made it.
pub(super) fn enter_that_of(process: u32) -> Result<Rung, String> {
    let file = format!("/proc/{process}/ns/user");
    let failed = |error: io::Error| format!("enter {file}: {error}");
    let namespace = fs::File::open(&file).map_err(failed)?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::User))
        .map_err(|errno| failed(errno.into()))?;
    sys::unshare(UnshareFlags::NEWNS).map_err(|errno| format!("make a mount namespace: {errno}"))?;
    let map = fs::read_to_string("/proc/self/uid_map").map_err(failed)?;
    let is_single = map.lines().count() == 1 && map.split_whitespace().nth(2) == Some("1");
    Ok(if is_single { Rung::SingleId } else { Rung::SubordinateIds })
}

/// Makes the namespaces.
pub(super) fn unshare() -> Result<(), String> {
    sys::unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS).map_err(|error| {
        let is = |file: &str, value: &str| fs::read_to_string(file).is_ok_and(|text| text.trim() == value);
        let hint = if is("/proc/sys/user/max_user_namespaces", "0") {
            "; the kernel parameter user.max_user_namespaces is 0"
        } else if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
            "; the kernel parameter kernel.unprivileged_userns_clone is 0"
        } else if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
            "; the kernel parameter kernel.apparmor_restrict_unprivileged_userns is 1"
        } else {
            "; in a container, its engine's seccomp profile forbids it"
        };
        format!("make a user namespace: {}{hint}", io::Error::from(error))
    })
}

/// Maps the ids `uid` and `gid`, which this process had before it entered its user namespace, to 0, and no others.
pub(super) fn map_one(uid: u32, gid: u32) -> Result<(), String> {
    for (file, text) in [
        ("/proc/self/uid_map", format!("0 {uid} 1")),
        // Demanded before an ordinary user may write the next one (user_namespaces(7)).
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/gid_map", format!("0 {gid} 1")),
    ] {
        fs::write(file, text).map_err(|error| format!("write {file}: {error}"))?;
    }
    Ok(())
}
