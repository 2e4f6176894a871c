use super::*;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn document(outer: &str, json: &str) -> Result<Document, String> {
    Fetched::new(outer, json.replace("DIGEST", DIGEST).into_bytes()).document().map_err(|e| e.to_string())
}

fn index(entries: &[(&str, &str)]) -> ImageIndex {
    let entries: Vec<Value> = entries
        .iter()
        .enumerate()
        .map(|(size, (platform, extra))| {
            let mut entry = serde_json::json!({
                "mediaType": media_type::OCI_MANIFEST, "digest": DIGEST, "size": size,
            });
            if !platform.is_empty() {
                let parts: Vec<&str> = platform.split('/').collect();
                entry["platform"] = serde_json::json!({
                    "os": parts[0], "architecture": parts[1], "variant": parts.get(2),
                });
            }
            match *extra {
                "" => {}
                "attestation" => {
                    entry["annotations"] =
                        serde_json::json!({"vnd.docker.reference.type": "attestation-manifest"});
                }
                media_type => entry["mediaType"] = media_type.into(),
            }
            entry
        })
        .collect();
    serde_json::from_value(serde_json::json!({"schemaVersion": 2, "manifests": entries})).unwrap()
}

/// The position of the chosen entry.
fn chosen(entries: &[(&str, &str)], platform: &str) -> Option<u64> {
    choose_platform(&index(entries), &platform.parse().unwrap()).map(|entry| entry.size())
}

#[test]
fn the_best_variant_wins_and_the_first_of_equals() {
    let entries = [("linux/arm/v6", ""), ("linux/arm/v7", ""), ("linux/amd64", ""), ("linux/amd64", "")];
    assert_eq!(chosen(&entries, "linux/arm/v7"), Some(1));
    assert_eq!(chosen(&entries, "linux/arm64"), Some(1));
    assert_eq!(chosen(&entries, "linux/amd64"), Some(2));
    assert_eq!(chosen(&entries, "linux/s390x"), None);
}

#[test]
fn attestations_and_artifacts_are_no_images() {
    let entries = [
        ("unknown/unknown", ""),
        ("linux/amd64", "attestation"),
        ("linux/amd64", "application/x"),
        ("linux/amd64", ""),
    ];
    assert_eq!(chosen(&entries, "linux/amd64"), Some(3));
    assert_eq!(chosen(&entries[..3], "linux/amd64"), None);
}

#[test]
fn an_entry_without_a_platform_is_the_last_resort() {
    assert_eq!(chosen(&[("", ""), ("linux/amd64", "")], "linux/amd64"), Some(1));
    assert_eq!(chosen(&[("", ""), ("linux/arm64", "")], "linux/amd64"), Some(0));
}

#[test]
fn oci_and_docker_documents_are_read() {
    let image = r#"{"schemaVersion":2,"config":{"mediaType":"x","digest":"DIGEST","size":1},"layers":null}"#;
    for outer in [media_type::OCI_MANIFEST, media_type::DOCKER_MANIFEST, "application/json"] {
        assert!(matches!(document(outer, image), Ok(Document::Image(_))), "{outer}");
    }
    for outer in [media_type::OCI_INDEX, media_type::DOCKER_LIST] {
        let index = r#"{"schemaVersion":2,"manifests":null}"#;
        assert!(matches!(document(outer, index), Ok(Document::Index(_))), "{outer}");
    }
}

#[test]
fn documents_that_lie_are_refused() {
    let config = r#""config":{"mediaType":"x","digest":"DIGEST","size":1}"#;
    for (outer, json, message) in [
        (media_type::OCI_MANIFEST, "<html>".to_owned(), "malformed manifest: expected value"),
        (media_type::OCI_MANIFEST, "{}".to_owned(), "schemaVersion is not 2"),
        (media_type::OCI_MANIFEST, r#"{"schemaVersion":1,"fsLayers":[]}"#.to_owned(), "schema 1"),
        (media_type::DOCKER_SCHEMA1[0], "{}".to_owned(), "schema 1"),
        (
            media_type::OCI_MANIFEST,
            format!(r#"{{"schemaVersion":2,{config},"layers":[],"manifests":[]}}"#),
            "both layers and manifests",
        ),
        (
            media_type::OCI_INDEX,
            format!(r#"{{"schemaVersion":2,{config},"layers":[]}}"#),
            "unexpected media type",
        ),
        (
            media_type::OCI_MANIFEST,
            format!(r#"{{"schemaVersion":2,"mediaType":"{}",{config},"layers":[]}}"#, media_type::OCI_INDEX),
            "unexpected media type",
        ),
        (
            media_type::OCI_MANIFEST,
            r#"{"schemaVersion":2,"config":{"mediaType":"x","digest":"sha256:12","size":1},"layers":[]}"#
                .to_owned(),
            "malformed manifest",
        ),
        (
            media_type::OCI_MANIFEST,
            format!(
                r#"{{"schemaVersion":2,{config},"layers":[{{"mediaType":"x","digest":"DIGEST","size":-1}}]}}"#
            ),
            "malformed manifest",
        ),
    ] {
        let error = document(outer, &json).map(|_| ()).unwrap_err();
        assert!(error.contains(message), "{json}: {error}");
    }
}
