//! `--cache-to` and `--cache-from` with a bucket of S3 and with the cache service of GitHub Actions.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path as Name, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use kiln_tests::{Machines, Outcome, steps_ran};
use serde_json::{Value, json};

/// A layer that goes in one piece, and one that does not.
const DOCKERFILE: &str = "\
FROM busybox
RUN head -c 70000000 /dev/urandom > /large
COPY a /a
RUN cat /a > /from-a
";

fn machines<const N: usize>(variables: [(&'static str, &str); N]) -> Machines {
    let machines = Machines::new(DOCKERFILE).with(variables);
    machines.env.file("a", "1");
    machines
}

fn ran<const N: usize>(machines: &Machines, machine: &str, arguments: [&str; N]) -> usize {
    steps_ran(&machines.build(machine, arguments).success()).len()
}

/// A build whose warnings are to be read.
#[track_caller]
fn warns<const N: usize>(machines: &Machines, arguments: [&str; N]) -> Outcome {
    let context = machines.place("context");
    let words = ["build", "--progress=plain"].into_iter().chain(arguments).chain([&*context]);
    machines.on("a", words).success()
}

/// Runs a server on a thread of its own, until the test's process ends, and gives its address.
fn serve<F: Future<Output = ()>>(
    server: impl FnOnce(tokio::net::TcpListener) -> F + Send + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a socket");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            server(tokio::net::TcpListener::from_std(listener).expect("a listener")).await;
        });
    });
    address
}

const KEY: &str = "kiln";
const SECRET: &str = "a secret of forty characters, or so it was";

/// A real S3 server with the bucket `cache`: it checks the signatures.
fn s3(root: &Path) -> String {
    std::fs::create_dir_all(root.join("cache")).expect("a bucket");
    let files = s3s_fs::FileSystem::new(root).expect("a directory");
    let mut service = s3s::service::S3ServiceBuilder::new(files);
    service.set_auth(s3s::auth::SimpleAuth::from_single(KEY, SECRET));
    let service = service.build().into_shared();
    serve(move |listener| async move {
        loop {
            let Ok((socket, _)) = listener.accept().await else { continue };
            let service = service.clone();
            tokio::spawn(async move {
                let io = hyper_util::rt::TokioIo::new(socket);
                let server =
                    hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new());
                let _ = server.serve_connection(io, service).await;
            });
        }
    })
}

#[test]
fn a_bucket_spares_another_machine_all_steps() {
    let bucket = tempfile::tempdir().expect("a directory");
    let address = s3(bucket.path());
    let keys = [("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", SECRET)];
    let machines = machines(keys);
    let place = format!(
        "type=s3,region=us-east-1,bucket=cache,name=app,prefix=team/,endpoint_url={address},use_path_style=true"
    );
    assert_eq!(ran(&machines, "a", ["--cache-to", &format!("{place},mode=max")]), 3);
    assert!(bucket.path().join("cache/team/manifests/app.kiln.json").is_file());
    let blobs = || std::fs::read_dir(bucket.path().join("cache/team/blobs")).expect("blobs").count();
    let before = blobs();
    assert_eq!(before, 4, "the base image's layer and the steps'");

    let out = machines.env.path("out").display().to_string();
    let to = format!("type=local,dest={out}");
    assert_eq!(ran(&machines, "b", ["--cache-from", &place, "-o", &to]), 0);
    assert_eq!(std::fs::metadata(Path::new(&out).join("large")).expect("a file").len(), 70_000_000);

    // Another file: two steps more, and nothing else is sent.
    machines.env.file("a", "2");
    let to = format!("{place},mode=max");
    assert_eq!(ran(&machines, "b", ["--cache-from", &place, "--cache-to", &to]), 2);
    assert_eq!(blobs(), before + 2);
}

#[test]
fn a_bucket_that_cannot_be_used_is_a_warning() {
    let bucket = tempfile::tempdir().expect("a directory");
    let address = s3(bucket.path());
    let place = format!("type=s3,region=us-east-1,bucket=cache,endpoint_url={address},use_path_style=true");
    // No keys at all, keys that are not theirs, a bucket that is not there.
    let nobody = machines([]);
    let told = warns(&nobody, ["--cache-to", &place, "--cache-from", &place]);
    assert!(told.stderr.contains("AWS_ACCESS_KEY_ID"), "{told}");
    let wrong = [("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", "wrong")];
    let stranger = machines(wrong);
    let told = warns(&stranger, ["--cache-to", &place]);
    assert!(told.stderr.contains("the bucket") || told.stderr.contains("denied"), "{told}");
    assert!(!told.stderr.contains("X-Amz-Signature"), "a signature was shown: {told}");
    let right = [("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", SECRET)];
    let machines = machines(right);
    let told = warns(&machines, ["--cache-to", &place.replace("bucket=cache", "bucket=other")]);
    assert!(told.stderr.contains("other"), "{told}");
}

/// The cache service of GitHub Actions, as its second version answers: entries by key and version, uploads and downloads at
/// addresses of their own.
#[derive(Default)]
struct Service {
    address: String,
    /// In the order in which they came; `None` until the upload is finished.
    entries: Vec<(String, String, Option<u64>)>,
    blobs: BTreeMap<String, Vec<u8>>,
    uploads: usize,
}

type Shared = Arc<Mutex<Service>>;

const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.e30.c2lnbmVk";

async fn call(
    State(service): State<Shared>,
    Name(method): Name<String>,
    headers: HeaderMap,
    body: Bytes,
) -> impl IntoResponse {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let question: Value = serde_json::from_slice(&body).unwrap_or_default();
    let bearer = headers.get("authorization").and_then(|value| value.to_str().ok());
    if bearer != Some(&format!("Bearer {TOKEN}")) {
        return (StatusCode::UNAUTHORIZED, json!({ "code": "unauthenticated" }).to_string());
    }
    let mut service = service.lock().expect("no panic");
    let (key, version) = (text(&question["key"]), text(&question["version"]));
    let address = service.address.clone();
    let url = |key: &str| format!("{address}/blobs/{key}?sig=secret");
    let answer = match method.as_str() {
        "CreateCacheEntry" if service.entries.iter().any(|entry| entry.0 == key && entry.1 == version) => {
            return (StatusCode::CONFLICT, json!({ "code": "already_exists" }).to_string());
        }
        "CreateCacheEntry" => {
            service.entries.push((key.clone(), version, None));
            json!({ "ok": true, "signed_upload_url": url(&key) })
        }
        "FinalizeCacheEntryUpload" => {
            let size = question["size_bytes"].as_str().and_then(|size| size.parse().ok());
            let entry = service.entries.iter_mut().find(|entry| entry.0 == key && entry.1 == version);
            let known = entry.map(|entry| entry.2 = size).is_some() && size.is_some();
            json!({ "ok": known, "entry_id": "1" })
        }
        "GetCacheEntryDownloadURL" => {
            let starts: Vec<String> =
                question["restore_keys"].as_array().into_iter().flatten().map(text).collect();
            let whole = |entry: &&(String, String, Option<u64>)| entry.1 == version && entry.2.is_some();
            let exact = service.entries.iter().filter(whole).find(|entry| entry.0 == key);
            // The newest one of those that begin so.
            let begun = || {
                let mut newest = service.entries.iter().filter(whole).rev();
                newest.find(|entry| starts.iter().any(|start| entry.0.starts_with(start)))
            };
            match exact.or_else(begun) {
                Some(entry) => {
                    json!({ "ok": true, "signed_download_url": url(&entry.0), "matched_key": entry.0 })
                }
                None => json!({ "ok": false }),
            }
        }
        _ => return (StatusCode::NOT_FOUND, String::new()),
    };
    (StatusCode::OK, answer.to_string())
}

async fn upload(
    State(service): State<Shared>,
    Name(key): Name<String>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    // Azure's storage wants to know the kind, and takes no token of somebody else.
    if headers.get("x-ms-blob-type").is_none_or(|kind| kind != "BlockBlob")
        || headers.contains_key("authorization")
    {
        return StatusCode::BAD_REQUEST;
    }
    let mut service = service.lock().expect("no panic");
    service.uploads += 1;
    service.blobs.insert(key, body.to_vec());
    StatusCode::CREATED
}

async fn download(State(service): State<Shared>, Name(key): Name<String>) -> impl IntoResponse {
    let blob = service.lock().expect("no panic").blobs.get(&key).cloned();
    blob.ok_or(StatusCode::NOT_FOUND)
}

fn actions() -> (String, Shared) {
    let service = Shared::default();
    let router = Router::new()
        .route("/twirp/github.actions.results.api.v1.CacheService/{method}", post(call))
        .route("/blobs/{key}", get(download).put(upload))
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(Arc::clone(&service));
    let address = serve(move |listener| async move { axum::serve(listener, router).await.expect("serves") });
    service.lock().expect("no panic").address.clone_from(&address);
    (address, service)
}

#[test]
fn the_service_of_github_actions_spares_another_machine_all_steps() {
    let (address, service) = actions();
    let runner = [("ACTIONS_RESULTS_URL", &*address), ("ACTIONS_RUNTIME_TOKEN", TOKEN)];
    let machines = machines(runner);
    assert_eq!(ran(&machines, "a", ["--cache-to", "type=gha,mode=max,scope=main"]), 3);
    let uploads = || service.lock().expect("no panic").uploads;
    assert_eq!(uploads(), 5, "four layers and the document");
    assert_eq!(ran(&machines, "b", ["--cache-from", "type=gha,scope=main"]), 0);
    // Another scope has its own document, and the layers are there already.
    assert_eq!(ran(&machines, "c", ["--cache-from", "type=gha,scope=other"]), 3);
    machines.env.file("a", "2");
    let both = ["--cache-from", "type=gha,scope=main", "--cache-to", "type=gha,mode=max,scope=main"];
    assert_eq!(ran(&machines, "b", both), 2);
    assert_eq!(uploads(), 8, "two layers and a document more");
    // The newest document counts.
    assert_eq!(ran(&machines, "d", ["--cache-from", "type=gha,scope=main"]), 0);
}

#[test]
fn outside_of_github_actions_its_cache_is_a_warning_that_says_what_is_missing() {
    let told = warns(&machines([]), ["--cache-to", "type=gha", "--cache-from", "type=gha"]);
    assert!(told.stderr.contains("ACTIONS_RESULTS_URL is not set"), "{told}");
    let (address, _service) = actions();
    let wrong = [("ACTIONS_RESULTS_URL", &*address), ("ACTIONS_RUNTIME_TOKEN", "expired")];
    let told = warns(&machines(wrong), ["--cache-to", "type=gha"]);
    assert!(told.stderr.contains("wants a login") && !told.stderr.contains("expired"), "{told}");
}
