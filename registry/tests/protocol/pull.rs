//! Manifests and blobs from a registry that breaks, stalls and lies.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use kiln_core::{Digest, Platform};
use kiln_registry::{BlobSink, Document, Fault, MAX_MANIFEST, media_type};

use crate::server::{Notes, Server, Trouble, client, describe, noise, raw};

const SIZE: usize = 1_000_000;

fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Trouble {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Trouble::Answer(status, headers, body.to_owned())
}

#[tokio::test]
async fn a_tag_leads_over_the_index_to_the_platforms_image() {
    let server = Server::start().await;
    let entries = ["amd64", "arm64"].map(|architecture| {
        let mut entry =
            serde_json::to_value(server.image("a/b", architecture, "linux", architecture)).unwrap();
        entry["platform"] = serde_json::json!({"os": "linux", "architecture": architecture});
        entry
    });
    let index = serde_json::json!({"schemaVersion": 2, "manifests": entries}).to_string();
    let index = server.manifest("a/b", "latest", media_type::OCI_INDEX, index.as_bytes());
    let arm: Platform = "linux/arm64".parse().unwrap();
    let image = client().image(&server.reference("a/b"), &arm).await.unwrap();
    assert_eq!(image.resolved.to_string(), index.digest().to_string());
    assert_eq!(image.index.map(|index| index.digest()), Some(image.resolved));
    assert_eq!(image.config.platform(), arm);

    let other = client().image(&server.reference("a/b"), &"linux/s390x".parse().unwrap()).await.unwrap_err();
    assert!(
        other.to_string().ends_with("no image for linux/s390x: the index has linux/amd64, linux/arm64"),
        "{other}"
    );
    assert_eq!(client().digest(&server.reference("a/b")).await.unwrap(), image.resolved);
}

#[tokio::test]
async fn a_cut_blob_goes_on_where_it_was_cut() {
    let server = Server::start().await;
    let content = noise(SIZE);
    let descriptor = server.blob(&content);
    for cut in [0, 300_000, 700_000] {
        server.trouble("GET /v2/a/blobs", Trouble::CutAnswer(cut));
    }
    let notes = Arc::new(Notes::default());
    let client = client().watched(Arc::<Notes>::clone(&notes));
    let received = client.blob(&server.reference("a"), &descriptor, Vec::new()).await.unwrap();
    assert!(received == content);
    assert_eq!(*notes.bytes.lock().unwrap(), (SIZE as u64, SIZE as u64));
    let retries = notes.retries.lock().unwrap();
    assert!(retries.len() >= 2, "{retries:?}");
    assert!(retries[0].to_string().contains("try 2 in"), "{}", retries[0]);
}

#[tokio::test]
async fn a_server_without_ranges_sends_again_and_the_sink_does_not_notice() {
    let server = Server::start().await;
    let content = noise(SIZE);
    let descriptor = server.blob(&content);
    server.trouble("GET /v2/a/blobs", Trouble::CutAnswer(400_000));
    server.trouble("GET /v2/a/blobs", Trouble::NoRanges);
    let received = client().blob(&server.reference("a"), &descriptor, Vec::new()).await.unwrap();
    assert!(received == content);
}

#[tokio::test]
async fn busy_failing_and_silent_servers_are_asked_again() {
    let server = Server::start().await;
    let descriptor = server.blob(b"content");
    for trouble in [
        answer(429, &[("retry-after", "0")], ""),
        answer(500, &[], ""),
        answer(503, &[], "<html>"),
        Trouble::Silence(Duration::from_secs(2)),
    ] {
        server.trouble("GET /v2/a/blobs", trouble.clone());
        let received = client().blob(&server.reference("a"), &descriptor, Vec::new()).await.unwrap();
        assert_eq!(received, b"content", "{trouble:?}");
    }
    assert_eq!(server.asked().iter().filter(|line| line.contains("blobs")).count(), 8);
}

#[tokio::test]
async fn patience_ends() {
    let server = Server::start().await;
    let descriptor = server.blob(b"content");
    for _ in 0..9 {
        server.trouble("GET /v2/a/blobs", answer(502, &[], "<html>no</html>"));
    }
    let error = client().blob(&server.reference("a"), &descriptor, Vec::new()).await.unwrap_err();
    assert!(matches!(&*error.fault, Fault::GaveUp { tries: 4, .. }), "{error}");
    server.asked();
    server.trouble("GET /v2/a/blobs", answer(429, &[("retry-after", "9999")], ""));
    let fresh = Server::start().await;
    let descriptor = fresh.blob(b"content");
    fresh.trouble("GET /v2/a/blobs", answer(429, &[("retry-after", "9999")], "slow down"));
    let error = client().blob(&fresh.reference("a"), &descriptor, Vec::new()).await.unwrap_err();
    assert!(matches!(&*error.fault, Fault::TooManyRequests { .. }), "{error}");
    assert!(error.hint().unwrap().contains("mirror"));
}

/// A sink that cannot begin anew.
struct Once(Vec<u8>);

impl io::Write for Once {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl BlobSink for Once {}

/// A sink on a full disk.
struct Full;

impl io::Write for Full {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl BlobSink for Full {}

#[tokio::test]
async fn damaged_content_comes_once_more_and_is_never_handed_over() {
    let server = Server::start().await;
    let content = noise(SIZE);
    let descriptor = server.blob(&content);
    server.trouble("GET /v2/a/blobs", Trouble::Corrupt);
    let received = client().blob(&server.reference("a"), &descriptor, Vec::new()).await.unwrap();
    assert!(received == content);

    server.trouble("GET /v2/a/blobs", Trouble::Corrupt);
    let once = client().blob(&server.reference("a"), &descriptor, Once(Vec::new())).await;
    assert!(matches!(*once.err().unwrap().fault, Fault::DigestMismatch { .. }));

    server.trouble("GET /v2/a/blobs", Trouble::Corrupt);
    server.trouble("GET /v2/a/blobs", Trouble::Corrupt);
    let twice = client().blob(&server.reference("a"), &descriptor, Vec::new()).await.unwrap_err();
    assert!(matches!(*twice.fault, Fault::DigestMismatch { .. }), "{twice}");
}

#[tokio::test]
async fn a_full_disk_is_said_at_once() {
    let server = Server::start().await;
    let descriptor = server.blob(&noise(SIZE));
    let error = client().blob(&server.reference("a"), &descriptor, Full).await.err().unwrap();
    assert!(
        matches!(&*error.fault, Fault::Sink(cause) if cause.kind() == io::ErrorKind::StorageFull),
        "{error}"
    );
    assert_eq!(server.asked().iter().filter(|line| line.contains("blobs")).count(), 1);
}

#[tokio::test]
async fn sizes_that_lie_are_found_out() {
    let server = Server::start().await;
    let content = noise(1000);
    let mut descriptor = server.blob(&content);
    for lie in [999, 1001] {
        descriptor.set_size(lie);
        let error = client().blob(&server.reference("a"), &descriptor, Vec::new()).await.unwrap_err();
        assert!(matches!(*error.fault, Fault::SizeMismatch { found: 1000, .. }), "{error}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_said_with_its_name() {
    let server = Server::start().await;
    let error = client().resolve(&server.reference("a:v1")).await.unwrap_err();
    assert!(error.is_not_found());
    let text = format!(
        "pull manifest of {}/a:v1: not found (MANIFEST_UNKNOWN: as MANIFEST_UNKNOWN says)",
        server.address
    );
    assert_eq!(error.to_string(), text);
    let error = client().blob(&server.reference("a"), &describe(b"x"), Vec::new()).await.unwrap_err();
    assert!(error.is_not_found());
}

#[tokio::test]
async fn manifests_that_lie_are_refused() {
    let server = Server::start().await;
    let (client, reference) = (client(), server.reference("a"));
    let resolve = async |trouble: Trouble| {
        server.trouble("GET /v2/a/manifests", trouble);
        *client.resolve(&reference).await.unwrap_err().fault
    };
    let html = answer(200, &[("content-type", "text/html; charset=utf-8")], "<html>please log in</html>");
    assert!(matches!(resolve(html).await, Fault::NotARegistry { .. }));
    let digest = Digest::of(b"other").to_string();
    let other = answer(200, &[("docker-content-digest", &digest)], "{}");
    assert!(matches!(resolve(other).await, Fault::DigestMismatch { .. }));
    let large = answer(200, &[], &" ".repeat(MAX_MANIFEST as usize + 1));
    assert!(matches!(resolve(large).await, Fault::TooLarge { .. }));

    server.trouble("GET /v2/a/manifests", answer(200, &[], r#"{"schemaVersion":1}"#));
    let old = client.resolve(&reference).await.unwrap();
    assert!(matches!(old.document(), Err(Fault::Schema1)));

    server.trouble("GET /v2/a/manifests", answer(200, &[("content-type", media_type::OCI_MANIFEST)], "{}"));
    let by_digest = client.manifest(&reference, &Digest::of(b"wanted")).await.unwrap_err();
    assert!(matches!(*by_digest.fault, Fault::DigestMismatch { .. }), "{by_digest}");
}

#[tokio::test]
async fn a_manifest_without_a_media_type_is_known_by_its_structure() {
    let server = Server::start().await;
    server.trouble(
        "GET /v2/a/manifests",
        answer(200, &[("content-type", "text/plain")], r#"{"schemaVersion":2,"manifests":[]}"#),
    );
    let fetched = client().resolve(&server.reference("a")).await.unwrap();
    assert_eq!(fetched.descriptor.media_type().to_string(), media_type::OCI_INDEX);
    assert!(matches!(fetched.document(), Ok(Document::Index(_))));
}

#[tokio::test]
async fn indexes_within_indexes_end() {
    let server = Server::start().await;
    let mut inner = server.image("a", "image", "linux", "amd64");
    for depth in 0..6 {
        let index = serde_json::json!({"schemaVersion": 2, "manifests": [inner]}).to_string();
        inner = server.manifest("a", &format!("depth{depth}"), media_type::OCI_INDEX, index.as_bytes());
    }
    let platform = "linux/amd64".parse().unwrap();
    let image = client().image(&server.reference("a:depth3"), &platform).await.unwrap();
    assert_eq!(image.config.platform(), platform);
    let error = client().image(&server.reference("a:depth5"), &platform).await.unwrap_err();
    assert!(matches!(*error.fault, Fault::TooDeep(_)), "{error}");
}

#[tokio::test]
async fn an_artifact_and_a_config_with_other_layers_are_no_images() {
    let server = Server::start().await;
    let config = server.blob(b"{}");
    let chart = serde_json::json!({"schemaVersion": 2, "config": config, "layers": []}).to_string();
    server.manifest("a", "chart", media_type::OCI_MANIFEST, chart.as_bytes());
    let platform = "linux/amd64".parse().unwrap();
    let error = client().image(&server.reference("a:chart"), &platform).await.unwrap_err();
    assert!(error.to_string().contains("not a container image"), "{error}");

    let mut config = server.blob(br#"{"rootfs":{"type":"layers","diff_ids":[]}}"#);
    config.set_media_type(media_type::OCI_CONFIG.into());
    let layer = server.blob(b"layer");
    let image = serde_json::json!({"schemaVersion": 2, "config": config, "layers": [layer]}).to_string();
    server.manifest("a", "odd", media_type::OCI_MANIFEST, image.as_bytes());
    let error = client().image(&server.reference("a:odd"), &platform).await.unwrap_err();
    assert!(error.to_string().ends_with("it lists 0 layers, the manifest 1"), "{error}");
}

#[tokio::test]
async fn no_server_and_no_http_are_said_soon() {
    let reference = format!("{}/a", raw(b"SSH-2.0-x\r\n").await).parse().unwrap();
    let error = client().resolve(&reference).await.unwrap_err();
    assert!(error.is_unreachable(), "{error}");
    // Nobody listens on the discard port of this machine's own network.
    let error = client().resolve(&"127.0.0.1:9/a".parse().unwrap()).await.unwrap_err();
    assert!(error.is_unreachable() && error.to_string().contains("127.0.0.1:9"), "{error}");
}
