//! Listens to a build beside whoever shows it, and keeps what it tells.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use kiln_cache::Store;
use kiln_core::{Event, Progress};

use super::About;
use super::events::Encoder;
use super::model::{self, Model};
use crate::environment::now;
use crate::error::CommandError;
use crate::explain::Explained;
use crate::request::{BuildRequest, ContextFrom};
use crate::source::BuildSource;

/// What a build has told so far.
pub(crate) struct Journal {
    shown: Arc<dyn Progress>,
    began: Instant,
    started: SystemTime,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    encoder: Encoder,
    model: Model,
}

impl Journal {
    /// Listens to what `shown` shows.
    pub(crate) fn new(shown: Arc<dyn Progress>) -> Self {
        Self { shown, began: Instant::now(), started: now(), kept: Mutex::default() }
    }

    /// Ends with `result`: the build is in the store's history then. What cannot be kept is no failure of the build.
    /// Gives the model of the build.
    pub(crate) fn close<T>(
        &self,
        store: &Store,
        request: &BuildRequest,
        source: &BuildSource,
        explained: &[Explained],
        result: &Result<T, CommandError>,
    ) -> (About, Model) {
        let took = self.elapsed();
        let mut kept = self.kept();
        kept.model.finish(took);
        let about = about(request, source, &kept.model, self.started, took, result);
        for build in explained {
            if let Ok(value) = serde_json::to_value(build) {
                kept.encoder.explained(&value);
            }
        }
        let told = kept.encoder.finish();
        let text = serde_json::to_string(&about).unwrap_or_default();
        let id = id(&about);
        let _ = store.past_builds().put(&id, about.started, &text, &told);
        (about, std::mem::take(&mut kept.model))
    }

    /// As exact as it is kept, so that the build of the past is the same.
    fn elapsed(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for Journal {
    fn emit(&self, event: Event) {
        let event = event.without_credentials();
        {
            let at = self.elapsed();
            let mut kept = self.kept();
            kept.encoder.event(at, &event);
            kept.model.event(at, &event);
        }
        self.shown.emit(event);
    }
}

/// A name that no other build has: of its time, its process and what it was.
fn id(about: &About) -> String {
    let text = format!("{} {} {}", about.started, about.took, std::process::id());
    kiln_core::ContentHash::of(text.as_bytes()).hex()[..12].to_owned()
}

fn about<T>(
    request: &BuildRequest,
    source: &BuildSource,
    model: &Model,
    started: SystemTime,
    took: Duration,
    result: &Result<T, CommandError>,
) -> About {
    let context = match &request.context {
        ContextFrom::Directory(path) => path.display().to_string(),
        ContextFrom::Stdin => "-".to_owned(),
        ContextFrom::Remote(url) => kiln_core::redact(url).into_owned(),
    };
    let tags: Vec<String> = request.names.iter().map(ToString::to_string).collect();
    let folder = source.directory.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = match (tags.first(), &request.context) {
        (Some(tag), _) => tag.clone(),
        (None, ContextFrom::Directory(_)) => folder.unwrap_or_else(|| context.clone()),
        (None, _) => context.clone(),
    };
    let (status, error) = match result {
        Ok(_) => ("completed", None),
        Err(CommandError::Interrupted) => ("canceled", None),
        Err(error) => ("error", Some(kiln_core::redacted(crate::report::chain(error)))),
    };
    let since = started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let steps = || model.steps.iter().filter(|step| step.is_instruction());
    About {
        name,
        status: status.to_owned(),
        started: u64::try_from(since.as_millis()).unwrap_or_default(),
        took: u64::try_from(took.as_micros()).unwrap_or_default(),
        total: steps().count(),
        cached: steps().filter(|step| step.outcome == model::Outcome::Cached).count(),
        ran: steps().filter(|step| step.started.is_some()).count(),
        error,
        context,
        dockerfile: source.dockerfile.name.clone(),
        target: request.target.clone(),
        platforms: request.platforms.iter().map(ToString::to_string).collect(),
        tags,
        arguments: request.build_args.keys().cloned().collect(),
    }
}
