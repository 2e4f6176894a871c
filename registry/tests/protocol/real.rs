//! Debian's docker-registry, plain, with passwords, with TLS, behind a line that breaks; skopeo as the other client.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kiln_core::oci_spec::image::{Descriptor, MediaType};
use kiln_core::{Platform, Reference};
use kiln_registry::{
    Client, ClientOptions, Credentials, Fault, Hosts, Login, Pushed, RegistryHosts, Secret, TlsFiles,
    media_type,
};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::server::{describe, hasty, noise};

/// `user:secret`, bcrypt, as `htpasswd -nbB` writes it.
const HTPASSWD: &str = "user:$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n";

/// A running docker-registry, ended on drop.
struct Real {
    process: Child,
    directory: tempfile::TempDir,
    address: String,
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Real {
    /// Starts one with more lines in its configuration; `DIR` in them is its directory.
    async fn start(auth: &str, tls: &str, prepare: impl FnOnce(&Path)) -> Option<Self> {
        let program = Path::new("/usr/bin/docker-registry");
        if !program.exists() {
            eprintln!("skipped: docker-registry is not installed");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        prepare(directory.path());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let at = directory.path().display();
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: DIR/data}}\n\
             http:\n  addr: {address}\n{tls}\n{auth}\n"
        );
        let file = directory.path().join("config.yml");
        std::fs::write(&file, config.replace("DIR", &at.to_string())).unwrap();
        let process = Command::new(program)
            .arg("serve")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let real = Self { process, directory, address };
        while std::net::TcpStream::connect(&real.address).is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Some(real)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

fn reference(address: &str, name: &str) -> Reference {
    format!("{address}/{name}").parse().unwrap()
}

/// Pushes an image of one layer with `content` and pulls it again.
async fn round_trip(client: &Client, reference: &Reference, content: &[u8]) {
    let config = serde_json::json!({
        "os": "linux", "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": [describe(content).digest()]},
    });
    let config = config.to_string().into_bytes();
    let mut config_descriptor = describe(&config);
    config_descriptor.set_media_type(MediaType::ImageConfig);
    let layer = describe(content);
    let push = async |descriptor: &Descriptor, bytes: &[u8]| {
        client.push_blob(reference, descriptor, Arc::new(bytes.to_vec()), &[]).await.unwrap()
    };
    assert_eq!(push(&layer, content).await, Pushed::Uploaded);
    assert_eq!(push(&layer, content).await, Pushed::Existed);
    push(&config_descriptor, &config).await;
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config_descriptor, "layers": [layer],
    });
    let bytes = manifest.to_string().into_bytes();
    let digest = client.push_manifest(reference, media_type::OCI_MANIFEST, &bytes).await.unwrap();

    let platform: Platform = "linux/amd64".parse().unwrap();
    let image = client.image(reference, &platform).await.unwrap();
    assert_eq!((image.resolved, &image.manifest.bytes), (digest, &bytes));
    assert_eq!(client.digest(reference).await.unwrap(), digest);
    let received = client.blob(reference, &image.image.layers()[0], Vec::new()).await.unwrap();
    assert!(received == content);
    let again = client.resolve(&reference.with_digest(digest)).await.unwrap();
    assert_eq!(again.bytes, bytes);
}

#[tokio::test]
async fn an_image_goes_there_and_comes_back() {
    let Some(real) = Real::start("", "", |_| ()).await else { return };
    let client = Client::new(hasty());
    round_trip(&client, &reference(&real.address, "a/b:v1"), &noise(3_000_000)).await;

    let layer = describe(&noise(3_000_000));
    let from = [reference(&real.address, "a/b")];
    let to = reference(&real.address, "other");
    let mounted = client.push_blob(&to, &layer, Arc::new(Vec::new()), &from).await.unwrap();
    assert_eq!(mounted, Pushed::Mounted);
    let absent = client.resolve(&reference(&real.address, "a/b:v2")).await.unwrap_err();
    assert!(absent.is_not_found() && absent.to_string().contains("MANIFEST_UNKNOWN"), "{absent}");
}

#[tokio::test]
async fn skopeo_reads_what_was_pushed_and_is_read() {
    let Some(real) = Real::start("", "", |_| ()).await else { return };
    if !Path::new("/usr/bin/skopeo").exists() {
        eprintln!("skipped: skopeo is not installed");
        return;
    }
    let client = Client::new(hasty());
    let layer = real.file("layer.tar");
    std::fs::write(real.file("hello"), "hello").unwrap();
    let tar =
        Command::new("tar").arg("-cf").arg(&layer).arg("-C").arg(real.directory.path()).arg("hello").status();
    assert!(tar.unwrap().success());
    round_trip(&client, &reference(&real.address, "a:v1"), &std::fs::read(&layer).unwrap()).await;
    for (from, to) in [
        (format!("docker://{}/a:v1", real.address), format!("oci:{}:x", real.file("layout").display())),
        (format!("oci:{}:x", real.file("layout").display()), format!("docker://{}/b:v1", real.address)),
        (format!("docker://{}/a:v1", real.address), format!("docker://{}/c:v2s2", real.address)),
    ] {
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["--insecure-policy", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"]);
        if to.ends_with("v2s2") {
            skopeo.args(["--format", "v2s2"]);
        }
        // Layouts of skopeo need no TLS flags but take them.
        let output = skopeo.arg(&from).arg(&to).output().unwrap();
        assert!(output.status.success(), "{from} {to}: {}", String::from_utf8_lossy(&output.stderr));
    }
    for name in ["b:v1", "c:v2s2"] {
        let reference = reference(&real.address, name);
        let image = client.image(&reference, &"linux/amd64".parse().unwrap()).await.unwrap();
        for layer in image.image.layers() {
            client.blob(&reference, layer, std::io::sink()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn passwords_are_asked_for() {
    let auth = "auth:\n  htpasswd: {realm: tests, path: DIR/htpasswd}";
    let prepare = |at: &Path| std::fs::write(at.join("htpasswd"), HTPASSWD).unwrap();
    let Some(real) = Real::start(auth, "", prepare).await else { return };
    let login = |secret: &str| Login::Password { user: "user".into(), secret: Secret::new(secret) };
    let file = real.file("config.json");
    let credentials = Credentials::from_files(vec![file.clone()]);
    let client = Client::new(ClientOptions { credentials: credentials.clone(), ..hasty() });
    let to = reference(&real.address, "a");
    assert!(client.resolve(&to).await.unwrap_err().is_unauthorized());
    assert!(client.login_check(&real.address, &login("wrong")).await.unwrap_err().is_unauthorized());
    client.login_check(&real.address, &login("secret")).await.unwrap();
    credentials.store(&file, &real.address, &login("secret")).await.unwrap();
    round_trip(&client, &to, &noise(2_000_000)).await;
}

/// Writes an authority, a certificate for 127.0.0.1 by it, and a client's certificate by it.
fn certificates(at: &Path) {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::<String>::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    std::fs::write(at.join("ca.crt"), authority.self_signed(&authority_key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    for (name, usage) in
        [("server", ExtendedKeyUsagePurpose::ServerAuth), ("client", ExtendedKeyUsagePurpose::ClientAuth)]
    {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        std::fs::write(at.join(format!("{name}.crt")), params.signed_by(&key, &issuer).unwrap().pem())
            .unwrap();
        std::fs::write(at.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

#[tokio::test]
async fn certificates_are_checked_and_shown() {
    let tls = "  tls:\n    certificate: DIR/server.crt\n    key: DIR/server.key\n    clientcas: [DIR/ca.crt]";
    let Some(real) = Real::start("", tls, certificates).await else { return };
    let with = |ca: &[&str], client: bool| {
        let tls = TlsFiles {
            ca: ca.iter().map(|name| real.file(name)).collect(),
            client: client.then(|| (real.file("client.crt"), real.file("client.key"))),
        };
        let hosts = RegistryHosts { tls, ..RegistryHosts::default() };
        let registries = [(real.address.clone(), hosts)].into();
        Client::new(ClientOptions { hosts: Hosts { registries }, ..hasty() })
    };
    let to = reference(&real.address, "a");
    round_trip(&with(&["ca.crt"], true), &to, &noise(2_000_000)).await;
    assert!(with(&["ca.crt"], false).resolve(&to).await.unwrap_err().is_unreachable());
    // The same from a folder, as Docker has it.
    let folder = real.file("certs.d").join(&real.address);
    std::fs::create_dir_all(&folder).unwrap();
    for (from, to) in [("ca.crt", "ca.crt"), ("client.crt", "client.cert"), ("client.key", "client.key")] {
        std::fs::copy(real.file(from), folder.join(to)).unwrap();
    }
    let found = Client::new(ClientOptions { host_dirs: vec![real.file("certs.d")], ..hasty() });
    found.resolve(&to).await.unwrap();
    let absent = with(&["absent.crt"], true).resolve(&to).await.unwrap_err();
    assert!(matches!(*absent.fault, Fault::Options { .. }), "{absent}");
}

#[tokio::test]
async fn an_unknown_authority_is_refused_unless_the_registry_is_insecure() {
    let tls = "  tls:\n    certificate: DIR/server.crt\n    key: DIR/server.key";
    let Some(real) = Real::start("", tls, certificates).await else { return };
    let to = reference(&real.address, "a");
    // A loopback registry is asked in plain http first, and says itself that it wants TLS.
    let refused = Client::new(ClientOptions { ca_files: vec![real.file("client.crt")], ..hasty() });
    let error = refused.resolve(&to).await.unwrap_err();
    assert!(error.to_string().contains("unknown authority"), "{error}");
    assert!(error.hint().unwrap().contains("certs.d"), "{error}");
    let named = Client::new(ClientOptions { ca_files: vec![real.file("ca.crt")], ..hasty() });
    round_trip(&named, &to, &noise(100_000)).await;
    let insecure = Client::new(ClientOptions { insecure: vec![real.address.clone()], ..hasty() });
    round_trip(&insecure, &reference(&real.address, "b"), &noise(100_000)).await;
}

/// A line to `address` that breaks after `limit` bytes in one direction of one connection. Counts what it carries.
async fn breaking_line(address: String, limit: u64) -> (String, Arc<AtomicU64>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = listener.local_addr().unwrap().to_string();
    let carried = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&carried);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (address, counter) = (address.clone(), Arc::clone(&counter));
            tokio::spawn(async move {
                let server = tokio::net::TcpStream::connect(address).await.unwrap();
                let (client_in, client_out) = client.into_split();
                let (server_in, server_out) = server.into_split();
                tokio::select! {
                    () = carry(client_in, server_out, limit, &counter) => {}
                    () = carry(server_in, client_out, limit, &counter) => {}
                }
            });
        }
    });
    (near, carried)
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    limit: u64,
    counter: &AtomicU64,
) {
    let mut passed = 0;
    let mut buffer = vec![0; 64 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        passed += n as u64;
        counter.fetch_add(n as u64, Ordering::Relaxed);
        if passed > limit || to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_breaking_line_delays_but_does_not_stop() {
    let Some(real) = Real::start("", "", |_| ()).await else { return };
    let (address, carried) = breaking_line(real.address.clone(), 16_000_000).await;
    let client = Client::new(ClientOptions { stall_timeout: Duration::from_secs(10), ..hasty() });
    let content = noise(60_000_000);
    let (layer, to) = (describe(&content), reference(&address, "a"));
    client.push_blob(&to, &layer, Arc::new(content.clone()), &[]).await.unwrap();
    let sent = carried.swap(0, Ordering::Relaxed);
    assert!(sent < 60_000_000 + 20_000_000, "{sent} bytes: one try in vain at most");
    let received = client.blob(&to, &layer, Vec::new()).await.unwrap();
    assert!(received == content);
    let back = carried.load(Ordering::Relaxed);
    assert!(back < 60_000_000 + 4_000_000, "{back} bytes: resumed, not begun anew");
}
