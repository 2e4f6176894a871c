//! Garbage collection by itself: what is taken away, when, and who does it.
//!
//! A process of its own, the one that also syncs (`durable`), looks after a command whether a collection is due. It is
//! due when the last one is an hour ago or the disk has filled since, and it takes away what the policy says. Nobody
//! waits for it.
//!
//! The policy is buildkitd's default one, computed from the size of the disk, unless a file says otherwise:
//! `$KILN_CONFIG`, `$XDG_CONFIG_HOME/kiln/config.toml`, `/etc/kiln/config.toml`, the first that is there. Variables go
//! before the file. All keys are optional:
//!
//! ```toml
//! [gc]
//! enabled = true              # KILN_GC=off
//! reserved-space = "10GB"     # KILN_GC_RESERVED_SPACE; never less than this stays; 10% of the disk, at most 10GB
//! max-used-space = "60%"      # KILN_GC_MAX_USED_SPACE; never more than this stays; 60% of the disk, at most 100GB
//! min-free-space = "20%"      # KILN_GC_MIN_FREE_SPACE; this much of the disk is to be free
//! keep-duration = "60d"       # KILN_GC_KEEP_DURATION; what was not used for so long goes
//! keep-cache-mounts = false   # KILN_GC_KEEP_CACHE_MOUNTS
//! interval = "1h"             # KILN_GC_INTERVAL
//!
//! [[gc.policy]]               # in place of the default rules, in order
//! filters = ["type=exec.cachemount"]
//! keep-duration = "48h"
//! max-used-space = "512MB"
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kiln_cache::{Freed, PrunePolicy, RecordKind, Selection, Store, Trait};
use serde::Deserialize;

use crate::container::roots;
use crate::environment::{Environment, now};
use crate::error::CommandError;
use crate::request::{UsageError, filter, limits};

/// The file in the store whose time is that of the last collection, and whose text the bytes that were free after it.
const STAMP: &str = "collected";

/// In seconds.
const HOUR: u64 = 3600;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    gc: Gc,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Gc {
    enabled: Option<bool>,
    interval: Option<String>,
    keep_cache_mounts: Option<bool>,
    #[serde(flatten)]
    space: Space,
    policy: Vec<Rule>,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Space {
    reserved_space: Option<String>,
    max_used_space: Option<String>,
    min_free_space: Option<String>,
    keep_duration: Option<String>,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Rule {
    all: bool,
    filters: Vec<String>,
    #[serde(flatten)]
    space: Space,
}

/// What is taken away without being asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Automatic {
    enabled: bool,
    interval: Duration,
    /// As much less free space than after the last collection makes another one due before its time.
    growth: u64,
    rules: Vec<PrunePolicy>,
}

impl Automatic {
    /// The policy that file and variables ask for, on a disk of this size.
    ///
    /// # Errors
    /// What cannot be understood.
    pub(crate) fn load(environment: &Environment, disk: u64) -> Result<Self, CommandError> {
        let mut gc = match read(environment)? {
            Some((path, text)) => {
                let parsed: Result<File, _> = toml::from_str(&text);
                parsed.map_err(|error| CommandError::Usage(format!("`{}`: {error}", path.display())))?.gc
            }
            None => Gc::default(),
        };
        let variable = |name: &str| environment.get(name).map(str::to_owned);
        let flag =
            |name: &str| environment.get(name).map(|text| !matches!(text, "0" | "off" | "no" | "false"));
        gc.enabled = flag("KILN_GC").or(gc.enabled);
        gc.keep_cache_mounts = flag("KILN_GC_KEEP_CACHE_MOUNTS").or(gc.keep_cache_mounts);
        gc.interval = variable("KILN_GC_INTERVAL").or(gc.interval);
        let space = &mut gc.space;
        for (name, field) in [
            ("KILN_GC_RESERVED_SPACE", &mut space.reserved_space),
            ("KILN_GC_MAX_USED_SPACE", &mut space.max_used_space),
            ("KILN_GC_MIN_FREE_SPACE", &mut space.min_free_space),
            ("KILN_GC_KEEP_DURATION", &mut space.keep_duration),
        ] {
            if let Some(text) = variable(name) {
                *field = Some(text);
            }
        }
        Ok(Self::of(&gc, disk)?)
    }

    fn of(gc: &Gc, disk: u64) -> Result<Self, UsageError> {
        let percent = |of: u64, at_most: u64| Some((disk / 100 * of).min(at_most));
        let overall = PrunePolicy {
            reserved_space: bytes("reserved-space", &gc.space.reserved_space, disk)?
                .or(percent(10, 10 << 30)),
            max_used_space: bytes("max-used-space", &gc.space.max_used_space, disk)?
                .or(percent(60, 100 << 30)),
            min_free_space: bytes("min-free-space", &gc.space.min_free_space, disk)?
                .or(percent(20, u64::MAX)),
            ..PrunePolicy::default()
        };
        let mut rules = Vec::new();
        if gc.policy.is_empty() {
            let kept = age("keep-duration", &gc.space.keep_duration)?;
            // What is easily made again and grows without bound.
            rules.push(PrunePolicy {
                selection: Selection::kinds([RecordKind::Mount, RecordKind::Stat]),
                keep_duration: Some(Duration::from_secs(48 * HOUR)),
                max_used_space: Some(512 << 20),
                ..PrunePolicy::default()
            });
            let keep_duration = Some(kept.unwrap_or(Duration::from_secs(60 * 24 * HOUR)));
            rules.push(PrunePolicy { keep_duration, ..overall.clone() });
            rules.push(overall.clone());
            rules.push(PrunePolicy { all: true, ..overall.clone() });
        }
        for rule in &gc.policy {
            let filters = filter::record_filter(&rule.filters)?;
            rules.push(PrunePolicy {
                all: rule.all,
                selection: filters.selection,
                keep_duration: age("keep-duration", &rule.space.keep_duration)?.or(filters.unused_for),
                reserved_space: bytes("reserved-space", &rule.space.reserved_space, disk)?,
                max_used_space: bytes("max-used-space", &rule.space.max_used_space, disk)?,
                min_free_space: bytes("min-free-space", &rule.space.min_free_space, disk)?,
                dry_run: false,
            });
        }
        if gc.keep_cache_mounts == Some(true) {
            for rule in &mut rules {
                let selection = std::mem::take(&mut rule.selection);
                rule.selection = selection.and(true, [Trait::Kind(RecordKind::Mount)]);
            }
        }
        Ok(Self {
            enabled: gc.enabled.unwrap_or(true),
            interval: age("interval", &gc.interval)?.unwrap_or(Duration::from_secs(HOUR)),
            growth: overall.max_used_space.unwrap_or(u64::MAX) / 10,
            rules,
        })
    }

    /// Takes away what the rules say, now.
    ///
    /// # Errors
    /// If the store cannot be changed.
    pub(crate) fn collect(&self, store: &Store) -> Result<Freed, CommandError> {
        roots::let_go_of_gone(store)?;
        let freed = store.collect(&self.rules)?.unwrap_or_default();
        let free = Disk::of(store.root())?.free;
        let path = store.root().join(STAMP);
        let written = fs::write(&path, format!("{free}\n"));
        written.map_err(|cause| CommandError::File {
            verb: "write",
            what: "the time of a collection",
            path,
            cause,
        })?;
        Ok(freed)
    }

    fn is_due(&self, store: &Store) -> Result<bool, CommandError> {
        if !self.enabled {
            return Ok(false);
        }
        let stamp = store.root().join(STAMP);
        let (Ok(text), Ok(metadata)) = (fs::read_to_string(&stamp), fs::metadata(&stamp)) else {
            return Ok(true);
        };
        // A clock that was set back makes the last collection lie in the future: then it is time for one.
        let is_old = metadata
            .modified()
            .map_or(true, |at| now().duration_since(at).map_or(true, |age| age >= self.interval));
        let free: u64 = text.trim().parse().unwrap_or(0);
        Ok(is_old || Disk::of(store.root())?.free.saturating_add(self.growth) < free)
    }
}

/// Collects if it is time: what the process does that was started after a command.
///
/// # Errors
/// If the policy cannot be understood, or the store not be changed.
pub(crate) fn collect_if_due(store: &Store, environment: &Environment) -> Result<(), CommandError> {
    let automatic = Automatic::load(environment, Disk::of(store.root())?.size)?;
    if automatic.is_due(store)? {
        // Builds go first; a kernel that refuses is no reason not to collect.
        let _ = rustix::process::nice(10);
        automatic.collect(store)?;
    }
    Ok(())
}

/// Takes away what `policy` says, and what containers that are gone had.
///
/// # Errors
/// If the store cannot be changed.
pub(crate) fn prune(store: &Store, policy: &PrunePolicy) -> Result<Freed, CommandError> {
    roots::let_go_of_gone(store)?;
    Ok(store.prune(policy)?)
}

/// The policy for this store.
///
/// # Errors
/// If it cannot be understood.
pub(crate) fn automatic(store: &Store, environment: &Environment) -> Result<Automatic, CommandError> {
    Automatic::load(environment, Disk::of(store.root())?.size)
}

/// The configuration file that there is.
fn read(environment: &Environment) -> Result<Option<(PathBuf, String)>, CommandError> {
    let own =
        environment.get("XDG_CONFIG_HOME").map_or_else(|| environment.home().join(".config"), PathBuf::from);
    let given = environment.get("KILN_CONFIG").map(PathBuf::from);
    let places = match &given {
        Some(path) => vec![path.clone()],
        None => vec![own.join("kiln/config.toml"), PathBuf::from("/etc/kiln/config.toml")],
    };
    for path in places {
        match fs::read_to_string(&path) {
            Ok(text) => return Ok(Some((path, text))),
            Err(error) if error.kind() == io::ErrorKind::NotFound && given.is_none() => {}
            Err(cause) => {
                return Err(CommandError::File { verb: "read", what: "the configuration", path, cause });
            }
        }
    }
    Ok(None)
}

/// `10GB`, `20%` of the disk.
fn bytes(key: &str, text: &Option<String>, disk: u64) -> Result<Option<u64>, UsageError> {
    let Some(text) = text else { return Ok(None) };
    match text.trim().strip_suffix('%') {
        Some(number) => match number.trim().parse::<u64>() {
            Ok(percent @ 0..=100) => Ok(Some(disk / 100 * percent)),
            _ => Err(UsageError::value(key, text, "expected bytes, or percents of the disk")),
        },
        None => Ok(Some(limits::bytes(key, text)?)),
    }
}

fn age(key: &str, text: &Option<String>) -> Result<Option<Duration>, UsageError> {
    let Some(text) = text else { return Ok(None) };
    let age = humantime::parse_duration(text);
    Ok(Some(age.map_err(|_| UsageError::value(key, text, "expected a duration like 24h"))?))
}

/// The file system that the store lies on.
struct Disk {
    size: u64,
    free: u64,
}

impl Disk {
    fn of(root: &Path) -> Result<Self, CommandError> {
        let asked = rustix::fs::statvfs(root);
        let failed = |errno: rustix::io::Errno| CommandError::System {
            what: "ask for free space",
            cause: errno.into(),
        };
        let disk = asked.map_err(failed)?;
        Ok(Self { size: disk.f_blocks * disk.f_frsize, free: disk.f_bavail * disk.f_frsize })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1 << 30;

    fn of(text: &str, disk: u64) -> Result<Automatic, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        Automatic::of(&file.gc, disk).map_err(|error| error.to_string())
    }

    #[test]
    fn the_default_policy_is_computed_from_the_disk() {
        let space = |disk| {
            let rule = of("", disk).unwrap().rules.pop().unwrap();
            [rule.reserved_space, rule.max_used_space, rule.min_free_space].map(|bytes| bytes.unwrap() / GB)
        };
        assert_eq!(space(1000 * GB), [10, 100, 200]);
        assert_eq!(space(50 * GB + 99), [5, 30, 10]);
        let automatic = of("", 1000 * GB).unwrap();
        assert!(automatic.enabled);
        assert_eq!(automatic.rules.len(), 4);
        assert_eq!(automatic.rules[1].keep_duration, Some(Duration::from_secs(60 * 24 * HOUR)));
    }

    #[test]
    fn a_file_changes_values_or_all_rules() {
        let automatic =
            of("[gc]\nmax-used-space = '50%'\nkeep-duration = '7d'\nkeep-cache-mounts = true", 100 * GB);
        let rules = automatic.unwrap().rules;
        assert_eq!(rules[2].max_used_space, Some(50 * GB));
        assert_eq!(rules[1].keep_duration, Some(Duration::from_secs(7 * 24 * HOUR)));
        let mounts_stay = Selection::default().and(true, [Trait::Kind(RecordKind::Mount)]);
        assert_eq!(rules[2].selection, mounts_stay);

        let text = "[gc]\nenabled = false\n[[gc.policy]]\nall = true\nfilters = ['type=regular', 'until=24h']\n\
                    max-used-space = '1GB'";
        let automatic = of(text, 100 * GB).unwrap();
        let expected = PrunePolicy {
            all: true,
            selection: Selection::kinds([RecordKind::Layer]),
            keep_duration: Some(Duration::from_secs(24 * HOUR)),
            max_used_space: Some(GB),
            ..PrunePolicy::default()
        };
        assert_eq!((automatic.enabled, automatic.rules), (false, vec![expected]));
    }

    #[test]
    fn what_cannot_be_understood_is_said() {
        for text in
            ["[gc]\nmax-used-space = 'much'", "[gc]\nmin-free-space = '120%'", "[gc]\nwhat = 1", "gc = 1"]
        {
            assert!(of(text, GB).is_err(), "{text}");
        }
    }
}
