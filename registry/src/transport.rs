//! Connections: one HTTP client a way of speaking TLS, redirects under kiln's own rules, faults in words.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap, LOCATION};
use reqwest::{Body, Method, NoProxy, Proxy, Response, StatusCode, Url};

use crate::error::{ConnectKind, Fault};
use crate::hosts::authority;
use crate::redirect::{self, MAX_REDIRECTS, same_origin};
use crate::stream::Upload;
use crate::tls::{self, Profile};
use crate::{ClientOptions, ProxyOptions, Secret};

/// Sends requests. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Transport {
    options: Arc<ClientOptions>,
    /// `None` is the client for plain http.
    clients: Arc<Mutex<BTreeMap<Option<Profile>, reqwest::Client>>>,
}

/// One request.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Payload,
    /// How long the server may think.
    pub(crate) patience: Duration,
}

/// What a request carries.
pub(crate) enum Payload {
    Empty,
    Bytes(Vec<u8>),
    /// Can be sent once.
    Stream(Upload),
}

/// The head of an answer, its body still to be read.
pub(crate) struct Answer {
    pub(crate) response: Response,
    /// Who answered, after redirects.
    pub(crate) url: Url,
}

impl Transport {
    pub(crate) fn new(options: Arc<ClientOptions>) -> Self {
        Self { options, clients: Arc::default() }
    }

    pub(crate) fn options(&self) -> &ClientOptions {
        &self.options
    }

    /// A request without a body and without headers.
    pub(crate) fn request(&self, method: Method, url: Url) -> Request {
        let patience = self.options.stall_timeout;
        Request { method, url, headers: HeaderMap::new(), body: Payload::Empty, patience }
    }

    /// Sends a request and follows redirects of those that can be sent again. On the way to another server the
    /// Authorization header and the client certificate stay behind.
    pub(crate) async fn send(&self, request: Request, profile: &Profile) -> Result<Answer, Fault> {
        let Request { mut method, mut url, mut headers, mut body, patience } = request;
        let first = url.clone();
        let mut profile = profile.clone();
        for _ in 0..=MAX_REDIRECTS {
            let again = match &body {
                Payload::Empty => Some(Payload::Empty),
                Payload::Bytes(bytes) => Some(Payload::Bytes(bytes.clone())),
                Payload::Stream(_) => None,
            };
            let hop = Request {
                method: method.clone(),
                url: url.clone(),
                headers: headers.clone(),
                body,
                patience,
            };
            let response = self.once(hop, &profile).await?;
            let status = response.status();
            let Some(location) = redirect_of(&response) else {
                return Ok(Answer { response, url });
            };
            let to = redirect::target(&url, &location)?;
            body = match (status, again) {
                // RFC 9110 §15.4: these two keep method and body.
                (StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT, Some(again)) => again,
                (_, Some(Payload::Empty)) if matches!(method, Method::GET | Method::HEAD) => Payload::Empty,
                (StatusCode::SEE_OTHER, _) => {
                    method = Method::GET;
                    Payload::Empty
                }
                _ => {
                    let why = "a redirect of an upload, which kiln does not follow";
                    return Err(Fault::BadTarget { host: authority(&url), target: authority(&to), why });
                }
            };
            if !same_origin(&to, &first) {
                headers.remove(AUTHORIZATION);
                profile = profile.for_stranger();
            }
            url = to;
        }
        let why = "and so on: too many redirects";
        Err(Fault::BadTarget { host: authority(&first), target: authority(&url), why })
    }

    async fn once(&self, request: Request, profile: &Profile) -> Result<Response, Fault> {
        let Request { method, url, headers, body, patience } = request;
        let host = authority(&url);
        let builder = self.client(&url, profile)?.request(method, url).headers(headers);
        match body {
            Payload::Empty => timed(builder.send(), patience, &host).await,
            Payload::Bytes(bytes) => timed(builder.body(bytes).send(), patience, &host).await,
            Payload::Stream(upload) => {
                let (body, pulse) = upload.into_body();
                let sending = builder.body(Body::wrap_stream(body)).send();
                let answer = tokio::select! {
                    answer = sending => answer.map_err(|error| fault(&error, &host)),
                    () = pulse.stopped(self.options.stall_timeout, patience) => {
                        Err(Fault::Stalled { host, after: self.options.stall_timeout })
                    }
                };
                // What broke on this side explains more than the connection that broke with it.
                match pulse.failure() {
                    Some(cause) => Err(cause),
                    None => answer,
                }
            }
        }
    }

    fn client(&self, url: &Url, profile: &Profile) -> Result<reqwest::Client, Fault> {
        let host = authority(url);
        let key = (url.scheme() == "https").then(|| profile.clone());
        let mut clients = self.clients.lock().expect("no panic while locked");
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let tls = match &key {
            Some(profile) => tls::https(profile, &self.options.ca_files, &host)?,
            None => tls::plain(),
        };
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .user_agent(&self.options.user_agent)
            .connect_timeout(self.options.connect_timeout)
            .pool_idle_timeout(Duration::from_secs(30))
            .no_proxy();
        for proxy in proxies(&self.options.proxy)? {
            builder = builder.proxy(proxy);
        }
        let client = builder.build().map_err(|error| fault(&error, &host))?;
        clients.insert(key, client.clone());
        Ok(client)
    }
}

impl Answer {
    pub(crate) fn host(&self) -> String {
        authority(&self.url)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// The next piece of the body, or `None` at its end.
    pub(crate) async fn chunk(&mut self, patience: Duration) -> Result<Option<Bytes>, Fault> {
        let host = self.host();
        match tokio::time::timeout(patience, self.response.chunk()).await {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(error)) => Err(fault(&error, &host)),
            Err(_) => Err(Fault::Stalled { host, after: patience }),
        }
    }

    /// The whole body, up to `limit` bytes.
    pub(crate) async fn body(&mut self, limit: u64, patience: Duration) -> Result<Vec<u8>, Fault> {
        if self.response.content_length().is_some_and(|length| length > limit) {
            return Err(Fault::TooLarge { limit });
        }
        let mut body = Vec::new();
        while let Some(bytes) = self.chunk(patience).await? {
            if (body.len() + bytes.len()) as u64 > limit {
                return Err(Fault::TooLarge { limit });
            }
            body.extend_from_slice(&bytes);
        }
        Ok(body)
    }
}

async fn timed(
    sending: impl Future<Output = reqwest::Result<Response>>,
    patience: Duration,
    host: &str,
) -> Result<Response, Fault> {
    match tokio::time::timeout(patience, sending).await {
        Ok(answer) => answer.map_err(|error| fault(&error, host)),
        Err(_) => Err(Fault::Stalled { host: host.to_owned(), after: patience }),
    }
}

fn redirect_of(response: &Response) -> Option<String> {
    let follows = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = response.headers().get(LOCATION).filter(|_| follows)?;
    location.to_str().ok().map(str::to_owned)
}

fn proxies(options: &ProxyOptions) -> Result<Vec<Proxy>, Fault> {
    // This machine itself is never behind a proxy, as in Go's rule.
    let direct = NoProxy::from_string(&format!("{},localhost,127.0.0.0/8,::1", options.none_for));
    let make = |secret: &Secret, new: fn(Url) -> reqwest::Result<Proxy>| -> Result<Proxy, Fault> {
        let text = secret.reveal();
        // curl and everybody after it take a bare host for an http proxy.
        let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let bad = |reason: String| Fault::Options { what: "proxy", path: "(its URL)".into(), reason };
        let url = Url::parse(&text).map_err(|e| bad(e.to_string()))?;
        let proxy = new(url).map_err(|e| bad(innermost(&e)))?;
        Ok(proxy.no_proxy(direct.clone()))
    };
    let mut proxies = Vec::new();
    if let Some(secret) = &options.https {
        proxies.push(make(secret, Proxy::https)?);
    }
    if let Some(secret) = &options.http {
        proxies.push(make(secret, Proxy::http)?);
    }
    if let Some(secret) = &options.all {
        proxies.push(make(secret, Proxy::all)?);
    }
    Ok(proxies)
}

/// A fault of the connection in words. URLs stay out: they may be signed.
pub(crate) fn fault(error: &reqwest::Error, host: &str) -> Fault {
    let host = host.to_owned();
    let mut reason = innermost(error);
    if let Some(cause) = tls_cause(error) {
        use rustls::{CertificateError, Error};
        let kind = match cause {
            // The second is an authority of the same name with another key.
            Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
                Some(ConnectKind::UnknownIssuer)
            }
            Error::InvalidCertificate(_) => Some(ConnectKind::Certificate),
            Error::InvalidMessage(_) => Some(ConnectKind::Plaintext),
            _ => None,
        };
        reason = match (cause, kind) {
            (_, Some(ConnectKind::Plaintext)) => "the server does not speak TLS".to_owned(),
            (_, Some(ConnectKind::UnknownIssuer)) => {
                "the server's certificate is signed by an unknown authority".to_owned()
            }
            (Error::InvalidCertificate(what), _) => format!("the server's certificate is refused: {what}"),
            (other, _) => other.to_string(),
        };
        if let Some(kind) = kind {
            return Fault::Connect { host, reason, kind };
        }
    }
    if !error.is_connect() {
        return Fault::Interrupted { host, reason };
    }
    let whole = chain(error);
    let kind = if whole.contains("proxy") || whole.contains("tunnel") {
        ConnectKind::Proxy
    } else if whole.contains("dns error") || whole.contains("no records found") {
        ConnectKind::Name
    } else {
        ConnectKind::Other
    };
    Fault::Connect { host, reason, kind }
}

fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

fn innermost(error: &dyn StdError) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}

fn tls_cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(cause) = error.downcast_ref::<rustls::Error>() {
            return Some(cause);
        }
        // An io::Error does not count what it wraps as its source.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    None
}
