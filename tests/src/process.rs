//! What runs and what is mounted on the machine, as /proc tells.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Whether a process with exactly these arguments runs anywhere on the machine.
pub fn is_running(arguments: &[&str]) -> bool {
    let wanted: Vec<u8> = arguments.iter().flat_map(|word| word.bytes().chain([0])).collect();
    let processes = fs::read_dir("/proc").expect("list /proc").flatten();
    processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok()).any(|line| line == wanted)
}

/// Waits until a process with these arguments runs, or runs no more; false if that takes more than ten seconds.
pub fn wait_until(running: bool, arguments: &[&str]) -> bool {
    let patience = Instant::now() + Duration::from_secs(10);
    while is_running(arguments) != running {
        if Instant::now() > patience {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10)); // the kernel tells nobody about another's orphans
    }
    true
}

/// Whether anything is mounted below a directory, as this process sees it.
pub fn has_mounts(below: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("read mountinfo");
    mounts.contains(&*below.to_string_lossy())
}

/// The processes that were started with this store, as their environment tells: kiln's own, not those of steps.
pub fn processes_of(store: &Path) -> Vec<i32> {
    let wanted = format!("KILN_ROOT={}", store.display()).into_bytes();
    let entries = fs::read_dir("/proc").expect("list /proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        // Or in a directory of it, where one id alone is mapped.
        let is_of = |variable: &[u8]| {
            variable.strip_prefix(&*wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        };
        environment.split(|byte| *byte == 0).any(is_of)
    })
    .collect()
}

/// Waits until nobody works on a store any more, those who sync it and collect its garbage included.
pub fn settle(store: &Path) {
    let patience = Instant::now() + Duration::from_secs(60);
    while !processes_of(store).is_empty() {
        assert!(Instant::now() < patience, "processes of the store: {:?}", processes_of(store));
        std::thread::sleep(Duration::from_millis(10)); // they are nobody's children
    }
}
