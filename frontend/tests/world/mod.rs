//! What a build without a machine needs: images by name, and a way to wait for what never waits.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use kiln_core::{ContentHash, ImageConfig, ImageLocator, Platform};
use kiln_frontend::{ImageName, ImageResolver, ImageWanted, ResolveError, ResolvedImage};

/// The platform of all tests.
pub(crate) fn amd64() -> Platform {
    Platform::new("linux", "amd64", "")
}

/// Images that are there, by name.
#[derive(Default)]
pub(crate) struct Images {
    /// Those with a configuration.
    pub(crate) known: BTreeMap<ImageName, ImageConfig>,
    /// Whether others are there too, with nothing in their configuration.
    pub(crate) others: bool,
}

impl ImageResolver for Images {
    async fn resolve(&self, wanted: Vec<ImageWanted>) -> Vec<Result<ResolvedImage, ResolveError>> {
        let find = |wanted: &ImageWanted| {
            let other = self.others.then(|| ImageConfig::for_platform(&wanted.platform));
            match self.known.get(&wanted.name).cloned().or(other) {
                Some(config) => Ok(ResolvedImage {
                    locator: ImageLocator::Store { id: ContentHash::of(wanted.name.to_string().as_bytes()) },
                    name: wanted.name.to_string(),
                    config,
                }),
                None => Err(ResolveError { message: "not found".to_owned(), help: None }),
            }
        };
        wanted.iter().map(find).collect()
    }
}

/// The result of a future that is ready at once.
pub(crate) fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the future waits"),
    }
}
