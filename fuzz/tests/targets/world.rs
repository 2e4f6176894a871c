//! Images that are all there, some with triggers.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use kiln_core::{ContentHash, ImageConfig, ImageLocator};
use kiln_frontend::{ImageResolver, ImageWanted, ResolveError, ResolvedImage};

/// Finds every image but those whose name has `missing` in it; those with `trigger` in it have triggers.
pub(crate) struct Images;

impl ImageResolver for Images {
    async fn resolve(&self, wanted: Vec<ImageWanted>) -> Vec<Result<ResolvedImage, ResolveError>> {
        wanted.iter().map(find).collect()
    }
}

fn find(wanted: &ImageWanted) -> Result<ResolvedImage, ResolveError> {
    let name = wanted.name.to_string();
    if name.contains("missing") {
        return Err(ResolveError { message: "not found".to_owned(), help: None });
    }
    let mut config = ImageConfig::for_platform(&wanted.platform);
    if name.contains("trigger") {
        let triggers = ["RUN a $b", "COPY --from=other x /y", "ENV a=$a$a", "WORKDIR z"];
        config.config.on_build = triggers.map(str::to_owned).to_vec();
        config.config.env = vec!["a=b".to_owned(), "PATH=/bin".to_owned(), "broken".to_owned()];
    }
    let locator = ImageLocator::Store { id: ContentHash::of(name.as_bytes()) };
    Ok(ResolvedImage { locator, name, config })
}

/// The result of a future that is ready at once.
pub(crate) fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the future waits"),
    }
}
