//! A small registry in this process, strict in what it takes, that fails on command and remembers what it was asked.
//! One file: its faults are branches of the very answers that it gives.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use futures_util::{StreamExt as _, stream};
use kiln_core::oci_spec::image::{Descriptor, MediaType};
use kiln_core::{Digest, Reference};
use kiln_registry::{Client, ClientOptions, Credentials, RetryPolicy, Retrying, Watch, media_type};

/// What goes wrong, once for each time it is queued.
#[derive(Debug, Clone)]
pub(crate) enum Trouble {
    /// An answer without looking at the request.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// The connection breaks after so many bytes of the answer's body.
    CutAnswer(usize),
    /// One bit of the answer's body is wrong.
    Corrupt,
    /// The Range header is not looked at.
    NoRanges,
    /// The connection breaks after so many bytes of the request's body; what came is kept or not.
    CutUpload { after: usize, keep: bool },
    /// No answer for so long.
    Silence(Duration),
    /// All tokens are worth nothing from now on.
    Revoke,
}

#[derive(Debug, Clone)]
struct Rule {
    /// The beginning of `METHOD path`.
    what: String,
    trouble: Trouble,
}

/// What the server has and was asked.
#[derive(Default)]
pub(crate) struct Shelf {
    pub(crate) blobs: BTreeMap<String, Bytes>,
    pub(crate) manifests: BTreeMap<String, (String, Vec<u8>)>,
    uploads: BTreeMap<String, Vec<u8>>,
    rules: Vec<Rule>,
    /// `METHOD path?query` of each request.
    pub(crate) requests: Vec<String>,
    /// The Authorization header of each request.
    pub(crate) authorizations: Vec<Option<String>>,
    /// Bytes of request bodies that arrived.
    pub(crate) taken: u64,
    pub(crate) auth: Option<Auth>,
    tokens: Vec<String>,
    /// Form bodies that the token server got.
    pub(crate) forms: Vec<String>,
    pub(crate) address: String,
}

/// What the server wants to be shown.
#[derive(Clone)]
pub(crate) struct Auth {
    /// Whether by token, else by password.
    pub(crate) tokens: bool,
    /// `user:password`.
    pub(crate) login: &'static str,
    /// Whether strangers get tokens.
    pub(crate) strangers: bool,
    pub(crate) expires_in: u64,
}

pub(crate) struct Server {
    shelf: Arc<Mutex<Shelf>>,
    pub(crate) address: String,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shelf = Arc::new(Mutex::new(Shelf { address: address.clone(), ..Shelf::default() }));
        let router = Router::new().fallback(handle).with_state(Arc::clone(&shelf));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { shelf, address }
    }

    pub(crate) fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap()
    }

    /// The next request that begins with `what` meets `trouble`.
    pub(crate) fn trouble(&self, what: &str, trouble: Trouble) {
        self.shelf().rules.push(Rule { what: what.to_owned(), trouble });
    }

    pub(crate) fn reference(&self, name: &str) -> Reference {
        format!("{}/{name}", self.address).parse().unwrap()
    }

    /// Keeps a blob.
    pub(crate) fn blob(&self, bytes: &[u8]) -> Descriptor {
        let digest = Digest::of(bytes).to_string();
        self.shelf().blobs.insert(digest, Bytes::copy_from_slice(bytes));
        describe(bytes)
    }

    /// Keeps a manifest under a tag and its digest.
    pub(crate) fn manifest(&self, repository: &str, tag: &str, media_type: &str, bytes: &[u8]) -> Descriptor {
        let entry = (media_type.to_owned(), bytes.to_vec());
        let mut shelf = self.shelf();
        shelf.manifests.insert(format!("{repository}/{tag}"), entry.clone());
        shelf.manifests.insert(format!("{repository}/{}", Digest::of(bytes)), entry);
        let mut descriptor = describe(bytes);
        descriptor.set_media_type(MediaType::from(media_type));
        descriptor
    }

    /// Keeps an image without layers for a platform.
    pub(crate) fn image(&self, repository: &str, tag: &str, os: &str, architecture: &str) -> Descriptor {
        let config = serde_json::json!({
            "os": os, "architecture": architecture, "rootfs": {"type": "layers", "diff_ids": []},
        });
        let mut config = self.blob(config.to_string().as_bytes());
        config.set_media_type(MediaType::ImageConfig);
        let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": []});
        self.manifest(repository, tag, media_type::OCI_MANIFEST, manifest.to_string().as_bytes())
    }

    /// The requests so far, `METHOD path?query`, and none for later.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.shelf().requests)
    }
}

pub(crate) fn describe(bytes: &[u8]) -> Descriptor {
    let digest: kiln_core::oci_spec::image::Digest = Digest::of(bytes).to_string().parse().unwrap();
    Descriptor::new(MediaType::ImageLayer, bytes.len() as u64, digest)
}

/// Bytes that compress badly and differ from place to place.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = |state: &mut u64| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 56) as u8
    };
    (0..length).map(|_| next(&mut state)).collect()
}

/// Options that do not wait long.
pub(crate) fn hasty() -> ClientOptions {
    ClientOptions {
        retry: RetryPolicy {
            tries: 4,
            first_pause: Duration::from_millis(2),
            longest_pause: Duration::from_millis(10),
            total: Duration::from_secs(20),
        },
        stall_timeout: Duration::from_millis(400),
        ..ClientOptions::default()
    }
}

pub(crate) fn client() -> Client {
    Client::new(hasty())
}

pub(crate) fn client_as(credentials: Credentials) -> Client {
    Client::new(ClientOptions { credentials, ..hasty() })
}

/// Counts what a client tells.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) retries: Mutex<Vec<Retrying>>,
    pub(crate) bytes: Mutex<(u64, u64)>,
}

impl Watch for Notes {
    fn bytes(&self, done: u64, total: u64) {
        *self.bytes.lock().unwrap() = (done, total);
    }

    fn retrying(&self, retrying: &Retrying) {
        self.retries.lock().unwrap().push(retrying.clone());
    }
}

type Shared = State<Arc<Mutex<Shelf>>>;

async fn handle(State(shelf): Shared, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let line = format!("{} {path}", parts.method);
    let trouble = {
        let mut shelf = shelf.lock().unwrap();
        let shown = if query.is_empty() { line.clone() } else { format!("{line}?{query}") };
        shelf.requests.push(shown);
        let authorization =
            parts.headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
        shelf.authorizations.push(authorization);
        let rule = shelf.rules.iter().position(|rule| line.starts_with(&rule.what));
        rule.map(|at| shelf.rules.remove(at).trouble)
    };
    match &trouble {
        Some(Trouble::Answer(status, headers, body)) => {
            let mut answer = Response::builder().status(*status);
            for (name, value) in headers {
                answer = answer.header(*name, value);
            }
            return answer.body(Body::from(body.clone())).unwrap();
        }
        Some(Trouble::Silence(time)) => tokio::time::sleep(*time).await,
        Some(Trouble::Revoke) => shelf.lock().unwrap().tokens.clear(),
        _ => {}
    }
    let mut headers = parts.headers;
    if matches!(trouble, Some(Trouble::NoRanges)) {
        headers.remove("range");
    }
    let Ok(body) = take(&shelf, &path, &trouble, body).await else {
        // Breaks the connection without a word of this thread.
        std::panic::resume_unwind(Box::new("cut"))
    };
    let answer = respond(&mut shelf.lock().unwrap(), &parts.method, &path, &query, &headers, body);
    spoil(answer, trouble).await
}

/// Reads the body of a request as far as it is let.
async fn take(
    shelf: &Mutex<Shelf>,
    path: &str,
    trouble: &Option<Trouble>,
    body: Body,
) -> Result<Vec<u8>, ()> {
    let mut taken = Vec::new();
    let mut pieces = body.into_data_stream();
    while let Some(Ok(bytes)) = pieces.next().await {
        shelf.lock().unwrap().taken += bytes.len() as u64;
        taken.extend_from_slice(&bytes);
        if let Some(Trouble::CutUpload { after, keep }) = trouble
            && taken.len() >= *after
        {
            let mut shelf = shelf.lock().unwrap();
            let id = path.rsplit('/').next().unwrap();
            if *keep {
                taken.truncate(*after);
                shelf.uploads.get_mut(id).unwrap().extend(taken);
            } else {
                shelf.uploads.remove(id);
            }
            return Err(());
        }
    }
    Ok(taken)
}

async fn spoil(answer: Response, trouble: Option<Trouble>) -> Response {
    let (mut parts, body) = answer.into_parts();
    let mut bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec();
    match trouble {
        Some(Trouble::CutAnswer(after)) if after < bytes.len() => {
            parts.headers.insert("content-length", bytes.len().into());
            bytes.truncate(after);
            let cut = stream::iter([Ok(Bytes::from(bytes)), Err(std::io::Error::other("cut"))]);
            Response::from_parts(parts, Body::from_stream(cut))
        }
        Some(Trouble::Corrupt) => {
            let at = bytes.len() / 2;
            bytes[at] ^= 1;
            Response::from_parts(parts, Body::from(bytes))
        }
        _ => Response::from_parts(parts, Body::from(bytes)),
    }
}

fn plain(status: StatusCode) -> Response {
    Response::builder().status(status).body(Body::empty()).unwrap()
}

fn error(status: u16, code: &str) -> Response {
    let body = format!(r#"{{"errors":[{{"code":"{code}","message":"as {code} says"}}]}}"#);
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Body::from(body))
        .unwrap()
}

fn field<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

fn respond(
    shelf: &mut Shelf,
    method: &Method,
    path: &str,
    query: &str,
    headers: &HeaderMap,
    body: Vec<u8>,
) -> Response {
    if path == "/token" {
        return token(shelf, query, headers, &body);
    }
    if path.starts_with("/file/") {
        return file(shelf, path, headers);
    }
    if let Some(refused) = refuse(shelf, path, headers) {
        return refused;
    }
    let rest = path.strip_prefix("/v2/").unwrap_or_default();
    let query = &query.replace("%3A", ":").replace("%2F", "/");
    if rest.is_empty() {
        return plain(StatusCode::OK);
    }
    if let Some((repository, name)) = rest.split_once("/manifests/") {
        return manifests(shelf, method, &format!("{repository}/{name}"), headers, body);
    }
    if let Some((repository, id)) = rest.split_once("/blobs/uploads/") {
        return uploads(shelf, method, repository, id, query, headers, body);
    }
    match rest.split_once("/blobs/").and_then(|(_, digest)| shelf.blobs.get(digest)) {
        Some(bytes) => blob(method, bytes, headers),
        None => error(404, "BLOB_UNKNOWN"),
    }
}

fn manifests(shelf: &mut Shelf, method: &Method, key: &str, headers: &HeaderMap, body: Vec<u8>) -> Response {
    if method == Method::PUT {
        let digest = Digest::of(&body).to_string();
        let repository = key.rsplit_once('/').unwrap().0;
        let kind = headers["content-type"].to_str().unwrap().to_owned();
        shelf.manifests.insert(format!("{repository}/{digest}"), (kind.clone(), body.clone()));
        shelf.manifests.insert(key.to_owned(), (kind, body));
        return Response::builder()
            .status(201)
            .header("docker-content-digest", digest)
            .body(Body::empty())
            .unwrap();
    }
    assert!(headers["accept"].to_str().unwrap().contains("oci.image.index"));
    match shelf.manifests.get(key) {
        Some((kind, bytes)) => Response::builder()
            .header("content-type", kind)
            .header("docker-content-digest", Digest::of(bytes).to_string())
            .body(Body::from(bytes.clone()))
            .unwrap(),
        None => error(404, "MANIFEST_UNKNOWN"),
    }
}

fn blob(method: &Method, bytes: &Bytes, headers: &HeaderMap) -> Response {
    let range = headers.get("range").map(|value| value.to_str().unwrap());
    let answer = Response::builder().header("content-type", "application/octet-stream");
    match range.and_then(|text| text.strip_prefix("bytes=")?.split_once('-')) {
        Some((start, end)) if method == Method::GET => {
            let (start, end): (usize, usize) = (start.parse().unwrap(), end.parse().unwrap());
            assert!(start <= end && end < bytes.len(), "a senseless range");
            answer
                .status(206)
                .header("content-range", format!("bytes {start}-{end}/{}", bytes.len()))
                .body(Body::from(bytes.slice(start..=end)))
                .unwrap()
        }
        _ => answer.body(Body::from(bytes.clone())).unwrap(),
    }
}

fn uploads(
    shelf: &mut Shelf,
    method: &Method,
    repository: &str,
    id: &str,
    query: &str,
    headers: &HeaderMap,
    body: Vec<u8>,
) -> Response {
    let place = |id: &str, kept: usize, status: u16| {
        Response::builder()
            .status(status)
            .header("location", format!("/v2/{repository}/blobs/uploads/{id}?state=x"))
            .header("range", format!("0-{}", kept.saturating_sub(1)))
            .body(Body::empty())
            .unwrap()
    };
    if method == Method::POST {
        if let Some(digest) = field(query, "mount")
            && field(query, "from") == Some("base/has")
            && shelf.blobs.contains_key(digest)
        {
            return plain(StatusCode::CREATED);
        }
        let id = format!("u{}", shelf.uploads.len());
        shelf.uploads.insert(id.clone(), Vec::new());
        return place(&id, 0, 202);
    }
    assert_eq!(field(query, "state"), Some("x"), "the Location is used as it is");
    let Some(upload) = shelf.uploads.get_mut(id) else { return error(404, "BLOB_UPLOAD_UNKNOWN") };
    if let Some(range) = headers.get("content-range") {
        let start: usize = range.to_str().unwrap().split('-').next().unwrap().parse().unwrap();
        if start != upload.len() {
            return error(416, "RANGE_INVALID");
        }
    }
    match *method {
        Method::GET => place(id, upload.len(), 204),
        Method::PATCH => {
            upload.extend(body);
            let kept = upload.len();
            place(id, kept, 202)
        }
        Method::PUT => {
            upload.extend(body);
            let digest = Digest::of(upload).to_string();
            if field(query, "digest") != Some(&digest) {
                return error(400, "DIGEST_INVALID");
            }
            let bytes = shelf.uploads.remove(id).unwrap();
            shelf.blobs.insert(digest, bytes.into());
            plain(StatusCode::CREATED)
        }
        _ => {
            shelf.uploads.remove(id);
            plain(StatusCode::NO_CONTENT)
        }
    }
}

fn file(shelf: &Shelf, path: &str, headers: &HeaderMap) -> Response {
    let Some(bytes) = shelf.blobs.get(path) else { return plain(StatusCode::NOT_FOUND) };
    let etag = format!("\"{}\"", Digest::of(bytes).hex());
    if headers.get("if-none-match").is_some_and(|known| *known == *etag) {
        return plain(StatusCode::NOT_MODIFIED);
    }
    let modified = "Thu, 01 Jan 2026 00:00:00 GMT";
    let answer = Response::builder().header("etag", etag).header("last-modified", modified);
    answer
        .header("content-disposition", "attachment; filename=f.txt")
        .body(Body::from(bytes.clone()))
        .unwrap()
}

fn refuse(shelf: &Shelf, path: &str, headers: &HeaderMap) -> Option<Response> {
    let auth = shelf.auth.as_ref()?;
    let shown = headers.get("authorization").map(|value| value.to_str().unwrap()).unwrap_or_default();
    let welcome = if auth.tokens {
        shelf.tokens.iter().any(|token| shown == format!("Bearer {token}"))
    } else {
        shown == basic(auth.login)
    };
    if welcome {
        return None;
    }
    let repository = path.trim_start_matches("/v2/").split("/blobs/").next().unwrap();
    let repository = repository.split("/manifests/").next().unwrap();
    let wanted = if auth.tokens {
        let scope =
            if repository.is_empty() { String::new() } else { format!("repository:{repository}:pull") };
        format!(r#"Bearer realm="http://{}/token",service="tests",scope="{scope}""#, shelf.address)
    } else {
        r#"Basic realm="tests""#.to_owned()
    };
    let mut refused = error(401, "UNAUTHORIZED");
    refused.headers_mut().insert("www-authenticate", wanted.parse().unwrap());
    Some(refused)
}

pub(crate) fn basic(login: &str) -> String {
    use base64::Engine as _;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(login))
}

fn token(shelf: &mut Shelf, query: &str, headers: &HeaderMap, body: &[u8]) -> Response {
    let auth = shelf.auth.clone().unwrap();
    let form = String::from_utf8_lossy(body).into_owned();
    let known = match headers.get("authorization") {
        Some(shown) => *shown == *basic(auth.login),
        None if !form.is_empty() => form.contains("refresh_token=identity"),
        None => auth.strangers,
    };
    if !form.is_empty() {
        shelf.forms.push(form);
    }
    if !known {
        let body = r#"{"details":"incorrect username or password"}"#;
        return Response::builder().status(401).body(Body::from(body)).unwrap();
    }
    let number = shelf.requests.len();
    let token = format!("token-{number}-{}", query.len());
    shelf.tokens.push(token.clone());
    let answer = serde_json::json!({"token": token, "expires_in": auth.expires_in});
    Response::new(Body::from(answer.to_string()))
}

/// A server that answers every request with the same text, which may be no HTTP at all.
pub(crate) async fn raw(text: &'static [u8]) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (mut peer, _) = listener.accept().await.unwrap();
            let _ = peer.read(&mut [0; 4096]).await;
            let _ = peer.write_all(text).await;
        }
        #[expect(unreachable_code, reason = "gives the endless loop a type")]
        Ok::<(), Infallible>(())
    });
    address
}
