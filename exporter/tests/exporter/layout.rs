use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use expect_test::expect;
use kiln_core::{CompressionFormat, Digest};
use kiln_exporter::{
    ExportError, Exported, Image, LayoutBlobs, MediaTypes, Naming, to_file, validate, write_docker_tar,
    write_layout, write_oci_tar,
};
use serde_json::Value;

use crate::sample::{Blobs, image, read};

pub(crate) fn naming(names: &[&str]) -> Naming {
    Naming { names: names.iter().map(|name| name.parse().unwrap()).collect(), created: 1_700_000_000 }
}

fn sample() -> (Image, Blobs) {
    image(MediaTypes::Oci, CompressionFormat::Gzip, "linux/amd64")
}

fn index(directory: &Path) -> Value {
    serde_json::from_slice(&fs::read(directory.join("index.json")).unwrap()).unwrap()
}

fn names(directory: &Path) -> Vec<String> {
    let index = index(directory);
    let name =
        |entry: &Value| entry["annotations"]["io.containerd.image.name"].as_str().unwrap_or("-").to_owned();
    index["manifests"].as_array().unwrap().iter().map(name).collect()
}

#[test]
fn a_layout_has_the_image_and_nothing_half() {
    let (image, blobs) = sample();
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("new/layout");
    write_layout(&out, Exported::Image(&image), &naming(&["app:1"]), &blobs).unwrap();
    validate(Exported::Image(&image), &LayoutBlobs::new(&out)).unwrap();
    let there: BTreeSet<String> = fs::read_dir(out.join("blobs/sha256"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    let digests = blobs.0.keys().copied().chain([image.config.digest(), image.manifest.digest()]);
    assert_eq!(there, digests.map(|digest| digest.hex()).collect());
    let mut entry = index(&out)["manifests"][0].clone();
    entry["digest"] = "…".into();
    entry["size"] = 0.into();
    expect![[r#"{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"…","size":0,"annotations":{"io.containerd.image.name":"docker.io/library/app:1","org.opencontainers.image.created":"2023-11-14T22:13:20Z","org.opencontainers.image.ref.name":"1"},"platform":{"architecture":"amd64","os":"linux"}}"#]]
    .assert_eq(&entry.to_string());
}

#[test]
fn a_layout_keeps_other_images_and_moves_names() {
    let dir = tempfile::tempdir().unwrap();
    let (first, first_blobs) = sample();
    let (second, second_blobs) = image(MediaTypes::Oci, CompressionFormat::Zstd, "linux/amd64");
    write_layout(dir.path(), Exported::Image(&first), &naming(&["app:1", "app:2"]), &first_blobs).unwrap();
    write_layout(dir.path(), Exported::Image(&first), &naming(&[]), &first_blobs).unwrap();
    write_layout(dir.path(), Exported::Image(&second), &naming(&["app:2"]), &second_blobs).unwrap();
    write_layout(dir.path(), Exported::Image(&second), &naming(&[]), &second_blobs).unwrap();
    assert_eq!(names(dir.path()), ["docker.io/library/app:1", "docker.io/library/app:2", "-"]);
    let digests: Vec<Value> = index(dir.path())["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["digest"].clone())
        .collect();
    let (first, second) = (first.manifest.digest().to_string(), second.manifest.digest().to_string());
    assert_eq!(digests, [first, second.clone(), second]);
}

#[test]
fn a_blob_that_is_short_or_missing_leaves_the_index_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (image, mut blobs) = sample();
    let first = *blobs.0.keys().next().unwrap();
    blobs.0.get_mut(&first).unwrap().pop();
    let short = write_layout(dir.path(), Exported::Image(&image), &naming(&["app"]), &blobs);
    assert!(matches!(short, Err(ExportError::Size { digest, .. }) if digest == first));
    blobs.0.remove(&first);
    let missing = write_layout(dir.path(), Exported::Image(&image), &naming(&["app"]), &blobs);
    assert!(matches!(missing, Err(ExportError::Blob(_))));
    assert!(!dir.path().join("index.json").exists());
    assert!(!dir.path().join("blobs/sha256").join(first.hex()).exists());
}

fn members(bytes: &[u8]) -> Vec<(String, u32, u64)> {
    let mut archive = tar::Archive::new(bytes);
    let entries = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        (path, entry.header().mode().unwrap(), entry.header().mtime().unwrap())
    });
    entries.collect()
}

#[test]
fn tars_are_sorted_and_the_same_each_time() {
    let (image, blobs) = sample();
    let tar = |docker: bool| {
        let mut out = Vec::new();
        let write = if docker { write_docker_tar } else { write_oci_tar };
        write(&mut out, &[(Exported::Image(&image), &naming(&["app:1", "app:2"]))], &blobs).unwrap();
        out
    };
    for docker in [false, true] {
        assert_eq!(tar(docker), tar(docker));
        let members = members(&tar(docker));
        let names: Vec<&str> = members.iter().map(|(name, ..)| name.as_str()).collect();
        assert!(names.is_sorted(), "{names:?}");
        assert_eq!(names.contains(&"manifest.json"), docker);
        assert!(members.iter().all(|(_, _, mtime)| *mtime == 0));
        assert_eq!(names.len(), 2 + 4 + 2 + usize::from(docker));
    }
}

#[test]
fn the_list_for_docker_names_configuration_tags_and_layers() {
    let (image, blobs) = sample();
    let mut out = Vec::new();
    write_docker_tar(
        &mut out,
        &[(Exported::Image(&image), &naming(&["app:1", "localhost:5000/app:2"]))],
        &blobs,
    )
    .unwrap();
    let mut archive = tar::Archive::new(&out[..]);
    let found = archive.entries().unwrap().map(Result::unwrap);
    let mut found = found.filter(|entry| entry.path().unwrap() == Path::new("manifest.json"));
    let list: Value = serde_json::from_slice(&read(found.next().unwrap())).unwrap();
    let blob = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
    let layers: Vec<String> = image
        .layers
        .iter()
        .map(|layer| blob(&layer.descriptor.digest().to_string().parse().unwrap()))
        .collect();
    assert_eq!(
        list,
        serde_json::json!([{
            "Config": blob(&image.config.digest()),
            "RepoTags": ["docker.io/library/app:1", "localhost:5000/app:2"],
            "Layers": layers,
        }])
    );
}

#[test]
fn a_file_takes_its_place_only_when_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.tar");
    fs::write(&path, "before").unwrap();
    let failed = to_file(&path, |out| {
        out.write_all(b"half").unwrap();
        Err::<(), _>(ExportError::Escape { path: "x".into() })
    });
    assert!(failed.is_err());
    assert_eq!(fs::read_to_string(&path).unwrap(), "before");
    std::os::unix::fs::symlink("image.tar", dir.path().join("latest")).unwrap();
    to_file(&dir.path().join("latest"), |out| {
        out.write_all(b"whole").unwrap();
        Ok(())
    })
    .unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    to_file(Path::new("/dev/null"), |out| {
        out.write_all(b"gone").unwrap();
        Ok(())
    })
    .unwrap();
    assert!(to_file(&dir.path().join("no/such/place"), |_| Ok(())).is_err());
}
