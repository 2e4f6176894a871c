use std::fs;
use std::path::Path;

use expect_test::expect;
use kiln_core::{CompressionFormat, DiffId, Digest, ImageConfig};
use kiln_exporter::{
    AssembleError, AssembleOptions, Exported, Flaw, LayerBlob, MediaTypes, assemble, assemble_index, validate,
};
use serde_json::Value;

use crate::sample::{Blobs, descriptor, history, image, layer, options};

const GOLDEN: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpus/buildkit/client/testdata/compatibility/common");

/// Puts BuildKit's own image together again: its configuration without layers, and its layers' descriptors.
fn reassembled(case: &Path) -> (Vec<u8>, Value, Vec<u8>, Value) {
    let file = |name: &str| fs::read(case.join("v30").join(name)).unwrap();
    let (config, manifest) = (file("config.json"), file("manifest.json"));
    let parsed: Value = serde_json::from_slice(&manifest).unwrap();
    let mut stripped: ImageConfig = serde_json::from_slice(&config).unwrap();
    let diff_ids: Vec<DiffId> = std::mem::take(&mut stripped.rootfs.diff_ids);
    stripped.created = None;
    let layers = parsed["layers"].as_array().unwrap().iter().zip(diff_ids).map(|(layer, diff_id)| {
        LayerBlob { diff_id, descriptor: serde_json::from_value(layer.clone()).unwrap() }
    });
    let annotations = serde_json::from_value(parsed["annotations"].clone()).unwrap_or_default();
    let options = AssembleOptions { epoch: Some(1_445_412_480), annotations, ..options(MediaTypes::Oci) };
    let image = assemble(stripped, layers.collect(), &options).unwrap();
    let configs = serde_json::from_slice(&config).unwrap();
    // BuildKit keeps a base's empty fields, which kiln leaves out: the configuration's digest is another one.
    let ours = String::from_utf8(image.manifest.bytes).unwrap();
    let theirs = parsed["config"]["digest"].as_str().unwrap();
    let ours = ours
        .replace(&image.config.descriptor.digest().to_string(), theirs)
        .replace(&format!("\"size\": {}", image.config.bytes.len()), &format!("\"size\": {}", config.len()));
    (ours.into_bytes(), serde_json::from_slice(&image.config.bytes).unwrap(), manifest, configs)
}

/// Without nulls and empty values.
fn essential(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().map(|(key, value)| (key.clone(), essential(value)));
            let is_empty = |value: &Value| match value {
                Value::Null => true,
                Value::String(text) => text.is_empty(),
                Value::Bool(it) => !it,
                Value::Object(map) => map.is_empty(),
                Value::Array(list) => list.is_empty(),
                Value::Number(_) => false,
            };
            Value::Object(kept.filter(|(_, value)| !is_empty(value)).collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(essential).collect()),
        other => other.clone(),
    }
}

#[test]
fn manifests_are_buildkits_to_the_byte_and_configurations_to_the_meaning() {
    if !Path::new(GOLDEN).exists() {
        println!("skipped: ../shared is absent");
        return;
    }
    let mut cases = 0;
    for case in fs::read_dir(GOLDEN).unwrap() {
        let case = case.unwrap().path();
        let (manifest, config, their_manifest, their_config) = reassembled(&case);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        assert_eq!(text(&manifest), text(&their_manifest).trim_end(), "{}", case.display());
        assert_eq!(essential(&config), essential(&their_config), "{}", case.display());
        cases += 1;
    }
    assert!(cases >= 5, "only {cases} cases in {GOLDEN}");
}

#[test]
fn the_configuration_is_one_line_in_order_with_gos_escapes() {
    let (image, _) = image(MediaTypes::Oci, CompressionFormat::Uncompressed, "linux/arm64");
    expect![[r#"{"architecture":"arm64","config":{"Env":["PATH=/bin"],"Cmd":["/hello"]},"created":"2023-11-14T22:13:20.123Z","history":[{"created":"2023-11-14T22:13:20.123Z","created_by":"COPY hello / # buildkit"},{"created":"2023-11-14T22:13:20.123Z","created_by":"CMD [\"/hello\"]","empty_layer":true},{"created":"2023-11-14T22:13:20.123Z","created_by":"COPY \u0026 \u003cx\u003e"}],"os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:756eb8ec933cfb292837cd1136877cadcb3f8d8c8141bc53d6ee65a5b09a0444","sha256:531fd3861c52b1b8a836ddf019917fd1001beed71becb3b6c76e93ef36b598c4"]}}"#]]
    .assert_eq(&String::from_utf8(image.config.bytes).unwrap());
}

#[test]
fn an_epoch_is_the_latest_time_of_all_and_the_time_of_what_has_none() {
    let mut config = ImageConfig::for_platform(&"linux/amd64".parse().unwrap());
    let at = |time: &str| kiln_core::History { created: Some(time.to_owned()), ..history("x", true) };
    config.history = vec![
        at("2001-09-09T01:46:39Z"),
        at("2001-09-09T03:46:41+02:00"),
        at("2001-09-09T03:46:39.5+02:00"),
        at("no time"),
        history("new", true),
    ];
    config.created = Some("2020-01-01T00:00:00Z".to_owned());
    let clamped = AssembleOptions { epoch: Some(1_000_000_000), ..options(MediaTypes::Oci) };
    let created = |options| -> Vec<String> {
        let image = assemble(config.clone(), vec![], options).unwrap();
        let config: ImageConfig = serde_json::from_slice(&image.config.bytes).unwrap();
        let entries = config.history.into_iter().map(|entry| entry.created.unwrap());
        entries.chain(config.created).collect()
    };
    let epoch = "2001-09-09T01:46:40Z";
    assert_eq!(
        created(&clamped),
        ["2001-09-09T01:46:39Z", epoch, "2001-09-09T03:46:39.5+02:00", epoch, epoch, epoch]
    );
    let now = "2023-11-14T22:13:20.123Z";
    assert_eq!(created(&options(MediaTypes::Oci))[3..], ["no time", now, "2020-01-01T00:00:00Z"]);
}

#[test]
fn docker_media_types_go_through_the_whole_image() {
    for format in [CompressionFormat::Uncompressed, CompressionFormat::Gzip, CompressionFormat::Zstd] {
        let (image, blobs) = image(MediaTypes::Docker, format, "linux/amd64");
        validate(Exported::Image(&image), &blobs).unwrap();
        assert!(!String::from_utf8(image.manifest.bytes).unwrap().contains("oci"));
    }
}

#[test]
fn a_history_of_other_layers_is_refused() {
    let mut blobs = Blobs::default();
    let layer = layer(&mut blobs, CompressionFormat::Gzip, "a", b"a");
    let mut config = ImageConfig::for_platform(&"linux/amd64".parse().unwrap());
    config.history = vec![history("only", true)];
    let refused = assemble(config, vec![layer], &options(MediaTypes::Oci));
    assert_eq!(refused.map(|_| ()), Err(AssembleError::History { layers: 1, entries: 0 }));
}

#[test]
fn a_layer_that_is_no_layer_is_refused() {
    let descriptor = descriptor("application/json".into(), &Digest::of(b""), 0);
    let layer = LayerBlob { diff_id: DiffId(Digest::of(b"")), descriptor };
    let config = ImageConfig::for_platform(&"linux/amd64".parse().unwrap());
    assert!(matches!(
        assemble(config, vec![layer], &options(MediaTypes::Oci)),
        Err(AssembleError::LayerType { .. })
    ));
}

#[test]
fn an_index_lists_its_images_with_platforms_in_order() {
    let images = ["linux/arm/v7", "linux/amd64"].map(|p| image(MediaTypes::Oci, CompressionFormat::Gzip, p));
    let mut blobs = Blobs::default();
    for (_, more) in &images {
        blobs.0.extend(more.0.clone());
    }
    let annotations = [("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())].into();
    let index =
        assemble_index(images.map(|(image, _)| image).into(), Vec::new(), MediaTypes::Oci, &annotations);
    validate(Exported::Index(&index), &blobs).unwrap();
    let text = String::from_utf8(index.document.bytes).unwrap();
    let strip = |line: &str| !line.contains("digest") && !line.contains("size");
    let shown: String = text.lines().filter(|line| strip(line)).map(|line| format!("{line}\n")).collect();
    expect![[r#"
        {
          "schemaVersion": 2,
          "mediaType": "application/vnd.oci.image.index.v1+json",
          "manifests": [
            {
              "mediaType": "application/vnd.oci.image.manifest.v1+json",
              "platform": {
                "architecture": "arm",
                "os": "linux",
                "variant": "v7"
              }
            },
            {
              "mediaType": "application/vnd.oci.image.manifest.v1+json",
              "platform": {
                "architecture": "amd64",
                "os": "linux"
              }
            }
          ],
          "annotations": {
            "a": "1",
            "b": "2"
          }
        }
    "#]]
    .assert_eq(&shown);
}

#[test]
fn validation_finds_what_is_wrong() {
    let (sound, blobs) = image(MediaTypes::Oci, CompressionFormat::Gzip, "linux/amd64");
    validate(Exported::Image(&sound), &blobs).unwrap();
    let first = sound.layers[0].descriptor.digest().to_string().parse::<Digest>().unwrap();

    let mut missing = blobs.clone();
    missing.0.remove(&first);
    assert!(matches!(validate(Exported::Image(&sound), &missing), Err(Flaw::Blob(_))));

    let mut other = blobs.clone();
    let another = layer(&mut other, CompressionFormat::Gzip, "x", b"x").descriptor.digest().to_string();
    let another: Digest = another.parse().unwrap();
    let bytes = other.0[&another].clone();
    other.0.insert(first, bytes);
    assert!(matches!(validate(Exported::Image(&sound), &other), Err(Flaw::Layer { .. })));

    let mut garbage = blobs.clone();
    garbage.0.insert(first, b"no gzip".to_vec());
    assert!(matches!(validate(Exported::Image(&sound), &garbage), Err(Flaw::Compression { .. })));

    let mut swapped = sound.clone();
    swapped.layers.swap(0, 1);
    assert!(matches!(validate(Exported::Image(&swapped), &blobs), Err(Flaw::Manifest("layers"))));

    let mut edited = sound.clone();
    edited.config.bytes.push(b' ');
    assert!(matches!(validate(Exported::Image(&edited), &blobs), Err(Flaw::Descriptor("configuration"))));

    let mut blobs = blobs;
    let mut layers = sound.layers.clone();
    layers[1].diff_id = DiffId(Digest::of(b"another tar"));
    layers.push(layer(&mut blobs, CompressionFormat::Gzip, "third", b"3"));
    let config = ImageConfig::for_platform(&"linux/amd64".parse().unwrap());
    let wrong = assemble(config, layers, &options(MediaTypes::Oci)).unwrap();
    assert!(matches!(validate(Exported::Image(&wrong), &blobs), Err(Flaw::DiffId { .. })));
}
