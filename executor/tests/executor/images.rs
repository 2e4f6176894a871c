//! Images from outside: out of an OCI layout, and from a registry that is a few lines long.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_core::{Digest, ImageLocator, ImageSource, Op, Platform, Source};
use kiln_executor::Value;
use serde_json::json;

use crate::world::{World, snapshot};

/// A layout directory with an image of two layers; the second takes a file of the first away.
struct Image {
    directory: tempfile::TempDir,
    manifest: Digest,
    layers: Vec<Digest>,
}

fn blob(directory: &Path, bytes: &[u8]) -> Digest {
    let digest = Digest::of(bytes);
    fs::create_dir_all(directory.join("blobs/sha256")).unwrap();
    fs::write(directory.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
    digest
}

impl Image {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut layers = Vec::new();
        let mut diff_ids = Vec::new();
        for script in [
            "mkdir etc; echo one > etc/kept; echo two > etc/gone; tar -cf layer.tar etc",
            "mkdir etc; touch etc/.wh.gone; echo three > etc/new; tar -cf layer.tar etc",
        ] {
            let place = tempfile::tempdir().unwrap();
            let script = format!("set -e; umask 022; {script}; gzip -nk layer.tar");
            assert!(Command::new("sh").args(["-c", &script]).current_dir(&place).status().unwrap().success());
            diff_ids.push(Digest::of(&fs::read(place.path().join("layer.tar")).unwrap()));
            let packed = fs::read(place.path().join("layer.tar.gz")).unwrap();
            layers.push((blob(directory.path(), &packed), packed.len()));
        }
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = serde_json::to_vec(&config).unwrap();
        let config_digest = blob(directory.path(), &config);
        let descriptors: Vec<_> = layers
            .iter()
            .map(|(digest, size)| {
                let media_type = "application/vnd.oci.image.layer.v1.tar+gzip";
                json!({"mediaType": media_type, "digest": digest, "size": size})
            })
            .collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": config_digest, "size": config.len(),
            },
            "layers": descriptors,
        });
        let manifest = blob(directory.path(), &serde_json::to_vec(&manifest).unwrap());
        Self { directory, manifest, layers: layers.into_iter().map(|(digest, _)| digest).collect() }
    }

    /// Serves it on loopback; the address.
    fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let blobs = self.directory.path().join("blobs/sha256");
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let blobs = blobs.clone();
                std::thread::spawn(move || answer(stream, &blobs));
            }
        });
        address
    }

    fn op(&self, locator: ImageLocator) -> Op {
        Op::Source(Source::Image(ImageSource { name: "app".into(), locator, platform: Platform::host() }))
    }
}

fn answer(mut stream: std::net::TcpStream, blobs: &Path) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    while let Some(Ok(request)) = lines.next() {
        while lines.next().and_then(Result::ok).is_some_and(|line| !line.is_empty()) {}
        let path = request.split(' ').nth(1).unwrap_or("");
        let hex = path.rsplit(':').next().unwrap_or("");
        let is_manifest = path.contains("/manifests/");
        let kind = if is_manifest {
            "application/vnd.oci.image.manifest.v1+json"
        } else {
            "application/octet-stream"
        };
        let sent = match fs::read(blobs.join(hex)) {
            Ok(bytes) => {
                let length = bytes.len();
                let head =
                    format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n");
                stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&bytes))
            }
            Err(_) => stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
        };
        if sent.is_err() {
            return;
        }
    }
}

fn check(world: &World, value: &Value) {
    assert_eq!(snapshot(value).layers.len(), 2);
    assert_eq!(world.read(value, "etc/kept"), "one\n");
    assert_eq!(world.read(value, "etc/new"), "three\n");
    let view = world.services.store.layers().view(snapshot(value)).unwrap();
    assert!(view.lookup(Path::new("etc/gone")).is_none());
}

pub(crate) fn an_image_is_read_from_a_layout(world: &World) {
    let image = Image::new();
    let path = image.directory.path().to_string_lossy().into_owned();
    let op = image.op(ImageLocator::Layout { path, manifest: image.manifest });
    let first = world.run(&op, &[]);
    check(world, &first);
    // Known by its chain from then on: the layers' blobs are not looked at.
    for layer in &image.layers {
        fs::remove_file(image.directory.path().join("blobs/sha256").join(layer.hex())).unwrap();
    }
    assert_eq!(snapshot(&world.run(&op, &[])), snapshot(&first));
}

pub(crate) fn an_image_is_unpacked_while_it_downloads(world: &World) {
    let image = Image::new();
    let reference = format!("{}/team/app:1", image.serve()).parse().unwrap();
    let op = image.op(ImageLocator::Registry { reference, manifest: image.manifest });
    check(world, &world.run(&op, &[]));
    for layer in &image.layers {
        assert!(world.services.store.blobs().contains(layer).unwrap(), "the blob is kept for a push");
    }
}

pub(crate) fn a_damaged_layer_is_refused(world: &World) {
    let image = Image::new();
    let layer: PathBuf = image.directory.path().join("blobs/sha256").join(image.layers[1].hex());
    let mut bytes = fs::read(&layer).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&layer, bytes).unwrap();
    let path = image.directory.path().to_string_lossy().into_owned();
    let local = image.op(ImageLocator::Layout { path, manifest: image.manifest });
    let error = world.try_run(&world.executor(), &local, &[]).unwrap_err();
    assert!(error.to_string().contains("is damaged"), "{error}");
    let reference = format!("{}/team/app:1", image.serve()).parse().unwrap();
    let remote = image.op(ImageLocator::Registry { reference, manifest: image.manifest });
    assert!(world.try_run(&world.executor(), &remote, &[]).is_err());
    assert!(!world.services.store.blobs().contains(&image.layers[1]).unwrap());
}
