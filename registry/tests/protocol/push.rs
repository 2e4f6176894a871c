//! Uploads to a registry that breaks, forgets and refuses.

use std::io::{self, Read};
use std::sync::Arc;

use kiln_core::Digest;
use kiln_registry::{BlobSource, Fault, Pushed, media_type};

use crate::server::{Notes, Server, Trouble, client, describe, noise};

const SIZE: usize = 12_000_000;

fn count(asked: &[String], what: &str) -> usize {
    asked.iter().filter(|line| line.starts_with(what)).count()
}

#[tokio::test]
async fn a_blob_is_sent_once_and_then_known() {
    let server = Server::start().await;
    for size in [0, 10, 3_000_000] {
        let content = noise(size);
        let descriptor = describe(&content);
        let reference = server.reference("a");
        let source = Arc::new(content.clone());
        let pushed =
            client().push_blob(&reference, &descriptor, Arc::<Vec<u8>>::clone(&source), &[]).await.unwrap();
        assert_eq!(pushed, Pushed::Uploaded, "{size}");
        assert!(server.shelf().blobs[&descriptor.digest().to_string()] == content);
        assert_eq!(client().push_blob(&reference, &descriptor, source, &[]).await.unwrap(), Pushed::Existed);
        assert!(client().has_blob(&reference, &Digest::of(&content)).await.unwrap());
    }
    assert!(!client().has_blob(&server.reference("a"), &Digest::of(b"other")).await.unwrap());
}

#[tokio::test]
async fn small_blobs_need_one_request_after_the_first() {
    let server = Server::start().await;
    let content = noise(1000);
    client().push_blob(&server.reference("a"), &describe(&content), Arc::new(content), &[]).await.unwrap();
    let asked = server.asked();
    assert_eq!((count(&asked, "POST"), count(&asked, "PATCH"), count(&asked, "PUT")), (1, 0, 1), "{asked:?}");
}

#[tokio::test]
async fn a_blob_of_another_repository_is_mounted() {
    let server = Server::start().await;
    let descriptor = server.blob(b"content");
    server.trouble("HEAD /v2/new/blobs", Trouble::Answer(404, Vec::new(), String::new()));
    let from = [server.reference("has/not"), server.reference("base/has"), "docker.io/x".parse().unwrap()];
    let source = Arc::new(Vec::new());
    let pushed = client().push_blob(&server.reference("new"), &descriptor, source, &from).await.unwrap();
    assert_eq!(pushed, Pushed::Mounted);
    let (reference, digest) = (server.reference("new"), Digest::of(b"content"));
    assert!(client().mount_blob(&reference, &digest, &from[1]).await.unwrap());
    assert!(!client().mount_blob(&reference, &digest, &from[0]).await.unwrap());
    assert_eq!(count(&server.asked(), "DELETE"), 1, "the upload that was begun instead is given up");
}

#[tokio::test]
async fn a_cut_upload_goes_on_where_it_was_cut() {
    let server = Server::start().await;
    let content = noise(SIZE);
    for _ in 0..3 {
        server.trouble("PATCH", Trouble::CutUpload { after: 3_000_000, keep: true });
    }
    let notes = Arc::new(Notes::default());
    let client = client().watched(Arc::<Notes>::clone(&notes));
    let descriptor = describe(&content);
    client.push_blob(&server.reference("a"), &descriptor, Arc::new(content), &[]).await.unwrap();
    let taken = server.shelf().taken;
    assert!(taken < SIZE as u64 + 3_000_000, "{taken} bytes for {SIZE}");
    assert_eq!(notes.retries.lock().unwrap().len(), 3);
    assert_eq!(notes.bytes.lock().unwrap().0, SIZE as u64);
}

#[tokio::test]
async fn an_upload_that_a_cut_destroys_is_sent_in_pieces() {
    let server = Server::start().await;
    let content = noise(SIZE);
    server.trouble("PATCH", Trouble::CutUpload { after: 8_000_000, keep: false });
    let client = client();
    let descriptor = describe(&content);
    client.push_blob(&server.reference("a"), &descriptor, Arc::new(content), &[]).await.unwrap();
    // The socket's buffers may have taken all of it before it broke: a piece is half of what went, 5 MiB at least.
    let pieces = count(&server.asked(), "PATCH") - 1;
    assert!((2..=3).contains(&pieces), "{pieces} pieces after the request that broke");
    // The next blob goes there in pieces from the start.
    let other = noise(SIZE - 1);
    client.push_blob(&server.reference("a"), &describe(&other), Arc::new(other), &[]).await.unwrap();
    assert_eq!(count(&server.asked(), "PATCH"), pieces);
}

#[tokio::test]
async fn a_proxy_that_takes_only_small_requests_gets_small_ones() {
    let server = Server::start().await;
    let content = noise(SIZE);
    server.trouble("PATCH", Trouble::Answer(413, Vec::new(), String::new()));
    let descriptor = describe(&content);
    client().push_blob(&server.reference("a"), &descriptor, Arc::new(content), &[]).await.unwrap();
    assert_eq!(count(&server.asked(), "PATCH"), 3);
}

#[tokio::test]
async fn every_step_is_tried_again() {
    for step in ["HEAD /v2/a/blobs", "POST", "PATCH", "PUT /v2/a/blobs", "PUT /v2/a/manifests"] {
        for status in [408, 429, 500, 503] {
            let server = Server::start().await;
            server.trouble(step, Trouble::Answer(status, vec![("retry-after", "0".into())], String::new()));
            let content = noise(1_500_000);
            let (reference, descriptor) = (server.reference("a:v1"), describe(&content));
            let pushed = client().push_blob(&reference, &descriptor, Arc::new(content), &[]).await;
            assert_eq!(pushed.unwrap(), Pushed::Uploaded, "{step} {status}");
            client().push_manifest(&reference, media_type::OCI_MANIFEST, b"{}").await.unwrap();
        }
    }
}

struct Broken(&'static str);

impl BlobSource for Broken {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        match self.0 {
            "absent" => Err(io::ErrorKind::NotFound.into()),
            _ => Ok(Box::new(io::Cursor::new(noise(2_000_000)[offset as usize..].to_vec()))),
        }
    }
}

#[tokio::test]
async fn a_source_that_fails_or_ends_early_is_named() {
    let server = Server::start().await;
    let descriptor = describe(&noise(3_000_000));
    let push = async |source| {
        *client()
            .push_blob(&server.reference("a"), &descriptor, Arc::new(Broken(source)), &[])
            .await
            .unwrap_err()
            .fault
    };
    assert!(matches!(push("absent").await, Fault::Source(cause) if cause.kind() == io::ErrorKind::NotFound));
    assert!(matches!(push("short").await, Fault::ShortSource { found: 2_000_000, .. }));
}

#[tokio::test]
async fn content_with_another_digest_is_refused_by_the_registry() {
    let server = Server::start().await;
    let mut content = noise(2_000_000);
    let descriptor = describe(&content);
    content[7] ^= 1;
    let error =
        client().push_blob(&server.reference("a"), &descriptor, Arc::new(content), &[]).await.unwrap_err();
    assert!(error.to_string().contains("DIGEST_INVALID"), "{error}");
}

#[tokio::test]
async fn manifests_go_under_tags_and_digests() {
    let server = Server::start().await;
    let (client, bytes) = (client(), br#"{"schemaVersion":2}"#);
    let digest = Digest::of(bytes);
    let tagged = server.reference("a:v1");
    assert_eq!(client.push_manifest(&tagged, media_type::OCI_INDEX, bytes).await.unwrap(), digest);
    let by_digest = format!("{}/b@{digest}", server.address).parse().unwrap();
    client.push_manifest(&by_digest, media_type::OCI_INDEX, bytes).await.unwrap();
    assert!(client.has_manifest(&by_digest, &digest).await.unwrap());
    assert!(server.shelf().manifests.contains_key("a/v1"));
    assert!(!server.shelf().manifests.contains_key("b/latest"));
    let error = client.push_manifest(&by_digest, media_type::OCI_INDEX, b"{}").await.unwrap_err();
    assert!(matches!(*error.fault, Fault::DigestMismatch { .. }), "{error}");
}
