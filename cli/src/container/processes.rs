//! The processes of a container, as `/proc` tells of them.

use std::collections::BTreeMap;
use std::fs;

/// A process.
struct Process {
    pid: u32,
    parent: u32,
    uid: u32,
    command: String,
}

/// `kiln top`: the process `init` and all below it, and those that entered its pid namespace.
pub(crate) fn table(init: u32) -> String {
    let mut text = String::from("UID                 PID                 PPID                CMD\n");
    for process in of(init) {
        let Process { pid, parent, uid, command } = process;
        text.push_str(&format!("{uid:<19} {pid:<19} {parent:<19} {command}\n"));
    }
    text
}

fn of(init: u32) -> Vec<Process> {
    let found: BTreeMap<u32, Process> = pids(init).filter_map(|pid| Some((pid, read(pid)?))).collect();
    found.into_values().collect()
}

/// The processes in the pid namespace of `init`.
pub(crate) fn pids(init: u32) -> impl Iterator<Item = u32> {
    let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let own = namespace(init);
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(move |&pid| own.is_some() && namespace(pid) == own)
}

fn read(pid: u32) -> Option<Process> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name))?;
        value.split_ascii_whitespace().next().map(str::to_owned)
    };
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> =
        line.split(|&b| b == 0).filter(|word| !word.is_empty()).map(String::from_utf8_lossy).collect();
    let command = if words.is_empty() { field("Name:")? } else { words.join(" ") };
    Some(Process { pid, parent: field("PPid:")?.parse().ok()?, uid: field("Uid:")?.parse().ok()?, command })
}
