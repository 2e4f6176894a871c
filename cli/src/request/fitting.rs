//! `--filter` of `kiln container prune`, `kiln image prune` and `kiln system prune`.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::UsageError;
use super::pairs::has_label;
use crate::environment::now;

/// What is to go, as a condition.
#[derive(Debug, Clone)]
pub(crate) enum Fitting {
    /// Made at this time at the latest.
    Until(SystemTime),
    /// Whether it has the label, `K` or `K=V`.
    Label(String, bool),
}

impl Fitting {
    /// Understands filters, which are all to hold.
    ///
    /// # Errors
    /// The first that is none.
    pub(crate) fn all(filters: &[String]) -> Result<Vec<Self>, UsageError> {
        filters.iter().map(|text| Self::parse(text)).collect()
    }

    fn parse(text: &str) -> Result<Self, UsageError> {
        let wrong = |why: &str| UsageError::value("filter", text, why);
        match text.split_once('=') {
            Some(("label", label)) => Ok(Self::Label(label.to_owned(), true)),
            Some(("label!", label)) => Ok(Self::Label(label.to_owned(), false)),
            Some(("until", time)) => {
                until(time).map(Self::Until).ok_or_else(|| wrong("expected a time, or how long ago it was"))
            }
            _ => Err(wrong("expected until=…, label=… or label!=…")),
        }
    }

    /// Whether it holds for something that was made at `made` and has `labels`.
    pub(crate) fn fits(&self, made: Option<SystemTime>, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Until(time) => made.is_some_and(|made| made <= *time),
            Self::Label(label, wanted) => has_label(labels, label) == *wanted,
        }
    }
}

/// A time, or how long ago it was.
pub(crate) fn until(text: &str) -> Option<SystemTime> {
    let ago = humantime::parse_duration(text).ok().and_then(|age| now().checked_sub(age));
    ago.or_else(|| humantime::parse_rfc3339_weak(text).ok())
}
