//! What a container takes of the machine at this moment, as the kernel counts it for its control groups and processes.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::processes;

/// Of `/proc` in a second: the kernel's USER_HZ on all architectures that kiln runs on.
const TICKS: u64 = 100;

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// Processor time so far, in milliseconds.
    pub(crate) cpu: u64,
    /// Bytes.
    pub(crate) memory: u64,
    /// Processes and threads.
    pub(crate) tasks: u64,
    /// Bytes received and sent; none of a container on the host's network, which are not its own.
    pub(crate) network: (u64, u64),
    /// Bytes read from devices and written to them.
    pub(crate) blocks: (u64, u64),
}

/// Of the process `init` and those in its pid namespace.
pub(crate) fn of(init: u32) -> Usage {
    let mut usage = Usage::default();
    for pid in processes::pids(init) {
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        usage.cpu += processor_time(&read("stat"), pid == init);
        usage.tasks += number(&read("status"), "Threads:");
        // Shared pages count once: each process has its part of them.
        usage.memory += number(&read("smaps_rollup"), "Pss:") * 1024;
        let blocks = read("io");
        usage.blocks.0 += number(&blocks, "read_bytes:");
        usage.blocks.1 += number(&blocks, "write_bytes:");
    }
    if let Some(memory) = group(init, "memory").and_then(|group| memory_of(&group)) {
        usage.memory = memory;
    }
    if let Some(cpu) = group(init, "cpuacct").and_then(|group| processor_time_of(&group)) {
        usage.cpu = cpu;
    }
    let link = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).ok();
    if link(&init.to_string()) != link("self") {
        usage.network = transferred(&fs::read_to_string(format!("/proc/{init}/net/dev")).unwrap_or_default());
    }
    usage
}

/// The group that was made for the container, if one was for this controller.
fn group(process: u32, controller: &str) -> Option<PathBuf> {
    let groups = fs::read_to_string(format!("/proc/{process}/cgroup")).ok()?;
    let (top, path) = groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let top = match controllers.split(',').any(|name| name == controller) {
            true => format!("/sys/fs/cgroup/{controller}"),
            false if controllers.is_empty() => "/sys/fs/cgroup".to_owned(),
            false => return None,
        };
        Path::new(path).file_name()?.to_str()?.starts_with("kiln-").then(|| (top, path.to_owned()))
    })?;
    Some(Path::new(&top).join(path.trim_start_matches('/')))
}

fn memory_of(group: &Path) -> Option<u64> {
    let read = |file: &str| fs::read_to_string(group.join(file)).ok()?.trim().parse::<u64>().ok();
    let used = read("memory.current").or_else(|| read("memory.usage_in_bytes"))?;
    // What can be dropped at once is not in use (docker stats, "CLI memory usage").
    let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    Some(used.saturating_sub(number(&stat, "inactive_file ").max(number(&stat, "total_inactive_file "))))
}

fn processor_time_of(group: &Path) -> Option<u64> {
    if let Ok(stat) = fs::read_to_string(group.join("cpu.stat"))
        && stat.contains("usage_usec ")
    {
        return Some(number(&stat, "usage_usec ") / 1000);
    }
    let nanoseconds = fs::read_to_string(group.join("cpuacct.usage")).ok()?;
    Some(nanoseconds.trim().parse::<u64>().ok()? / 1_000_000)
}

/// The number behind `name` at the beginning of a line.
fn number(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Of `/proc/PID/stat`, in milliseconds; of the first process that of its children too that have ended.
fn processor_time(stat: &str, with_ended: bool) -> u64 {
    // The name may hold anything; the fields behind it are counted from 3 (proc_pid_stat(5)).
    let Some((_, fields)) = stat.rsplit_once(')') else { return 0 };
    let fields: Vec<u64> = fields.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
    let last = if with_ended { 17 } else { 15 };
    let ticks: u64 = (14..=last).filter_map(|field| fields.get(field - 3)).sum();
    ticks * 1000 / TICKS
}

/// Bytes received and sent by all links but loopback (`/proc/net/dev`).
fn transferred(text: &str) -> (u64, u64) {
    let links = text.lines().filter_map(|line| line.split_once(':')).filter(|(name, _)| name.trim() != "lo");
    links.fold((0, 0), |(received, sent), (_, fields)| {
        let fields: Vec<u64> = fields.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        let field = |index: usize| fields.get(index).copied().unwrap_or(0);
        (received + field(0), sent + field(8))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let stat = "7 (a) b c) S 1 7 7 0 -1 4194560 100 0 0 0 30 20 500 0 20 0 1 0 5 6 7";
        assert_eq!(processor_time(stat, false), 500);
        assert_eq!(processor_time(stat, true), 5500);
        assert_eq!(processor_time("", true), 0);
        let links = "Inter-|   Receive  |  Transmit\n face |bytes |bytes\n    lo: 9 0 0 0 0 0 0 0 9 0\n  eth0: 100 1 0 0 0 0 0 0 200 2 0 0 0 0 0 0\n";
        assert_eq!(transferred(links), (100, 200));
        assert_eq!(number("Name:\tx\nThreads:\t12\n", "Threads:"), 12);
    }
}
