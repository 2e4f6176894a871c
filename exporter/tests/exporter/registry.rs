//! Pushes to a real registry on loopback, and skopeo reads what came there.

use std::fs;
use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kiln_core::{CompressionFormat, Digest};
use kiln_exporter::{BlobRead, BlobReadError, Exported, MediaTypes, PushTo, assemble_index, push};
use kiln_registry::{Client, ClientOptions};

use crate::peer::{peer, succeed};
use crate::sample::{Blobs, image};

struct Registry {
    server: Child,
    address: String,
    _dir: tempfile::TempDir,
}

impl Registry {
    fn start() -> Option<Self> {
        let mut command = peer("docker-registry")?;
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let config = dir.path().join("config.yml");
        let root = dir.path().join("data");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\nhttp: {{addr: {address}}}\n",
            root.display()
        );
        fs::write(&config, text).unwrap();
        let server =
            command.arg("serve").arg(config).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let registry = Self { server, address, _dir: dir };
        let begin = Instant::now();
        while TcpStream::connect(&registry.address).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(20), "the registry does not answer");
            std::thread::yield_now();
        }
        Some(registry)
    }

    fn inspect(&self, name: &str, more: &[&str]) -> serde_json::Value {
        let mut skopeo = peer("skopeo").unwrap();
        let said = succeed(
            skopeo
                .args(["inspect", "--tls-verify=false"])
                .args(more)
                .arg(format!("docker://{}/{name}", self.address)),
        );
        serde_json::from_str(&said).unwrap()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Refuses to be read.
struct NoBlobs;

impl BlobRead for NoBlobs {
    fn open(&self, digest: &Digest) -> Result<Box<dyn std::io::Read + Send>, BlobReadError> {
        Err(BlobReadError::Missing(*digest))
    }
}

fn names(registry: &Registry, names: &[&str]) -> PushTo {
    let names = names.iter().map(|name| format!("{}/{name}", registry.address).parse().unwrap()).collect();
    PushTo { names, ..PushTo::default() }
}

#[tokio::test]
async fn an_image_gets_all_its_names_and_is_not_sent_twice() {
    let (Some(registry), Some(_)) = (Registry::start(), peer("skopeo")) else { return };
    let client = Client::new(ClientOptions::default());
    for (media_types, format) in [
        (MediaTypes::Oci, CompressionFormat::Gzip),
        (MediaTypes::Oci, CompressionFormat::Zstd),
        (MediaTypes::Docker, CompressionFormat::Uncompressed),
    ] {
        let (image, blobs) = image(media_types, format, "linux/amd64");
        let blobs: Arc<dyn BlobRead> = Arc::new(blobs);
        let to = names(&registry, &["app:1", "app:2", "other/app:1"]);
        let digest = push(&client, Exported::Image(&image), &to, &blobs, &()).await.unwrap();
        assert_eq!(digest, image.manifest.digest());
        for name in ["app:1", "app:2", "other/app:1"] {
            assert_eq!(registry.inspect(name, &[])["Digest"], digest.to_string(), "{name}");
        }
        let nothing: Arc<dyn BlobRead> = Arc::new(NoBlobs);
        push(&client, Exported::Image(&image), &names(&registry, &["app:3"]), &nothing, &()).await.unwrap();
        assert_eq!(registry.inspect("app:3", &[])["Digest"], digest.to_string());
    }
}

#[tokio::test]
async fn an_index_brings_its_images() {
    let (Some(registry), Some(mut skopeo)) = (Registry::start(), peer("skopeo")) else { return };
    let images = ["linux/amd64", "linux/arm64"].map(|p| image(MediaTypes::Oci, CompressionFormat::Gzip, p));
    let mut blobs = Blobs::default();
    for (_, more) in &images {
        blobs.0.extend(more.0.clone());
    }
    let blobs: Arc<dyn BlobRead> = Arc::new(blobs);
    let index =
        assemble_index(images.map(|(image, _)| image).into(), Vec::new(), MediaTypes::Oci, &[].into());
    let client = Client::new(ClientOptions::default());
    push(&client, Exported::Index(&index), &names(&registry, &["multi:1"]), &blobs, &()).await.unwrap();
    assert_eq!(registry.inspect("multi:1", &["--raw"])["manifests"].as_array().unwrap().len(), 2);
    let dir = tempfile::tempdir().unwrap();
    let source = format!("docker://{}/multi:1", registry.address);
    let copy = format!("dir:{}", dir.path().display());
    succeed(skopeo.args(["copy", "--insecure-policy", "--src-tls-verify=false", "--all", &source, &copy]));
}

#[tokio::test]
async fn a_push_by_digest_sets_no_tag() {
    let (Some(registry), Some(_)) = (Registry::start(), peer("skopeo")) else { return };
    let (image, blobs) = image(MediaTypes::Oci, CompressionFormat::Gzip, "linux/amd64");
    let blobs: Arc<dyn BlobRead> = Arc::new(blobs);
    let client = Client::new(ClientOptions::default());
    let to = PushTo { by_digest: true, ..names(&registry, &["app"]) };
    let digest = push(&client, Exported::Image(&image), &to, &blobs, &()).await.unwrap();
    assert_eq!(registry.inspect(&format!("app@{digest}"), &["--no-tags"])["Digest"], digest.to_string());
    let tags = ureq(&registry.address, "/v2/app/tags/list");
    assert!(
        tags.contains("\"tags\":null") || tags.contains("\"tags\":[]") || tags.contains("NAME_UNKNOWN"),
        "{tags}"
    );
}

#[tokio::test]
async fn a_layer_that_is_not_there_fails_the_push_and_sets_no_tag() {
    let Some(registry) = Registry::start() else { return };
    let (image, _) = image(MediaTypes::Oci, CompressionFormat::Gzip, "linux/amd64");
    let blobs: Arc<dyn BlobRead> = Arc::new(NoBlobs);
    let client = Client::new(ClientOptions::default());
    let failed = push(&client, Exported::Image(&image), &names(&registry, &["app:1"]), &blobs, &()).await;
    assert!(failed.is_err());
    assert!(!ureq(&registry.address, "/v2/app/tags/list").contains("\"1\""));
}

/// The answer to a GET, in the plainest way.
fn ureq(address: &str, path: &str) -> String {
    use std::io::Write as _;
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
