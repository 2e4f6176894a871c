//! Documents at registries become one: pure, buildx's rules.

use std::collections::BTreeMap;

use kiln_core::Platform;
use kiln_registry::{Fetched, media_type};
use serde_json::{Map, Value, json};

use super::source::Source;
use crate::error::CommandError;
use crate::request::UsageError;

/// `--annotation`, for the index.
pub(crate) type Annotations = BTreeMap<String, String>;

/// One document of several: the only one as it stands where nothing is added to it, otherwise an index of all that they
/// name, each once.
///
/// # Errors
/// If a document is none.
pub(crate) fn combine(
    sources: &[Source],
    annotations: &Annotations,
    prefer_index: bool,
) -> Result<Fetched, CommandError> {
    if let ([only], true) = (sources, annotations.is_empty())
        && (only.is_index || !prefer_index)
    {
        return Ok(only.document.clone());
    }
    let oci = sources.iter().any(|source| source.media_type().contains("vnd.oci."));
    let kind = if oci || !annotations.is_empty() { media_type::OCI_INDEX } else { media_type::DOCKER_LIST };
    let mut manifests: Vec<Value> = Vec::new();
    for source in sources {
        for descriptor in source.manifests()? {
            if !manifests.iter().any(|known| known["digest"] == descriptor["digest"]) {
                manifests.push(descriptor);
            }
        }
    }
    Ok(index(kind, manifests, annotations))
}

/// The part of an index that is for `platforms`, with what attests it; the same document if that is all of it.
///
/// # Errors
/// If it has nothing for one of the platforms.
pub(crate) fn only(document: Fetched, platforms: &[Platform]) -> Result<Fetched, CommandError> {
    let value: Value = serde_json::from_slice(&document.bytes)?;
    let Some(all) = value["manifests"].as_array().filter(|_| !platforms.is_empty()) else {
        return Ok(document);
    };
    let of = |descriptor: &Value| platform(&descriptor["platform"]);
    for wanted in platforms {
        if !all.iter().any(|descriptor| of(descriptor).as_ref() == Some(wanted)) {
            let there: Vec<String> = all.iter().filter_map(of).map(|platform| platform.to_string()).collect();
            let there = format!("the image has {}", there.join(", "));
            return Err(UsageError::value("platform", &wanted.to_string(), &there).into());
        }
    }
    let taken = |descriptor: &&Value| of(descriptor).is_some_and(|platform| platforms.contains(&platform));
    let digests: Vec<&Value> = all.iter().filter(taken).map(|descriptor| &descriptor["digest"]).collect();
    let attests =
        |descriptor: &Value| digests.contains(&&descriptor["annotations"]["vnd.docker.reference.digest"]);
    let kept: Vec<Value> = all.iter().filter(|d| taken(d) || attests(d)).cloned().collect();
    if kept.len() == all.len() {
        return Ok(document);
    }
    let annotations = serde_json::from_value(value["annotations"].clone()).unwrap_or_default();
    Ok(index(document.descriptor.media_type().as_ref(), kept, &annotations))
}

/// The platform of a descriptor; that of an attestation is unknown.
pub(crate) fn platform(value: &Value) -> Option<Platform> {
    let part = |name: &str| value[name].as_str().filter(|text| !text.is_empty() && *text != "unknown");
    let text = [part("os")?, part("architecture")?].join("/");
    let text = part("variant").map_or(text.clone(), |variant| format!("{text}/{variant}"));
    text.parse().ok()
}

fn index(kind: &str, manifests: Vec<Value>, annotations: &Annotations) -> Fetched {
    let mut document = Map::new();
    document.insert("schemaVersion".into(), 2.into());
    document.insert("mediaType".into(), kind.into());
    document.insert("manifests".into(), manifests.into());
    if !annotations.is_empty() {
        document.insert("annotations".into(), json!(annotations));
    }
    let bytes = serde_json::to_vec_pretty(&document).expect("a value is written to memory");
    Fetched::new(kind, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_core::Reference;

    fn source(kind: &str, document: &Value) -> Source {
        let name: Reference = "reg.test/app:1".parse().unwrap();
        let document = Fetched::new(kind, serde_json::to_vec(document).unwrap());
        Source::new(name, document, "linux/amd64".parse().ok())
    }

    fn image(n: u8) -> Source {
        source(media_type::OCI_MANIFEST, &json!({ "schemaVersion": 2, "config": { "n": n }, "layers": [] }))
    }

    fn named(name: &str) -> String {
        format!("sha256:{}", name.repeat(64))
    }

    fn list(entries: &[(&str, &str)]) -> Source {
        let manifests: Vec<Value> = entries
            .iter()
            .map(|(digest, os)| {
                json!({ "mediaType": media_type::OCI_MANIFEST, "digest": named(digest), "size": 1,
                        "platform": { "os": os, "architecture": "amd64" } })
            })
            .collect();
        source(media_type::OCI_INDEX, &json!({ "schemaVersion": 2, "manifests": manifests }))
    }

    fn digests(document: &Fetched) -> Vec<String> {
        let value: Value = serde_json::from_slice(&document.bytes).unwrap();
        let manifests = value["manifests"].as_array().cloned().unwrap_or_default();
        manifests.iter().map(|m| m["digest"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn one_index_stays_as_it_is_to_the_byte() {
        let only = list(&[("a", "linux")]);
        let combined = combine(std::slice::from_ref(&only), &Annotations::new(), true).unwrap();
        assert_eq!(combined.bytes, only.document.bytes);
    }

    #[test]
    fn a_single_image_gets_an_index_unless_that_is_not_wanted() {
        let one = image(1);
        let bare = combine(std::slice::from_ref(&one), &Annotations::new(), false).unwrap();
        assert_eq!(bare.bytes, one.document.bytes);
        let index = combine(std::slice::from_ref(&one), &Annotations::new(), true).unwrap();
        assert_eq!(digests(&index), [one.document.digest().to_string()]);
        let value: Value = serde_json::from_slice(&index.bytes).unwrap();
        assert_eq!(value["manifests"][0]["platform"], json!({ "architecture": "amd64", "os": "linux" }));
    }

    #[test]
    fn several_are_joined_and_named_once() {
        let joined = [list(&[("a", "linux"), ("b", "freebsd")]), list(&[("a", "linux")])];
        let combined = combine(&joined, &Annotations::new(), true).unwrap();
        assert_eq!(digests(&combined), [named("a"), named("b")]);
        let named = Annotations::from([("k".to_owned(), "v".to_owned())]);
        let annotated = combine(&joined[1..], &named, true).unwrap();
        let value: Value = serde_json::from_slice(&annotated.bytes).unwrap();
        assert_eq!(value["annotations"], json!({ "k": "v" }));
    }

    #[test]
    fn platforms_are_chosen_and_missing_ones_are_told() {
        let both = list(&[("a", "linux"), ("b", "freebsd")]).document;
        let linux: Platform = "linux/amd64".parse().unwrap();
        assert_eq!(digests(&only(both.clone(), std::slice::from_ref(&linux)).unwrap()), [named("a")]);
        assert_eq!(only(both.clone(), &[]).unwrap().bytes, both.bytes);
        let error = only(both, &["linux/arm64".parse().unwrap()]).unwrap_err().to_string();
        assert!(error.contains("the image has linux/amd64, freebsd/amd64"), "{error}");
    }
}
