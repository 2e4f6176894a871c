//! Pausing: the processes of a container in a control group of their own, which is frozen. Version 1 has a hierarchy for
//! it, in version 2 every group can be. A group is made for a pause alone: most containers have none.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::container::processes;

const TOP: &str = "/sys/fs/cgroup";
/// The file of a container's directory that says where its frozen group is.
const NOTE: &str = "frozen";
/// How often processes that are started meanwhile are gone after, and how often the kernel is asked whether all stand.
const ROUNDS: usize = 500;

/// A frozen group. It is thawed when it is dropped.
#[derive(Debug)]
pub(super) struct Freezer {
    group: PathBuf,
    parent: PathBuf,
    note: PathBuf,
}

impl Freezer {
    /// Freezes the process `init` and all that is in its pid namespace.
    pub(super) fn freeze(init: u32, container: &Path) -> io::Result<Self> {
        let parent = parent(init)?;
        let group = parent.join(format!("kiln-{}-frozen", std::process::id()));
        let note = container.join(NOTE);
        // First: whoever finds the container after a crash has to know.
        fs::write(&note, group.as_os_str().as_encoded_bytes())?;
        let freezer = Self { group, parent, note };
        match fs::create_dir(&freezer.group) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        freezer.gather(init)?;
        set(&freezer.group, true)?;
        for _ in 0..ROUNDS {
            if is_frozen(&freezer.group)? {
                return Ok(freezer);
            }
            // The kernel tells nobody in version 1; a process in a call may take a moment.
            std::thread::sleep(Duration::from_millis(2));
        }
        Err(io::Error::other("its processes did not stop"))
    }

    /// Moves the processes into the group, and those that they started meanwhile.
    fn gather(&self, init: u32) -> io::Result<()> {
        let mut moved = BTreeSet::new();
        for _ in 0..ROUNDS {
            let fresh: Vec<u32> = processes::pids(init).filter(|pid| !moved.contains(pid)).collect();
            if fresh.is_empty() {
                break;
            }
            for pid in fresh {
                match fs::write(self.group.join("cgroup.procs"), pid.to_string()) {
                    // It has ended.
                    Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {}
                    written => written?,
                }
                moved.insert(pid);
            }
        }
        Ok(())
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        thaw(&self.group, &self.parent);
        let _ = fs::remove_file(&self.note);
    }
}

/// Lets processes go that a supervisor left frozen when it was killed: frozen, they do not even end.
pub(crate) fn thaw_what_was_left(container: &Path) {
    let note = container.join(NOTE);
    let Ok(group) = fs::read_to_string(&note).map(PathBuf::from) else { return };
    if let (true, Some(parent)) = (group.starts_with(TOP), group.parent()) {
        thaw(&group, parent);
    }
    let _ = fs::remove_file(note);
}

/// What fails here fails because the processes have gone.
fn thaw(group: &Path, parent: &Path) {
    let _ = set(group, false);
    for pid in fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default().lines() {
        let _ = fs::write(parent.join("cgroup.procs"), pid);
    }
    // What was killed while it was frozen ends only now, and cannot be moved.
    for _ in 0..ROUNDS {
        match fs::remove_dir(group) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                std::thread::sleep(Duration::from_millis(2));
            }
            _ => return,
        }
    }
}

/// The group that a process is in now, in the hierarchy that freezes.
fn parent(process: u32) -> io::Result<PathBuf> {
    let groups = fs::read_to_string(format!("/proc/{process}/cgroup"))?;
    let of = |wanted: &dyn Fn(&str) -> bool| {
        let mut lines = groups.lines().map(|line| line.splitn(3, ':').skip(1));
        lines.find_map(|mut fields| fields.next().filter(|field| wanted(field)).and(fields.next()))
    };
    let first = Path::new(TOP).join("freezer");
    let below = |top: &Path, path: &str| top.join(path.trim_start_matches('/'));
    if let (true, Some(path)) = (first.is_dir(), of(&|field| field.split(',').any(|name| name == "freezer")))
    {
        return Ok(below(&first, path));
    }
    match of(&str::is_empty) {
        Some(path) if Path::new(TOP).join("cgroup.procs").exists() => Ok(below(Path::new(TOP), path)),
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "there are no control groups that freeze")),
    }
}

fn set(group: &Path, frozen: bool) -> io::Result<()> {
    let second = group.join("cgroup.freeze");
    if second.exists() {
        return fs::write(second, if frozen { "1" } else { "0" });
    }
    fs::write(group.join("freezer.state"), if frozen { "FROZEN" } else { "THAWED" })
}

fn is_frozen(group: &Path) -> io::Result<bool> {
    match fs::read_to_string(group.join("freezer.state")) {
        Ok(state) => Ok(state.trim() == "FROZEN"),
        Err(_) => Ok(fs::read_to_string(group.join("cgroup.events"))?.lines().any(|line| line == "frozen 1")),
    }
}
