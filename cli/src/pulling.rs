//! Pulling an image by name into the store.

use std::sync::Arc;

use kiln_cache::{ImageRecord, Origin};
use kiln_core::{Event, Outcome, Platform, Progress, Reference, StepId};
use kiln_executor::source::ImageStore;

use crate::environment::now_seconds;
use crate::error::CommandError;
use crate::wiring::Services;

/// `--pull`: when registries are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum PullPolicy {
    /// Always; what cannot be had fails.
    Always,
    /// Always; if no registry can be reached, what is here does.
    Newer,
    /// For what is not here.
    #[default]
    Missing,
    /// Not at all.
    Never,
}

impl std::str::FromStr for PullPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "always" | "true" | "1" => Ok(Self::Always),
            "newer" | "ifnewer" => Ok(Self::Newer),
            "missing" | "ifmissing" | "false" | "0" => Ok(Self::Missing),
            "never" => Ok(Self::Never),
            _ => Err("expected always, newer, missing or never".to_owned()),
        }
    }
}

impl Services {
    /// Brings the newest image of `name` into the store, under that name.
    ///
    /// # Errors
    /// If there is none for `platform`, or it cannot be fetched.
    pub(crate) async fn pull(
        &self,
        name: &Reference,
        platform: &Platform,
        progress: &Arc<dyn Progress>,
    ) -> Result<ImageRecord, CommandError> {
        let step = StepId::internal(&format!("pull {name} {platform}"));
        progress.emit(Event::Queued { step, name: format!("pull {name}"), inputs: Vec::new() });
        progress.emit(Event::Started { step });
        let pulled = self.pull_now(name, platform, step, progress).await;
        let outcome = match &pulled {
            Ok(_) => Outcome::Done,
            Err(error) => Outcome::Failed(crate::report::chain(error)),
        };
        progress.emit(Event::Completed { step, outcome });
        pulled
    }

    async fn pull_now(
        &self,
        name: &Reference,
        platform: &Platform,
        step: StepId,
        progress: &Arc<dyn Progress>,
    ) -> Result<ImageRecord, CommandError> {
        let client = self.client();
        let remote = client.image(name, platform).await?;
        let config = self.store.blobs().put(&remote.config_bytes)?;
        let manifest = self.store.blobs().put(&remote.manifest.bytes)?;
        let store = ImageStore::new(self.store.clone()).watched(step, Arc::clone(progress));
        let snapshot =
            store.pull(client, name, &manifest).await.map_err(kiln_executor::ExecutorError::from)?;
        let origin = Some(Origin { manifest, config });
        let record = ImageRecord { config: remote.config, snapshot, origin, created: now_seconds() };
        self.store.index().set_image(Some(name), &record)?;
        crate::pushed::note(&self.store, &record, name, &remote.resolved)?;
        Ok(record)
    }
}
