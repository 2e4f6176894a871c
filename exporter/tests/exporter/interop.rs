//! Real tools read what was written.

use std::fs;

use kiln_core::CompressionFormat;
use kiln_exporter::{
    Exported, MediaTypes, assemble_index, to_file, write_docker_tar, write_layout, write_oci_tar,
};

use crate::layout::naming;
use crate::peer::{peer, succeed};
use crate::sample::{Blobs, image};

const FORMATS: [CompressionFormat; 3] =
    [CompressionFormat::Uncompressed, CompressionFormat::Gzip, CompressionFormat::Zstd];

#[test]
fn skopeo_reads_layouts_and_tars_in_every_compression() {
    let Some(_) = peer("skopeo") else { return };
    let dir = tempfile::tempdir().unwrap();
    for format in FORMATS {
        let (image, blobs) = image(MediaTypes::Oci, format, "linux/amd64");
        let layout = dir.path().join(format!("layout-{}", format.as_str()));
        let tar = dir.path().join(format!("{}.tar", format.as_str()));
        write_layout(&layout, Exported::Image(&image), &naming(&["app:1"]), &blobs).unwrap();
        to_file(&tar, |out| write_oci_tar(out, &[(Exported::Image(&image), &naming(&["app:1"]))], &blobs))
            .unwrap();
        for source in [format!("oci:{}:1", layout.display()), format!("oci-archive:{}:1", tar.display())] {
            let said = succeed(peer("skopeo").unwrap().args(["inspect", &source]));
            let said: serde_json::Value = serde_json::from_str(&said).unwrap();
            assert_eq!(said["Digest"], image.manifest.digest().to_string(), "{source}");
            assert_eq!(said["Layers"].as_array().unwrap().len(), 2);
            // Reads every layer and checks digests and diff ids.
            let copy = dir.path().join("copy");
            succeed(
                peer("skopeo")
                    .unwrap()
                    .args(["copy", "--insecure-policy", &source])
                    .arg(format!("dir:{}", copy.display())),
            );
            fs::remove_dir_all(copy).unwrap();
        }
    }
}

#[test]
fn umoci_unpacks_a_layout() {
    let Some(mut umoci) = peer("umoci") else { return };
    let dir = tempfile::tempdir().unwrap();
    let (image, blobs) = image(MediaTypes::Oci, CompressionFormat::Gzip, "linux/amd64");
    let layout = dir.path().join("layout");
    write_layout(&layout, Exported::Image(&image), &naming(&["app:1"]), &blobs).unwrap();
    let bundle = dir.path().join("bundle");
    succeed(
        umoci.args(["unpack", "--rootless", "--image"]).arg(format!("{}:1", layout.display())).arg(&bundle),
    );
    assert_eq!(fs::read_to_string(bundle.join("rootfs/hello")).unwrap(), "hello linux/amd64\n");
    assert_eq!(fs::metadata(bundle.join("rootfs/dir/data")).unwrap().len(), 100_000);
}

#[test]
fn podman_loads_a_docker_tar_with_all_its_names() {
    let Some(_) = peer("podman") else { return };
    let dir = tempfile::tempdir().unwrap();
    for (media_types, format) in [
        (MediaTypes::Docker, CompressionFormat::Gzip),
        (MediaTypes::Docker, CompressionFormat::Uncompressed),
        (MediaTypes::Oci, CompressionFormat::Gzip),
    ] {
        let (image, blobs) = image(media_types, format, "linux/amd64");
        let tar = dir.path().join("image.tar");
        let names = naming(&["kiln-test:1", "kiln-test:2"]);
        to_file(&tar, |out| write_docker_tar(out, &[(Exported::Image(&image), &names)], &blobs)).unwrap();
        let store = tempfile::tempdir().unwrap();
        let podman = || {
            let mut podman = peer("podman").unwrap();
            podman
                .arg("--root")
                .arg(store.path().join("root"))
                .arg("--runroot")
                .arg(store.path().join("run"));
            podman.args(["--storage-driver", "vfs", "--events-backend", "none"]);
            podman
        };
        let loaded = succeed(podman().args(["load", "-q", "-i"]).arg(&tar));
        assert!(loaded.contains("kiln-test:1") && loaded.contains("kiln-test:2"), "{loaded}");
        let id = succeed(podman().args(["image", "inspect", "--format", "{{.Id}}", "kiln-test:2"]));
        assert_eq!(id.trim(), image.config.digest().hex());
        succeed(podman().args(["rmi", "-f", "-a"]));
    }
}

#[test]
fn skopeo_reads_every_platform_of_an_index() {
    let Some(_) = peer("skopeo") else { return };
    let dir = tempfile::tempdir().unwrap();
    let images = ["linux/amd64", "linux/arm64"].map(|p| image(MediaTypes::Oci, CompressionFormat::Gzip, p));
    let mut blobs = Blobs::default();
    for (_, more) in &images {
        blobs.0.extend(more.0.clone());
    }
    let index =
        assemble_index(images.map(|(image, _)| image).into(), Vec::new(), MediaTypes::Oci, &[].into());
    let layout = dir.path().join("layout");
    write_layout(&layout, Exported::Index(&index), &naming(&["app:1"]), &blobs).unwrap();
    let source = format!("oci:{}:1", layout.display());
    let raw = succeed(peer("skopeo").unwrap().args(["inspect", "--raw", &source]));
    assert_eq!(raw.trim_end().as_bytes(), index.document.bytes);
    let copy = format!("dir:{}", dir.path().join("copy").display());
    succeed(peer("skopeo").unwrap().args(["copy", "--insecure-policy", "--all", &source, &copy]));
    let said = succeed(peer("skopeo").unwrap().args(["--override-arch", "arm64", "inspect", &source]));
    assert!(said.contains("\"Architecture\": \"arm64\""), "{said}");
}
