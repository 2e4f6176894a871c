//! Single requests to servers that keep objects: a bucket, a cache service. What they mean is the caller's.

use std::str::FromStr as _;
use std::sync::Arc;

use reqwest::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode, Url};

use crate::error::Fault;
use crate::fetch::{Http, public};
use crate::retry::Patience;
use crate::session::refusal;
use crate::stream::{Length, Upload};
use crate::tls::Profile;
use crate::transport::{Payload, Request};
use crate::{BlobSource, RegistryError, Secret, TlsFiles};

/// An answer is small: objects are fetched with [`Http::fetch`].
const LARGEST_ANSWER: u64 = 1 << 20;

/// A request.
pub struct ObjectRequest {
    /// `GET`, `HEAD`, `PUT`, `POST`.
    pub method: &'static str,
    /// With all that signs it. Errors show it without its query.
    pub url: String,
    /// Names and values. None is followed to another host but for these.
    pub headers: Vec<(&'static str, String)>,
    /// The `Authorization` header.
    pub authorization: Option<Secret>,
    /// What is sent.
    pub body: ObjectBody,
}

/// What a request carries.
#[derive(Clone)]
pub enum ObjectBody {
    /// Nothing.
    Empty,
    /// A few bytes.
    Bytes(Vec<u8>),
    /// So many bytes of a source, from an offset on; read again if the transfer has to begin anew.
    Part {
        /// Whose.
        source: Arc<dyn BlobSource>,
        /// Where it begins, in bytes.
        offset: u64,
        /// How many bytes.
        length: u64,
    },
}

/// What was answered: a success, or that there is nothing of that name.
#[derive(Debug)]
pub struct ObjectAnswer {
    /// The HTTP status: 2xx, 404 or 409.
    pub status: u16,
    /// Names in small letters, and values that are text.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl ObjectAnswer {
    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether the server did what it was asked.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl Http {
    /// Sends one request, again after faults that pass, and gives the whole answer: a success, 404 or 409.
    ///
    /// # Errors
    /// See [`Fault`]; any other status is one.
    pub async fn object(&self, request: &ObjectRequest) -> Result<ObjectAnswer, RegistryError> {
        let url = Url::parse(&request.url).map_err(|_| {
            let (what, reason) = ("address", "it is no http or https address".to_owned());
            RegistryError::new("reach a cache", Fault::Options { what, path: "…".into(), reason })
        })?;
        let attempt = format!("{} {}", request.method, public(&url));
        let failed = |fault| RegistryError::new(attempt.clone(), fault);
        let policy = self.transport().options().retry.clone();
        let mut patience = Patience::new(&policy, self.watch(), &attempt);
        loop {
            match self.once(&url, request).await {
                Ok(answer) => return Ok(answer),
                Err(fault) => patience.after(fault).await.map_err(failed)?,
            }
        }
    }

    async fn once(&self, url: &Url, request: &ObjectRequest) -> Result<ObjectAnswer, Fault> {
        let profile = Profile { files: TlsFiles::default(), verify: true };
        let options = self.transport().options();
        let method = Method::from_str(request.method).unwrap_or(Method::GET);
        let mut sent: Request = self.transport().request(method, url.clone());
        sent.patience = options.commit_timeout;
        let authorization = request.authorization.as_ref();
        let authorization = authorization.map(|secret| ("authorization", secret.reveal().to_owned()));
        let headers = request.headers.iter().map(|(name, value)| (*name, value.clone()));
        for (name, value) in headers.chain(authorization) {
            let value = HeaderValue::from_str(&value).map_err(|_| Fault::Options {
                what: "header",
                path: name.into(),
                reason: "its value has bytes that no header may have".to_owned(),
            })?;
            sent.headers.insert(HeaderName::from_static(name), value);
        }
        sent.body = match request.body.clone() {
            ObjectBody::Empty => Payload::Empty,
            ObjectBody::Bytes(bytes) => Payload::Bytes(bytes),
            ObjectBody::Part { source, offset, length } => {
                // Buckets take no body of unknown length.
                sent.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
                Payload::Stream(Upload {
                    open: Box::new(move || source.open(offset)),
                    length: Length::Exactly(length),
                    sent: Box::new(|_| {}),
                })
            }
        };
        let mut answer = self.transport().send(sent, &profile).await?;
        let status = answer.response.status();
        if !status.is_success() && !matches!(status, StatusCode::NOT_FOUND | StatusCode::CONFLICT) {
            return Err(refusal(answer, options.stall_timeout).await);
        }
        let headers = answer.response.headers().iter();
        let headers =
            headers.filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
        let headers = headers.collect();
        let body = answer.body(LARGEST_ANSWER, options.stall_timeout).await?;
        Ok(ObjectAnswer { status: status.as_u16(), headers, body })
    }
}
