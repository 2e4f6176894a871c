//! Downloads: `ADD https://…`. What a server gave before is asked for again by its validators, so that an unchanged file is
//! not sent twice.

use std::fs::File;
use std::time::UNIX_EPOCH;

use kiln_cache::{Attributes, BlobWriter, Store, Timestamp};
use kiln_core::{ContentHash, Digest, HttpSource, Snapshot};
use kiln_registry::{BlobSink, Client, FetchOutcome, FetchRequest, Secret, Validators};
use serde::{Deserialize, Serialize};

use super::SourceError;

/// A fetched file: a blob of the store.
#[derive(Debug, Clone)]
pub(crate) struct Download {
    pub(crate) blob: Digest,
    /// From the Last-Modified header, 0 without one, in seconds since 1970.
    pub(crate) mtime: i64,
}

/// What is remembered of a URL.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    etag: Option<String>,
    last_modified: Option<String>,
}

const NAMESPACE: &str = "http";
/// Nothing larger is a file for an image.
const LIMIT: u64 = 64 << 30;

struct Sink(BlobWriter);

impl std::io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl BlobSink for Sink {}

/// A URL may hold a password, which the index need not know.
fn key(url: &str) -> Vec<u8> {
    ContentHash::of(url.as_bytes()).to_string().into_bytes()
}

/// Fetches the file, or finds that the one in the store is still right.
///
/// # Errors
/// If it cannot be fetched, or is not what `--checksum` says.
pub(crate) async fn download(
    store: &Store,
    client: &Client,
    source: &HttpSource,
    authorization: Option<Secret>,
) -> Result<Download, SourceError> {
    let fact = store.index().fact(NAMESPACE, &key(&source.url))?;
    let mut earlier = None;
    let mut known = Validators::default();
    if let Some(fact) = fact
        && let Some(blob) = fact.blob
        && store.blobs().contains(&blob)?
        && let Ok(remembered) = serde_json::from_slice::<Remembered>(&fact.value)
    {
        // A file that is pinned by its digest need not be asked for at all.
        if source.checksum == Some(blob) {
            return Ok(Download { blob, mtime: seconds(remembered.last_modified.as_deref()) });
        }
        known = Validators { etag: remembered.etag, last_modified: remembered.last_modified };
        earlier = Some(blob);
    }
    let request = FetchRequest { url: source.url.clone(), known: known.clone(), limit: LIMIT, authorization };
    let sink = Sink(store.blobs().writer()?);
    let (blob, validators) = match (client.http().fetch(&request, sink).await?, earlier) {
        (FetchOutcome::Fetched { sink, validators, .. }, _) => {
            let (blob, _) = sink.0.commit(None)?;
            (blob, validators)
        }
        (FetchOutcome::NotModified(_), Some(blob)) => (blob, known),
        (FetchOutcome::NotModified(sink), None) => (sink.0.commit(None)?.0, known),
    };
    if let Some(expected) = source.checksum
        && expected != blob
    {
        return Err(SourceError::Checksum { expected, found: blob });
    }
    let mtime = seconds(validators.last_modified.as_deref());
    let remembered = Remembered { etag: validators.etag, last_modified: validators.last_modified };
    if let Ok(value) = serde_json::to_vec(&remembered) {
        store.index().set_fact(NAMESPACE, &key(&source.url), &value, Some(&blob))?;
    }
    Ok(Download { blob, mtime })
}

/// The snapshot with the one file.
///
/// # Errors
/// If the blob is gone or the layer cannot be written.
pub(crate) fn snapshot(
    store: &Store,
    source: &HttpSource,
    download: &Download,
) -> Result<Snapshot, SourceError> {
    let path = store.blobs().path(&download.blob);
    let missing = || SourceError::Layout { path: path.clone(), cause: std::io::ErrorKind::NotFound.into() };
    let file: File = store.blobs().open(&download.blob)?.ok_or_else(missing)?;
    let draft = store.layers().draft()?;
    let writer = draft.writer()?;
    let attributes =
        Attributes { mtime: Timestamp::seconds(download.mtime), ..Attributes::root(source.mode) };
    writer.copy_file(source.filename.as_ref(), &attributes, &file)?;
    let layer = draft.commit(writer.finish()?)?;
    Ok(Snapshot::scratch().with(layer.id))
}

fn seconds(last_modified: Option<&str>) -> i64 {
    let time = last_modified.and_then(|text| httpdate::parse_http_date(text).ok());
    let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or(0)
}
