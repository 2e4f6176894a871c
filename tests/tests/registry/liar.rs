//! A registry on loopback that says whatever a test has it say: no check stands between a test and its lie.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use kiln_tests::sha256;
use serde_json::{Value, json};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

/// The registry.
pub(crate) struct Liar {
    pub(crate) address: String,
    shelf: Arc<Mutex<Shelf>>,
}

/// Answers by what is asked for, `manifests/1` or `blobs/sha256:…`; of several the next one each time, and the last for good.
type Shelf = BTreeMap<String, Vec<(String, Vec<u8>)>>;

impl Liar {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let shelf = Arc::<Mutex<Shelf>>::default();
        let shared = Arc::clone(&shelf);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shelf = Arc::clone(&shared);
                std::thread::spawn(move || answer(&client, &shelf));
            }
        });
        Self { address, shelf }
    }

    /// The reference of a tag of `app`.
    pub(crate) fn name(&self, tag: &str) -> String {
        format!("{}/app:{tag}", self.address)
    }

    /// The next answer to who asks for `what`.
    pub(crate) fn say(&self, what: &str, kind: &str, bytes: impl Into<Vec<u8>>) {
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.entry(what.to_owned()).or_default().push((kind.to_owned(), bytes.into()));
    }

    /// Takes back what was said of `what`.
    pub(crate) fn forget(&self, what: &str) {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner).remove(what);
    }

    /// A blob under its true digest: its descriptor.
    pub(crate) fn blob(&self, kind: &str, bytes: &[u8]) -> Value {
        let digest = sha256(bytes);
        self.say(&format!("blobs/{digest}"), "application/octet-stream", bytes);
        json!({"mediaType": kind, "digest": digest, "size": bytes.len()})
    }

    /// A document under its digest and a tag: its descriptor.
    pub(crate) fn document(&self, tag: &str, kind: &str, document: &Value) -> Value {
        let bytes = document.to_string().into_bytes();
        let digest = sha256(&bytes);
        for name in [tag, &digest] {
            self.say(&format!("manifests/{name}"), kind, bytes.clone());
        }
        json!({"mediaType": kind, "digest": digest, "size": bytes.len(),
               "platform": {"os": "linux", "architecture": "amd64"}})
    }

    /// An image of these layers, with their uncompressed digests, under a tag: its manifest, for a test to change.
    pub(crate) fn image(&self, tag: &str, layers: &[(Value, String)]) -> Value {
        let ids: Vec<_> = layers.iter().map(|(_, id)| id).collect();
        let config =
            json!({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": ids}});
        let config = self.blob(CONFIG, config.to_string().as_bytes());
        let layers: Vec<_> = layers.iter().map(|(layer, _)| layer).collect();
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        self.document(tag, MANIFEST, &manifest);
        manifest
    }

    /// A layer with one file, as a tar: its descriptor and its uncompressed digest.
    pub(crate) fn layer(&self, content: &[u8]) -> (Value, String) {
        let tar = tar_of(content);
        (self.blob(TAR, &tar), sha256(&tar))
    }
}

/// A tar with one file, `/file`.
pub(crate) fn tar_of(content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_data(&mut header, "file", content).expect("write to memory");
    tar.into_inner().expect("write to memory")
}

/// Answers requests until the client goes.
fn answer(client: &TcpStream, shelf: &Mutex<Shelf>) -> Option<()> {
    let mut requests = BufReader::new(client.try_clone().ok()?).lines();
    loop {
        let head = requests.next()?.ok()?;
        let mut range = None;
        for line in requests.by_ref() {
            let line = line.ok()?.to_ascii_lowercase();
            match line.strip_prefix("range: bytes=") {
                _ if line.is_empty() => break,
                Some(asked) => range = asked.split_once('-').map(|(from, _)| from.to_owned()),
                None => {}
            }
        }
        let (method, path) = (head.split(' ').next()?, head.split(' ').nth(1)?);
        let what = path.strip_prefix("/v2/app/").unwrap_or(path);
        let found = {
            let mut shelf = shelf.lock().unwrap_or_else(PoisonError::into_inner);
            match shelf.get_mut(what) {
                Some(answers) if answers.len() > 1 && method == "GET" => Some(answers.remove(0)),
                Some(answers) => answers.first().cloned(),
                None => None,
            }
        };
        let mut client = client;
        let Some((kind, bytes)) = found else {
            let status = if path == "/v2/" { "200 OK" } else { "404 Not Found" };
            write!(client, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").ok()?;
            continue;
        };
        let from: usize = range.as_deref().and_then(|from| from.parse().ok()).unwrap_or(0).min(bytes.len());
        let status = match from {
            0 => "200 OK".to_owned(),
            _ => format!(
                "206 Partial Content\r\ncontent-range: bytes {from}-{}/{}",
                bytes.len().saturating_sub(1),
                bytes.len()
            ),
        };
        let body = &bytes[from..];
        write!(client, "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len())
            .ok()?;
        if method == "GET" {
            client.write_all(body).ok()?;
        }
    }
}
