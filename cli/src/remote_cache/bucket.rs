//! A cache in a bucket of S3, or of what speaks its language. Names of objects are BuildKit's:
//!
//! ```text
//! <prefix>blobs/sha256:…                 layers
//! <prefix>manifests/<name>.kiln.json     the document; BuildKit's own is `<name>`
//! ```

use std::sync::Arc;
use std::time::Duration;

use kiln_cache::Store;
use kiln_core::Digest;
use kiln_registry::{BlobSource, Fault, Http, ObjectBody, ObjectRequest};
use rusty_s3::actions::CreateMultipartUpload;
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};

use super::backend::{CacheError, FromStore, Sink, fetch_blob, fetch_document};
use super::document::CachedLayer;
use crate::environment::Environment;

/// What was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BucketPlace {
    pub(crate) bucket: String,
    pub(crate) region: Option<String>,
    pub(crate) endpoint: Option<String>,
    pub(crate) path_style: bool,
    pub(crate) prefix: String,
    pub(crate) blobs_prefix: String,
    pub(crate) manifests_prefix: String,
    pub(crate) name: String,
    pub(crate) access_key: Option<String>,
    pub(crate) secret_key: Option<String>,
    pub(crate) session_token: Option<String>,
}

/// A bucket, and how objects in it are called.
pub(super) struct BucketCache {
    http: Http,
    bucket: Bucket,
    credentials: Credentials,
    blobs: String,
    document: String,
}

/// How long a signature is good: for a whole transfer and its repetitions.
const SIGNED_FOR: Duration = Duration::from_secs(6 * 3600);

/// Larger objects are sent in parts of this size, each again by itself. S3 takes 10,000 of them.
const PART: u64 = 64 << 20;

impl BucketCache {
    pub(super) fn open(
        place: &BucketPlace,
        http: Http,
        environment: &Environment,
    ) -> Result<Self, CacheError> {
        let wrong = CacheError::Unusable;
        let from = |typed: &Option<String>, names: &[&str]| {
            let set = || names.iter().find_map(|name| environment.get(name)).map(str::to_owned);
            typed.clone().or_else(set)
        };
        let region = from(&place.region, &["AWS_REGION", "AWS_DEFAULT_REGION"]);
        let region = region.ok_or_else(|| wrong("no region: set region= or AWS_REGION".to_owned()))?;
        let key = from(&place.access_key, &["AWS_ACCESS_KEY_ID"]);
        let secret = from(&place.secret_key, &["AWS_SECRET_ACCESS_KEY"]);
        let token = from(&place.session_token, &["AWS_SESSION_TOKEN"]);
        let (Some(key), Some(secret)) = (key, secret) else {
            let why = "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or access_key_id= and \
                       secret_access_key= (roles of machines are not asked)";
            return Err(wrong(why.to_owned()));
        };
        let credentials = match token {
            Some(token) => Credentials::new_with_token(key, secret, token),
            None => Credentials::new(key, secret),
        };
        let amazon = || format!("https://s3.{region}.amazonaws.com");
        let endpoint = place.endpoint.clone().unwrap_or_else(amazon);
        let url = endpoint.parse().map_err(|_| wrong(format!("`{endpoint}` is no address")))?;
        let style = if place.path_style { UrlStyle::Path } else { UrlStyle::VirtualHost };
        let bucket = Bucket::new(url, style, place.bucket.clone(), region);
        Ok(Self {
            http,
            bucket: bucket.map_err(|error| wrong(error.to_string()))?,
            credentials,
            blobs: format!("{}{}", place.prefix, place.blobs_prefix),
            document: format!("{}{}{}.kiln.json", place.prefix, place.manifests_prefix, place.name),
        })
    }

    fn blob(&self, blob: &Digest) -> String {
        format!("{}{blob}", self.blobs)
    }

    /// The bytes of the document, if there is one.
    pub(super) async fn document(&self) -> Result<Option<Vec<u8>>, CacheError> {
        let get = self.bucket.get_object(Some(&self.credentials), &self.document).sign(SIGNED_FOR);
        match fetch_document(&self.http, get.to_string()).await {
            Err(CacheError::Registry(error)) if matches!(error.fault.root(), Fault::NotFound { .. }) => {
                Ok(None)
            }
            fetched => fetched.map(Some),
        }
    }

    pub(super) async fn has(&self, blob: &Digest) -> Result<bool, CacheError> {
        let name = self.blob(blob);
        let head = self.bucket.head_object(Some(&self.credentials), &name).sign(SIGNED_FOR);
        let request = request("HEAD", head.to_string(), ObjectBody::Empty);
        Ok(self.http.object(&request).await?.is_success())
    }

    pub(super) async fn fetch(&self, layer: &CachedLayer, store: &Store) -> Result<(), CacheError> {
        let name = self.blob(&layer.blob);
        let get = self.bucket.get_object(Some(&self.credentials), &name).sign(SIGNED_FOR);
        fetch_blob(&self.http, get.to_string(), layer, Sink::new(store)?).await
    }

    pub(super) async fn put(&self, layer: &CachedLayer, source: FromStore) -> Result<(), CacheError> {
        if self.has(&layer.blob).await? {
            return Ok(());
        }
        let name = self.blob(&layer.blob);
        let source: Arc<dyn BlobSource> = Arc::new(source);
        if layer.size > PART {
            return self.put_in_parts(&name, layer.size, source).await;
        }
        self.put_object(&name, ObjectBody::Part { source, offset: 0, length: layer.size }).await
    }

    async fn put_object(&self, name: &str, body: ObjectBody) -> Result<(), CacheError> {
        let put = self.bucket.put_object(Some(&self.credentials), name).sign(SIGNED_FOR);
        self.send(request("PUT", put.to_string(), body)).await.map(drop)
    }

    async fn put_in_parts(
        &self,
        name: &str,
        size: u64,
        source: Arc<dyn BlobSource>,
    ) -> Result<(), CacheError> {
        let credentials = Some(&self.credentials);
        let begin = self.bucket.create_multipart_upload(credentials, name).sign(SIGNED_FOR);
        let begun = self.send(request("POST", begin.to_string(), ObjectBody::Empty)).await?;
        let begun = CreateMultipartUpload::parse_response(&begun.body)
            .map_err(|error| CacheError::Damaged(format!("the bucket's answer: {error}")))?;
        let mut tags = Vec::new();
        // A part is large enough for S3's limit of 10,000 of them.
        let part = PART.max(size.div_ceil(9_000));
        for (number, offset) in (1..).zip((0..size).step_by(usize::try_from(part).unwrap_or(usize::MAX))) {
            let length = part.min(size - offset);
            let put = self.bucket.upload_part(credentials, name, number, begun.upload_id()).sign(SIGNED_FOR);
            let body = ObjectBody::Part { source: Arc::clone(&source), offset, length };
            let answer = self.send(request("PUT", put.to_string(), body)).await?;
            tags.push(answer.header("etag").unwrap_or_default().to_owned());
        }
        let tags = tags.iter().map(String::as_str);
        let end = self.bucket.complete_multipart_upload(credentials, name, begun.upload_id(), tags);
        let url = end.sign(SIGNED_FOR).to_string();
        let body = ObjectBody::Bytes(end.body().into_bytes());
        let answer = self.send(request("POST", url, body)).await?;
        // S3 answers 200 before it knows.
        if String::from_utf8_lossy(&answer.body).contains("<Error>") {
            return Err(CacheError::Damaged(format!("the bucket did not take {name}")));
        }
        Ok(())
    }

    async fn send(&self, request: ObjectRequest) -> Result<kiln_registry::ObjectAnswer, CacheError> {
        let answer = self.http.object(&request).await?;
        if answer.is_success() {
            return Ok(answer);
        }
        let said = String::from_utf8_lossy(&answer.body);
        Err(CacheError::Unusable(format!("the bucket {} answered: {said}", self.bucket.name())))
    }

    pub(super) async fn finish(&self, document: Vec<u8>) -> Result<(), CacheError> {
        self.put_object(&self.document, ObjectBody::Bytes(document)).await
    }
}

fn request(method: &'static str, url: String, body: ObjectBody) -> ObjectRequest {
    ObjectRequest { method, url, headers: Vec::new(), authorization: None, body }
}
