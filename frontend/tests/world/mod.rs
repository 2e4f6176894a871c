//! What a build without a machine needs: images by name, and a way to wait for what never waits.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use kiln_core::{ContentHash, ImageConfig, ImageLocator, Platform, Reference};
use kiln_frontend::{ImageName, ImageResolver, ImageWanted, ResolveError, ResolvedImage};

/// The platform of all tests.
pub(crate) fn amd64() -> Platform {
    Platform::new("linux", "amd64", "")
}

/// Images that are there, by name.
#[derive(Default)]
pub(crate) struct Images(BTreeMap<ImageName, ImageConfig>);

impl Images {
    /// Makes an image known.
    pub(crate) fn add(&mut self, name: &str, config: ImageConfig) -> Reference {
        let reference: Reference = format!("golden.test/{name}").parse().unwrap();
        self.0.insert(ImageName::Reference(reference.clone()), config);
        reference
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl ImageResolver for Images {
    async fn resolve(&self, wanted: Vec<ImageWanted>) -> Vec<Result<ResolvedImage, ResolveError>> {
        let find = |wanted: &ImageWanted| match self.0.get(&wanted.name) {
            Some(config) => Ok(ResolvedImage {
                locator: ImageLocator::Store { id: ContentHash::of(wanted.name.to_string().as_bytes()) },
                name: wanted.name.to_string(),
                config: config.clone(),
            }),
            None => Err(ResolveError { message: "not found".to_owned(), help: None }),
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
