//! Finding base images: in the local store, among what was resolved before, at registries, in OCI layouts.

use std::sync::Arc;

use kiln_cache::Store;
use kiln_core::{Digest, Event, ImageConfig, ImageLocator, Outcome, Platform, Progress, Reference, StepId};
use kiln_executor::source::Layout;
use kiln_frontend::{ImageName, ImageResolver, ImageWanted, LayoutName, ResolveError, ResolvedImage};

use crate::local;
use crate::pulling::PullPolicy;
use crate::report;
use crate::wiring::Services;

/// The namespace of what tags were found to mean: `name platform` → the digests of manifest and configuration.
const RESOLVED: &str = "resolved";

/// Finds images for one build.
pub(crate) struct Resolver<'a> {
    services: &'a Services,
    pull: PullPolicy,
    progress: Arc<dyn Progress>,
}

impl<'a> Resolver<'a> {
    /// Registries are asked as `pull` says.
    pub(crate) fn new(services: &'a Services, pull: PullPolicy, progress: Arc<dyn Progress>) -> Self {
        Self { services, pull, progress }
    }

    async fn one(&self, wanted: &ImageWanted) -> Result<ResolvedImage, ResolveError> {
        match &wanted.name {
            ImageName::Reference(reference) => self.reference(reference, &wanted.platform).await,
            ImageName::Layout(layout) => in_layout(layout, &wanted.platform),
        }
    }

    /// A build takes what this machine has, and asks the registry for what it has not (Docker's rule; `--pull` asks always).
    async fn reference(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<ResolvedImage, ResolveError> {
        let step = StepId::internal(&format!("load metadata {reference} {platform}"));
        let name = format!("[internal] load metadata for {reference}");
        self.progress.emit(Event::Queued { step, name, inputs: Vec::new() });
        self.progress.emit(Event::Started { step });
        let found = self.find(reference, platform).await;
        let outcome = match &found {
            Ok(_) => Outcome::Done,
            Err(error) => Outcome::Failed(error.message.clone()),
        };
        self.progress.emit(Event::Completed { step, outcome });
        found
    }

    async fn find(&self, reference: &Reference, platform: &Platform) -> Result<ResolvedImage, ResolveError> {
        let store = &self.services.store;
        let here = match self.pull {
            PullPolicy::Always => None,
            _ => here(store, reference, platform)?,
        };
        let here = match (self.pull, here) {
            (PullPolicy::Missing | PullPolicy::Never, Some(image)) => return Ok(image),
            (PullPolicy::Never, None) => {
                let message = format!("{reference} for {platform} is not in the local store");
                let help = Some("--pull=never asks no registry: pull the image first".to_owned());
                return Err(ResolveError { message, help });
            }
            (_, here) => here,
        };
        let help =
            "give a base image that exists, import one with `kiln import`, or name one with --build-context";
        let remote = match (self.services.client().image(reference, platform).await, here) {
            (Ok(remote), _) => remote,
            (Err(error), Some(image)) if error.is_unreachable() => return Ok(image),
            (Err(error), _) => {
                // A registry hides what one may not see behind a login: both may help.
                let hint = error.hint().filter(|_| !error.is_not_found() && !error.is_unauthorized());
                return Err(failed(&error, Some(hint.as_deref().unwrap_or(help))));
            }
        };
        let manifest = remote.manifest.digest();
        let keep = || -> Result<(), Box<dyn std::error::Error>> {
            let config = store.blobs().put(&remote.config_bytes)?;
            store.blobs().put(&remote.manifest.bytes)?;
            let key = key(reference, platform);
            store.index().set_fact(
                RESOLVED,
                key.as_bytes(),
                manifest.to_string().as_bytes(),
                Some(&manifest),
            )?;
            store.index().set_fact(
                "resolved-config",
                key.as_bytes(),
                config.to_string().as_bytes(),
                Some(&config),
            )?;
            Ok(())
        };
        keep().map_err(|error| ResolveError {
            message: format!("remember {reference}: {error}"),
            help: None,
        })?;
        Ok(image(reference, manifest, remote.config))
    }
}

impl ImageResolver for Resolver<'_> {
    async fn resolve(&self, wanted: Vec<ImageWanted>) -> Vec<Result<ResolvedImage, ResolveError>> {
        futures_util::future::join_all(wanted.iter().map(|wanted| self.one(wanted))).await
    }
}

/// Finds images without asking anyone: for checks. What this machine does not know is taken for an image with an
/// empty configuration.
pub(crate) struct Offline<'a> {
    /// The local store.
    pub(crate) store: &'a Store,
}

impl ImageResolver for Offline<'_> {
    async fn resolve(&self, wanted: Vec<ImageWanted>) -> Vec<Result<ResolvedImage, ResolveError>> {
        let one = |wanted: &ImageWanted| match &wanted.name {
            ImageName::Layout(layout) => in_layout(layout, &wanted.platform),
            ImageName::Reference(reference) => {
                let here = here(self.store, reference, &wanted.platform)?;
                let assumed = || {
                    let config = ImageConfig::for_platform(&wanted.platform);
                    image(reference, Digest::of(reference.to_string().as_bytes()), config)
                };
                Ok(here.unwrap_or_else(assumed))
            }
        };
        wanted.iter().map(one).collect()
    }
}

/// The image as this machine has it, or remembers it.
fn here(
    store: &Store,
    reference: &Reference,
    platform: &Platform,
) -> Result<Option<ResolvedImage>, ResolveError> {
    let stored = local::named(store, reference).map_err(|error| failed(&error, None))?;
    if let Some(record) = stored.filter(|record| platform.runs(&record.config.platform())) {
        let locator = ImageLocator::Store { id: record.id() };
        return Ok(Some(ResolvedImage { locator, name: reference.to_string(), config: record.config }));
    }
    Ok(known(store, reference, platform))
}

fn in_layout(layout: &LayoutName, platform: &Platform) -> Result<ResolvedImage, ResolveError> {
    let found = Layout { directory: layout.path.clone().into() }
        .resolve(&layout.reference, platform)
        .map_err(|error| failed(&error, None))?;
    let name = format!("oci-layout://{}@{}", layout.path, found.manifest);
    let locator = ImageLocator::Layout { path: layout.path.clone(), manifest: found.manifest };
    Ok(ResolvedImage { locator, name, config: found.config })
}

fn key(reference: &Reference, platform: &Platform) -> String {
    format!("{reference} {platform}")
}

/// What a name was found to mean before, if all that was learnt then is still there.
fn known(store: &Store, reference: &Reference, platform: &Platform) -> Option<ResolvedImage> {
    let key = key(reference, platform);
    let digest = |namespace: &str| -> Option<Digest> {
        let fact = store.index().fact(namespace, key.as_bytes()).ok()??;
        std::str::from_utf8(&fact.value).ok()?.parse().ok()
    };
    let manifest = digest(RESOLVED)?;
    store.blobs().contains(&manifest).ok()?.then_some(())?;
    let config = store.blobs().read(&digest("resolved-config")?).ok()??;
    Some(image(reference, manifest, serde_json::from_slice(&config).ok()?))
}

fn image(reference: &Reference, manifest: Digest, config: ImageConfig) -> ResolvedImage {
    let name = match reference.digest() {
        Some(_) => reference.to_string(),
        None => format!("{reference}@{manifest}"),
    };
    ResolvedImage { locator: ImageLocator::Registry { reference: reference.clone(), manifest }, name, config }
}

fn failed(error: &(dyn std::error::Error + 'static), help: Option<&str>) -> ResolveError {
    ResolveError { message: report::chain(error), help: help.map(str::to_owned) }
}
