//! One repository at one endpoint: addresses, scopes, the 401 that asks for a token, refused answers in words.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderValue, RETRY_AFTER};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;

use crate::auth::{Authenticator, Scopes};
use crate::challenge::challenge;
use crate::error::Fault;
use crate::hosts::authority;
use crate::redirect::same_origin;
use crate::tls::Profile;
use crate::transport::{Answer, Payload, Request, Transport};

/// The longest text of a server that is quoted.
const MAX_QUOTE: usize = 300;

/// A server that speaks the distribution protocol, with what was learnt of it.
pub(crate) struct Station {
    /// The address before `/v2`, without a slash at its end.
    pub(crate) base: Url,
    pub(crate) profile: Profile,
    pub(crate) authenticator: Authenticator,
    pub(crate) strip_prefix: String,
    pub(crate) repository_prefix: String,
    /// Whether tags may be asked here.
    pub(crate) resolve: bool,
    /// Whether digests may be asked here.
    pub(crate) digests: bool,
    /// The registry that it mirrors; `None` for the registry itself.
    pub(crate) mirror_of: Option<String>,
    /// Set when an upload was lost with its connection: bytes that get through in one piece.
    pub(crate) upload_piece: std::sync::atomic::AtomicU64,
}

/// One repository there.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) station: Arc<Station>,
    pub(crate) transport: Transport,
    /// With the station's prefix.
    pub(crate) repository: String,
    pub(crate) scopes: Scopes,
}

impl Station {
    /// What a repository is called here.
    pub(crate) fn repository(&self, name: &str) -> String {
        let rest = match name.strip_prefix(&*self.strip_prefix) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => rest.trim_start_matches('/'),
            _ => name,
        };
        match (self.repository_prefix.trim_matches('/'), rest) {
            ("", rest) => rest.to_owned(),
            (prefix, "") => prefix.to_owned(),
            (prefix, rest) => format!("{prefix}/{rest}"),
        }
    }
}

impl Session {
    /// The address of something in the repository: `manifests/latest`.
    pub(crate) fn url(&self, path: &str) -> Url {
        let mut url = self.station.base.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/v2/{}/{path}", self.repository));
        if let Some(registry) = &self.station.mirror_of {
            // containerd's way to tell a mirror of many registries which one is meant.
            url.query_pairs_mut().append_pair("ns", registry);
        }
        url
    }

    /// A request for something in the repository.
    pub(crate) fn request(&self, method: Method, path: &str) -> Request {
        self.transport.request(method, self.url(path))
    }

    /// Sends a request as whoever one is there. A 401 is answered once with a (new) token, if the body can be sent
    /// again; otherwise the next request has it.
    pub(crate) async fn send(&self, request: Request) -> Result<Answer, Fault> {
        let authenticator = &self.station.authenticator;
        // An upload may lead to another server, which has nothing to do with this one's tokens.
        if !same_origin(&request.url, &self.station.base) {
            return self.transport.send(request, &self.station.profile.for_stranger()).await;
        }
        let again = match &request.body {
            Payload::Empty => Some(Payload::Empty),
            Payload::Bytes(bytes) => Some(Payload::Bytes(bytes.clone())),
            Payload::Stream(_) => None,
        };
        let copy = again.map(|body| Request {
            method: request.method.clone(),
            url: request.url.clone(),
            headers: request.headers.clone(),
            body,
            patience: request.patience,
        });
        let (answer, used) = self.send_as(request).await?;
        if answer.response.status() != StatusCode::UNAUTHORIZED
            || !same_origin(&answer.url, &self.station.base)
        {
            return Ok(answer);
        }
        let asked = challenge(answer.response.headers());
        let worth = authenticator.challenged(asked, used.as_ref()).await;
        match copy {
            Some(copy) if worth => Ok(self.send_as(copy).await?.0),
            _ => Ok(answer),
        }
    }

    async fn send_as(&self, mut request: Request) -> Result<(Answer, Option<HeaderValue>), Fault> {
        let authenticator = &self.station.authenticator;
        let header = authenticator.header(&self.transport, &self.repository, &self.scopes).await?;
        if let Some(header) = &header {
            request.headers.insert(AUTHORIZATION, header.clone());
        }
        Ok((self.transport.send(request, &self.station.profile).await?, header))
    }

    /// The fault of an answer that is no success.
    pub(crate) async fn refused(&self, answer: Answer) -> Fault {
        let fault = refusal(answer, self.transport.options().stall_timeout).await;
        self.station.authenticator.explained(fault).await
    }

    /// The endpoint's host and port.
    pub(crate) fn host(&self) -> String {
        authority(&self.station.base)
    }
}

/// The errors of a registry's answer (distribution-spec, error codes).
#[derive(Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<CodedError>,
    // What token servers and proxies say instead.
    #[serde(default)]
    details: Option<String>,
    #[serde(default)]
    error_description: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

#[derive(Deserialize)]
struct CodedError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// The fault of an answer that is no success, with the server's own words.
pub(crate) async fn refusal(mut answer: Answer, patience: Duration) -> Fault {
    let host = answer.host();
    let status = answer.response.status();
    let content_type = answer.header(CONTENT_TYPE.as_str()).unwrap_or_default().to_owned();
    let retry_after =
        answer.header(RETRY_AFTER.as_str()).and_then(|text| pause(text, answer.header(DATE.as_str())));
    let body = answer.body(64 << 10, patience).await.unwrap_or_default();
    let (code, detail) = words(&body, &content_type);
    let registry = host.clone();
    match status {
        StatusCode::UNAUTHORIZED => Fault::Unauthorized { host, registry, anonymous: true, detail },
        // GitHub and others hide what one may not see behind DENIED with 403, some with 404.
        StatusCode::FORBIDDEN => Fault::Denied { host, registry, anonymous: true, detail },
        StatusCode::NOT_FOUND if is_html(&content_type) && code.is_empty() => {
            Fault::NotARegistry { host, content_type }
        }
        StatusCode::NOT_FOUND => Fault::NotFound { detail },
        StatusCode::TOO_MANY_REQUESTS => Fault::TooManyRequests { host, retry_after, detail },
        _ => Fault::Status { host, status: status.as_u16(), retry_after, detail },
    }
}

/// The first error's code, and all that the server says in one line.
fn words(body: &[u8], content_type: &str) -> (String, String) {
    let (code, text) = match serde_json::from_slice::<Errors>(body) {
        Ok(said) => {
            let code = said.errors.first().map(|error| error.code.clone()).unwrap_or_default();
            let coded = said.errors.iter().map(|error| match (error.code.as_str(), error.message.as_str()) {
                ("", message) => message.to_owned(),
                (code, "") => code.to_owned(),
                (code, message) => format!("{code}: {message}"),
            });
            let coded: Vec<String> = coded.collect();
            let other = said.details.or(said.error_description).or(said.message);
            (code, if coded.is_empty() { other.unwrap_or_default() } else { coded.join("; ") })
        }
        Err(_) if is_html(content_type) => (String::new(), "an HTML page".to_owned()),
        Err(_) => (String::new(), String::from_utf8_lossy(body).into_owned()),
    };
    (code, quote(&text))
}

/// A server's text in one line, shortened, without control characters.
fn quote(text: &str) -> String {
    let line: Vec<&str> = text.split_whitespace().collect();
    let clean: String = line.join(" ").chars().filter(|c| !c.is_control()).collect();
    if clean.chars().count() <= MAX_QUOTE {
        return clean;
    }
    clean.chars().take(MAX_QUOTE).chain("…".chars()).collect()
}

/// Whether a media type is that of a web page.
pub(crate) fn is_html(content_type: &str) -> bool {
    content_type.starts_with("text/html") || content_type.starts_with("application/xhtml")
}

/// Retry-After: seconds, or a date, which is held against the answer's own date and not against a clock here
/// (RFC 9110 §10.2.3).
fn pause(retry_after: &str, date: Option<&str>) -> Option<Duration> {
    let text = retry_after.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let (until, now) = (httpdate::parse_http_date(text).ok()?, httpdate::parse_http_date(date?).ok()?);
    Some(until.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_seconds_or_a_date() {
        let date = Some("Thu, 01 Jan 2026 00:00:00 GMT");
        assert_eq!(pause("7", None), Some(Duration::from_secs(7)));
        assert_eq!(pause("Thu, 01 Jan 2026 00:01:00 GMT", date), Some(Duration::from_secs(60)));
        assert_eq!(pause("Wed, 31 Dec 2025 00:01:00 GMT", date), Some(Duration::ZERO));
        assert_eq!(pause("Thu, 01 Jan 2026 00:01:00 GMT", None), None);
        assert_eq!(pause("soon", date), None);
    }

    #[test]
    fn a_servers_words_are_put_into_one_clean_line() {
        let json = "application/json";
        for (body, content_type, text) in [
            (r#"{"errors":[{"code":"DENIED","message":"no\n\u001b[31m way"}]}"#, json, "DENIED: no [31m way"),
            (r#"{"errors":[{"code":"A"},{"message":"b"}]}"#, json, "A; b"),
            (r#"{"details":"incorrect password"}"#, json, "incorrect password"),
            ("<html>", "text/html", "an HTML page"),
            ("gateway  down\n", "text/plain", "gateway down"),
            ("", "", ""),
        ] {
            assert_eq!(words(body.as_bytes(), content_type).1, text, "{body}");
        }
        assert!(words("x".repeat(9999).as_bytes(), "").1.chars().count() <= MAX_QUOTE + 1);
    }
}
