//! A cache in the cache service of GitHub Actions, in its second version (the first was shut down in 2025).
//!
//! Entries cannot be changed: each document is one of its own, and the newest of those with the scope's name is the one that
//! counts. What is not used is removed by the service after a week.

use std::sync::Arc;

use kiln_cache::Store;
use kiln_core::Digest;
use kiln_registry::{Http, ObjectBody, ObjectRequest, Secret};
use serde_json::{Value, json};

use super::backend::{CacheError, FromStore, Sink, fetch_blob, fetch_document};
use super::document::CachedLayer;
use crate::environment::{Environment, now};

/// What was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ActionsPlace {
    pub(crate) scope: String,
    pub(crate) url: Option<String>,
    pub(crate) token: Option<String>,
}

/// The service, for one scope.
pub(super) struct ActionsCache {
    http: Http,
    url: String,
    token: String,
    scope: String,
}

/// An entry is found by its name and the digest of this: the form of what is in it.
const VERSION: &str = "kiln cache 1";

impl ActionsCache {
    pub(super) fn open(
        place: &ActionsPlace,
        http: Http,
        environment: &Environment,
    ) -> Result<Self, CacheError> {
        let from = |typed: &Option<String>, name: &str| {
            let value = typed.clone().or_else(|| environment.get(name).map(str::to_owned));
            value.ok_or_else(|| {
                CacheError::Unusable(format!(
                    "{name} is not set: a step shows it only to actions, expose it to the shell first (for example with \
                     the action crazy-max/ghaction-github-runtime)"
                ))
            })
        };
        let url = from(&place.url, "ACTIONS_RESULTS_URL")?;
        let token = from(&place.token, "ACTIONS_RUNTIME_TOKEN")?;
        Ok(Self { http, url: url.trim_end_matches('/').to_owned(), token, scope: place.scope.clone() })
    }

    fn documents(&self) -> String {
        format!("kiln-index-{}-", self.scope)
    }

    /// Asks the service; `None` if it says that there is nothing, or that it is there already.
    async fn call(&self, method: &str, mut question: Value) -> Result<Option<Value>, CacheError> {
        question["version"] = Digest::of(VERSION.as_bytes()).hex().into();
        let request = ObjectRequest {
            method: "POST",
            url: format!("{}/twirp/github.actions.results.api.v1.CacheService/{method}", self.url),
            headers: vec![("content-type", "application/json".to_owned())],
            authorization: Some(Secret::new(format!("Bearer {}", self.token))),
            body: ObjectBody::Bytes(question.to_string().into_bytes()),
        };
        let answer = self.http.object(&request).await?;
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        Ok((answer.is_success() && said["ok"] == true).then_some(said))
    }

    /// Where the entry of this name can be fetched; or the newest of those whose names begin with `start`.
    async fn find(&self, key: &str, start: Option<&str>) -> Result<Option<String>, CacheError> {
        let starts: Vec<&str> = start.into_iter().collect();
        let found =
            self.call("GetCacheEntryDownloadURL", json!({ "key": key, "restore_keys": starts })).await?;
        Ok(found.and_then(|found| found["signed_download_url"].as_str().map(str::to_owned)))
    }

    /// Keeps an entry, unless there is one of this name.
    async fn keep(&self, key: &str, size: u64, body: ObjectBody) -> Result<(), CacheError> {
        let Some(place) = self.call("CreateCacheEntry", json!({ "key": key })).await? else { return Ok(()) };
        let url = place["signed_upload_url"].as_str().unwrap_or_default().to_owned();
        let upload = ObjectRequest {
            method: "PUT",
            url,
            // Azure, Put Blob.
            headers: vec![
                ("x-ms-blob-type", "BlockBlob".to_owned()),
                ("content-type", "application/octet-stream".to_owned()),
            ],
            authorization: None,
            body,
        };
        let refused = |why: &str| CacheError::Unusable(format!("it did not take {key}: {why}"));
        let answer = self.http.object(&upload).await?;
        if !answer.is_success() {
            return Err(refused(&String::from_utf8_lossy(&answer.body)));
        }
        let size = size.to_string();
        let finished =
            self.call("FinalizeCacheEntryUpload", json!({ "key": key, "size_bytes": size })).await?;
        finished.map(drop).ok_or_else(|| refused("the upload was not accepted"))
    }

    /// The bytes of the document, if there is one.
    pub(super) async fn document(&self) -> Result<Option<Vec<u8>>, CacheError> {
        let start = self.documents();
        let Some(url) = self.find(&start, Some(&start)).await? else { return Ok(None) };
        fetch_document(&self.http, url).await.map(Some)
    }

    pub(super) async fn has(&self, blob: &Digest) -> Result<bool, CacheError> {
        Ok(self.find(&name(blob), None).await?.is_some())
    }

    pub(super) async fn fetch(&self, layer: &CachedLayer, store: &Store) -> Result<(), CacheError> {
        let url = self.find(&name(&layer.blob), None).await?;
        let url = url.ok_or_else(|| CacheError::Damaged(format!("the blob {} is gone", layer.blob)))?;
        fetch_blob(&self.http, url, layer, Sink::new(store)?).await
    }

    pub(super) async fn put(&self, layer: &CachedLayer, source: FromStore) -> Result<(), CacheError> {
        let body = ObjectBody::Part { source: Arc::new(source), offset: 0, length: layer.size };
        self.keep(&name(&layer.blob), layer.size, body).await
    }

    pub(super) async fn finish(&self, document: Vec<u8>) -> Result<(), CacheError> {
        let now = now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        // The same document twice is one entry; a later one has a later name.
        let key =
            format!("{}{:013}-{}", self.documents(), now.as_millis(), &Digest::of(&document).hex()[..12]);
        let size = document.len() as u64;
        self.keep(&key, size, ObjectBody::Bytes(document)).await
    }
}

fn name(blob: &Digest) -> String {
    format!("kiln-blob-{blob}")
}
