//! A control group for one sandbox, where limits were asked for: below kiln's own group, in version 2 or the hierarchies of
//! version 1, removed with the sandbox.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::plan::Limits;

const TOP: &str = "/sys/fs/cgroup";
const VERSION_2_MAGIC: rustix::fs::FsWord = 0x6367_7270;

/// What was attempted, and the error.
type Failed = (String, io::Error);

/// One group in one hierarchy or several.
#[derive(Debug)]
pub(crate) struct Group {
    directories: Vec<PathBuf>,
    /// The file that counts out-of-memory kills.
    kills: Option<PathBuf>,
    /// What could not be set, where that is no error.
    passed_over: Vec<String>,
}

/// A file of a group and what is written into it.
struct Setting {
    controller: &'static str,
    file: &'static str,
    value: String,
    /// Where the kernel has another file for it.
    otherwise: Option<(&'static str, String)>,
}

impl Setting {
    fn new(controller: &'static str, file: &'static str, value: String) -> Self {
        Self { controller, file, value, otherwise: None }
    }
}

impl Group {
    /// Makes a group with `limits`.
    pub(crate) fn make(limits: &Limits) -> Result<Self, Failed> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let own =
            fs::read_to_string("/proc/self/cgroup").map_err(|e| ("read /proc/self/cgroup".to_owned(), e))?;
        // The number of this process as the host counts.
        let process = fs::read_link("/proc/self").map_err(|e| ("read /proc/self".to_owned(), e))?;
        let name = format!("kiln-{}-{}", process.display(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let mut group = Self { directories: Vec::new(), kills: None, passed_over: Vec::new() };
        let unified = rustix::fs::statfs(TOP).is_ok_and(|stat| stat.f_type == VERSION_2_MAGIC);
        if unified {
            group.make_unified(limits, &own, &name)?;
        } else {
            group.make_separate(limits, &own, &name)?;
        }
        Ok(group)
    }

    fn make_unified(&mut self, limits: &Limits, own: &str, name: &str) -> Result<(), Failed> {
        let settings = unified_settings(limits);
        let mine = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
        // A group with processes in it cannot pass controllers on, so kiln's own is tried last.
        let parents: Vec<PathBuf> = if limits.parent.is_empty() {
            let above = Path::new(mine).parent().map_or("/".into(), Path::to_owned);
            vec![above, mine.into()]
        } else {
            vec![limits.parent.clone().into()]
        };
        let mut last = None;
        for parent in parents {
            let parent = below(TOP, &parent);
            match self.try_unified(&parent, name, &settings, limits) {
                Ok(()) => return Ok(()),
                Err(failed) => last = Some(failed),
            }
            self.remove();
        }
        let failed = last.expect("there is at least one parent");
        if !limits.best_effort {
            return Err(failed);
        }
        self.pass_over(&failed);
        Ok(())
    }

    fn try_unified(
        &mut self,
        parent: &Path,
        name: &str,
        settings: &[Setting],
        limits: &Limits,
    ) -> Result<(), Failed> {
        if !limits.parent.is_empty() {
            fs::create_dir_all(parent)
                .map_err(|e| (format!("make the control group {}", parent.display()), e))?;
        }
        sweep(parent);
        let passed_on = fs::read_to_string(parent.join("cgroup.subtree_control")).unwrap_or_default();
        for setting in settings {
            if !passed_on.split_whitespace().any(|c| c == setting.controller) {
                let control = parent.join("cgroup.subtree_control");
                // If it fails, writing the limit fails too, and tells.
                let _ = fs::write(control, format!("+{}", setting.controller));
            }
        }
        let directory = parent.join(name);
        fs::create_dir(&directory)
            .map_err(|e| (format!("make the control group {}", directory.display()), e))?;
        self.directories.push(directory.clone());
        for setting in settings {
            self.apply(&directory, setting, limits.best_effort)?;
        }
        if limits.memory.is_some() {
            self.kills = Some(directory.join("memory.events"));
        }
        Ok(())
    }

    fn make_separate(&mut self, limits: &Limits, own: &str, name: &str) -> Result<(), Failed> {
        for setting in separate_settings(limits) {
            let made = self.separate_directory(setting.controller, limits, own, name);
            let directory = match made {
                Ok(directory) => directory,
                Err(failed) if limits.best_effort => {
                    self.pass_over(&failed);
                    continue;
                }
                Err(failed) => return Err(failed),
            };
            self.apply(&directory, &setting, limits.best_effort)?;
            if setting.controller == "memory" {
                self.kills = Some(directory.join("memory.oom_control"));
            }
        }
        Ok(())
    }

    fn separate_directory(
        &mut self,
        controller: &str,
        limits: &Limits,
        own: &str,
        name: &str,
    ) -> Result<PathBuf, Failed> {
        let mine = own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            controllers.split(',').any(|c| c == controller).then_some(path)
        });
        let failed = |e| (format!("make a {controller} control group"), e);
        let mine = mine.ok_or_else(|| failed(io::Error::from(ErrorKind::NotFound)))?;
        let parent = if limits.parent.is_empty() { mine } else { &limits.parent };
        let parent = below(&format!("{TOP}/{controller}"), Path::new(parent));
        let directory = parent.join(name);
        if self.directories.contains(&directory) {
            return Ok(directory);
        }
        if !limits.parent.is_empty() {
            fs::create_dir_all(&parent).map_err(failed)?;
        }
        sweep(&parent);
        fs::create_dir(&directory).map_err(failed)?;
        self.directories.push(directory.clone());
        if controller == "cpuset" {
            // A new one allows nothing, not even to be entered.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let inherited = fs::read_to_string(parent.join(file)).map_err(failed)?;
                fs::write(directory.join(file), inherited.trim()).map_err(failed)?;
            }
        }
        Ok(directory)
    }

    /// The files through which a process enters the group.
    pub(crate) fn entrances(&self) -> io::Result<Vec<OwnedFd>> {
        let open = |directory: &PathBuf| fs::File::options().write(true).open(directory.join("cgroup.procs"));
        self.directories.iter().map(|directory| Ok(open(directory)?.into())).collect()
    }

    /// Whether the kernel killed something in the group because its memory was used up.
    pub(crate) fn out_of_memory(&self) -> bool {
        let Some(text) = self.kills.as_ref().and_then(|file| fs::read_to_string(file).ok()) else {
            return false;
        };
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.and_then(|count| count.trim().parse::<u64>().ok()).is_some_and(|count| count > 0)
    }

    fn apply(&mut self, directory: &Path, setting: &Setting, best_effort: bool) -> Result<(), Failed> {
        let mut written = fs::write(directory.join(setting.file), &setting.value);
        if let (Err(_), Some((file, value))) = (&written, &setting.otherwise) {
            written = fs::write(directory.join(file), value);
        }
        let Err(error) = written else { return Ok(()) };
        let failed = (format!("set {} to {} in the control group", setting.file, setting.value), error);
        if !best_effort {
            return Err(failed);
        }
        self.pass_over(&failed);
        Ok(())
    }

    fn pass_over(&mut self, (operation, error): &Failed) {
        self.passed_over.push(format!("{operation}: {error}"));
    }

    /// What could not be set, where that is no error.
    pub(crate) fn passed_over(&self) -> &[String] {
        &self.passed_over
    }

    fn remove(&mut self) {
        for directory in self.directories.drain(..) {
            // Everything in it has ended; what cannot be removed now is swept later.
            let _ = fs::remove_dir(directory);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.remove();
    }
}

/// `path` below `top`, whatever it says: dots and slashes lead nowhere.
fn below(top: &str, path: &Path) -> PathBuf {
    let mut found = PathBuf::from(top);
    found.extend(path.components().filter(|component| matches!(component, Component::Normal(_))));
    found
}

/// Removes groups of launchers that are gone.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix("kiln-")?.split_once('-'))
            .map(|(owner, _)| owner);
        let Some(owner) = owner.and_then(|owner| owner.parse::<u32>().ok()) else { continue };
        if !Path::new(&format!("/proc/{owner}")).exists() {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

fn unified_settings(limits: &Limits) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut add = |controller, file, value: String| settings.push(Setting::new(controller, file, value));
    let or_max = |value: i64| if value < 0 { "max".to_owned() } else { value.to_string() };
    if let Some(memory) = limits.memory {
        add("memory", "memory.max", or_max(memory));
    }
    if let (Some(both), Some(memory)) = (limits.memory_and_swap, limits.memory) {
        // Version 2 limits swap by itself.
        add(
            "memory",
            "memory.swap.max",
            if both < 0 { "max".into() } else { (both - memory).max(0).to_string() },
        );
    }
    if let Some((quota, period)) = limits.cpu {
        add("cpu", "cpu.max", format!("{} {period}", or_max(quota)));
    }
    if let Some(shares) = limits.cpu_shares {
        // 2..=262144 onto 1..=10000, as the other runtimes do it.
        let weight = 1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142;
        add("cpu", "cpu.weight", weight.to_string());
    }
    if let Some(cpus) = &limits.cpus {
        add("cpuset", "cpuset.cpus", cpus.clone());
    }
    if let Some(nodes) = &limits.nodes {
        add("cpuset", "cpuset.mems", nodes.clone());
    }
    if let Some(pids) = limits.pids {
        add("pids", "pids.max", or_max(pids));
    }
    if let Some(kept) = limits.memory_reservation {
        add("memory", "memory.low", kept.to_string());
    }
    for rate in &limits.block_rates {
        add("io", "io.max", format!("{}:{} {}={}", rate.major, rate.minor, rate.kind, rate.rate));
    }
    if let Some(weight) = limits.block_weight {
        // 10..=1000 onto 1..=10000, as the other runtimes do it.
        let wide = 1 + (u32::from(weight).clamp(10, 1000) - 10) * 9999 / 990;
        let otherwise = Some(("io.bfq.weight", weight.to_string()));
        settings.push(Setting { otherwise, ..Setting::new("io", "io.weight", wide.to_string()) });
    }
    settings
}

fn separate_settings(limits: &Limits) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut add = |controller, file, value: String| settings.push(Setting::new(controller, file, value));
    if let Some(memory) = limits.memory {
        add("memory", "memory.limit_in_bytes", memory.to_string());
    }
    if let Some(both) = limits.memory_and_swap {
        add("memory", "memory.memsw.limit_in_bytes", both.to_string());
    }
    if let Some((quota, period)) = limits.cpu {
        add("cpu", "cpu.cfs_period_us", period.to_string());
        add("cpu", "cpu.cfs_quota_us", quota.to_string());
    }
    if let Some(shares) = limits.cpu_shares {
        add("cpu", "cpu.shares", shares.to_string());
    }
    if let Some(cpus) = &limits.cpus {
        add("cpuset", "cpuset.cpus", cpus.clone());
    }
    if let Some(nodes) = &limits.nodes {
        add("cpuset", "cpuset.mems", nodes.clone());
    }
    if let Some(pids) = limits.pids {
        add("pids", "pids.max", if pids < 0 { "max".into() } else { pids.to_string() });
    }
    if let Some(kept) = limits.memory_reservation {
        add("memory", "memory.soft_limit_in_bytes", kept.to_string());
    }
    for rate in &limits.block_rates {
        let file = match rate.kind.as_str() {
            "rbps" => "blkio.throttle.read_bps_device",
            "wbps" => "blkio.throttle.write_bps_device",
            "riops" => "blkio.throttle.read_iops_device",
            _ => "blkio.throttle.write_iops_device",
        };
        add("blkio", file, format!("{}:{} {}", rate.major, rate.minor, rate.rate));
    }
    if let Some(weight) = limits.block_weight {
        let otherwise = Some(("blkio.weight", weight.to_string()));
        settings.push(Setting { otherwise, ..Setting::new("blkio", "blkio.bfq.weight", weight.to_string()) });
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_stays_below_the_mount_point() {
        assert_eq!(
            below("/sys/fs/cgroup", Path::new("../../etc/./x//y")),
            Path::new("/sys/fs/cgroup/etc/x/y")
        );
        assert_eq!(below("/sys/fs/cgroup", Path::new("/")), Path::new("/sys/fs/cgroup"));
    }

    #[test]
    fn limits_are_worded_for_each_version() {
        let limits = Limits {
            memory: Some(1000),
            memory_and_swap: Some(1500),
            cpu: Some((-1, 100)),
            cpu_shares: Some(1024),
            pids: Some(-1),
            ..Limits::default()
        };
        let text = |settings: Vec<Setting>| -> Vec<String> {
            settings.into_iter().map(|s| format!("{}={}", s.file, s.value)).collect()
        };
        assert_eq!(
            text(unified_settings(&limits)),
            ["memory.max=1000", "memory.swap.max=500", "cpu.max=max 100", "cpu.weight=39", "pids.max=max"]
        );
        assert_eq!(
            text(separate_settings(&limits)),
            [
                "memory.limit_in_bytes=1000",
                "memory.memsw.limit_in_bytes=1500",
                "cpu.cfs_period_us=100",
                "cpu.cfs_quota_us=-1",
                "cpu.shares=1024",
                "pids.max=max"
            ]
        );
    }
}
