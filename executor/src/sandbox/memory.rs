//! What the kernel says of the memory of kiln's own control group: the container's, if kiln runs in one.

use std::fs;
use std::path::{Path, PathBuf};

/// How often something in it was killed because its limit was reached, if that can be read.
pub(crate) fn own_kills() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    files(&own).iter().find_map(|file| kills(&fs::read_to_string(file).ok()?))
}

/// Where the count may be, by the lines of `/proc/self/cgroup`. A container sees its own group at the top.
fn files(own: &str) -> Vec<PathBuf> {
    let lines = own.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?.trim_start_matches('/'));
        let (top, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.events"),
            _ if controllers.split(',').any(|c| c == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.oom_control")
            }
            _ => return None,
        };
        Some([Path::new(top).join(path).join(file), Path::new(top).join(file)])
    });
    lines.flatten().collect()
}

/// The number in `memory.events` or `memory.oom_control`.
fn kills(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_control_groups_are_understood() {
        let shown =
            |own: &str| -> Vec<String> { files(own).iter().map(|path| path.display().to_string()).collect() };
        assert_eq!(
            shown("0::/pod/c\n"),
            ["/sys/fs/cgroup/pod/c/memory.events", "/sys/fs/cgroup/memory.events"]
        );
        assert_eq!(
            shown("9:cpu:/docker/x\n5:memory:/docker/x\n"),
            ["/sys/fs/cgroup/memory/docker/x/memory.oom_control", "/sys/fs/cgroup/memory/memory.oom_control"]
        );
        assert_eq!(kills("low 0\noom 3\noom_kill 2\noom_group_kill 0\n"), Some(2));
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"), Some(1));
    }
}
