//! What kiln takes from the process around it: variables, the clock, the terminal. Read once, here and nowhere else.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The variables and the user that kiln was started with.
#[derive(Debug, Clone)]
pub(crate) struct Environment {
    variables: BTreeMap<String, OsString>,
    /// The user's id before any user namespace was entered.
    pub(crate) uid: u32,
}

impl Environment {
    /// The environment of this process. Variables whose names are not UTF-8 do not exist.
    pub(crate) fn of_process() -> Self {
        let variables =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect();
        Self { variables, uid: rustix::process::getuid().as_raw() }
    }

    /// The value of a variable that is set, not empty and UTF-8.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name)?.to_str().filter(|value| !value.is_empty())
    }

    /// The user's home directory.
    pub(crate) fn home(&self) -> PathBuf {
        self.get("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from)
    }

    /// The store: `--root`, `KILN_ROOT`, or the place of the user's data.
    pub(crate) fn store_root(&self, flag: Option<&Path>) -> PathBuf {
        if let Some(root) = flag {
            return root.to_owned();
        }
        if let Some(root) = self.get("KILN_ROOT") {
            return root.into();
        }
        if self.uid == 0 {
            return "/var/lib/kiln".into();
        }
        let data = self.get("XDG_DATA_HOME").map_or_else(|| self.home().join(".local/share"), PathBuf::from);
        data.join("kiln")
    }

    /// The directory of the user's configuration.
    pub(crate) fn config_dir(&self) -> PathBuf {
        self.get("XDG_CONFIG_HOME").map_or_else(|| self.home().join(".config"), PathBuf::from)
    }

    /// The directory of Docker's `config.json`.
    pub(crate) fn docker_config_dir(&self) -> PathBuf {
        self.get("DOCKER_CONFIG").map_or_else(|| self.home().join(".docker"), PathBuf::from)
    }

    /// `SOURCE_DATE_EPOCH`, in seconds.
    pub(crate) fn source_date_epoch(&self) -> Option<i64> {
        self.get("SOURCE_DATE_EPOCH")?.trim().parse().ok()
    }

    /// Whether colours are unwanted (no-color.org).
    pub(crate) fn no_color(&self) -> bool {
        self.get("NO_COLOR").is_some() || self.get("TERM") == Some("dumb")
    }
}

/// The time now.
#[expect(clippy::disallowed_methods, reason = "the one place where the clock enters")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// Seconds since 1970 now.
pub(crate) fn now_seconds() -> i64 {
    let since = now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// A time as RFC 3339 with nanoseconds, as Go's `time.RFC3339Nano` reads it.
pub(crate) fn rfc3339(at: SystemTime) -> String {
    humantime::format_rfc3339_nanos(at).to_string()
}

/// Whether standard error is a terminal.
pub(crate) fn stderr_is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// The boot's identity: what the kernel forgets, changes it.
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_or_else(|_| "unknown".to_owned(), |id| id.trim().to_owned())
}
