//! What is kept of a build: every step with its times, all that it wrote, why it ran.
//!
//! | module | job |
//! | --- | --- |
//! | `journal` | listens to a build and keeps what it tells |
//! | `events` | events as lines of text, and back |
//! | `model` | the steps of a build that ended: times, outcomes, the path that took longest |
//! | `timeline` | the model as a page |

mod events;
mod journal;
mod model;
mod page;
mod stages;

use std::time::Duration;

use kiln_cache::{PastBuild, Store};
use kiln_core::Event;
use serde::{Deserialize, Serialize};

pub(crate) use self::journal::Journal;
pub(crate) use self::model::{Model, Step};
pub(crate) use self::page::{page, seconds};
use crate::error::CommandError;

/// What a build was: the first line of its file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct About {
    /// What people call it: the first tag, or the context.
    pub(crate) name: String,
    /// `completed`, `error` or `canceled`.
    pub(crate) status: String,
    /// When it began, in milliseconds since 1970.
    pub(crate) started: u64,
    /// How long it took, in microseconds.
    pub(crate) took: u64,
    /// How many steps of the Dockerfile there are.
    pub(crate) total: usize,
    /// How many of them were known.
    pub(crate) cached: usize,
    /// How many of them ran.
    pub(crate) ran: usize,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) error: Option<String>,
    /// The context as typed.
    pub(crate) context: String,
    /// The Dockerfile's name.
    pub(crate) dockerfile: String,
    /// The stage that was built.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) target: Option<String>,
    /// The platforms that were asked for.
    pub(crate) platforms: Vec<String>,
    /// The image's names.
    pub(crate) tags: Vec<String>,
    /// The build arguments' names: their values may be nobody's business.
    pub(crate) arguments: Vec<String>,
}

/// A build of the past.
#[derive(Debug, Clone)]
pub(crate) struct Past {
    pub(crate) stored: PastBuild,
    pub(crate) about: About,
}

/// What a build told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Events, each with its time since the beginning.
    pub(crate) events: Vec<(Duration, Event)>,
    /// The explanations of `--explain`.
    pub(crate) explained: Vec<serde_json::Value>,
}

/// All past builds, the newest first.
///
/// # Errors
/// If the store cannot be read.
pub(crate) fn all(store: &Store) -> Result<Vec<Past>, CommandError> {
    let builds = store.past_builds().list()?.into_iter();
    let known = builds.filter_map(|stored| {
        let about = serde_json::from_str(&stored.about).ok()?;
        Some(Past { stored, about })
    });
    Ok(known.collect())
}

/// The build whose id begins with `id`, the newest one without.
///
/// # Errors
/// If there is none, or several.
pub(crate) fn find(store: &Store, id: Option<&str>) -> Result<Past, CommandError> {
    let mut found = all(store)?;
    if let Some(id) = id {
        found.retain(|past| past.stored.id.starts_with(id));
        if found.len() > 1 && !found.iter().any(|past| past.stored.id == id) {
            return Err(CommandError::Usage(format!("`{id}` is the beginning of several builds' ids")));
        }
    }
    let what = id.map_or("no build was made with this store yet".to_owned(), |id| {
        format!("no build `{id}`: `kiln history ls` lists those that are kept")
    });
    found.into_iter().next().ok_or(CommandError::Usage(what))
}

/// What a past build told.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn told(store: &Store, past: &Past) -> Result<Told, CommandError> {
    Ok(events::decode(&store.past_builds().told(&past.stored)?))
}
