//! What an exported image is called: the entries of a layout's `index.json`.

use std::collections::HashMap;

use kiln_core::Reference;
use kiln_core::oci_spec::image::Descriptor;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::blob::Exported;
use crate::document;

/// The annotation of a layout's entry with a tag, or another name within the layout (image-spec, annotations.md).
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// containerd's annotation with the whole name.
const IMAGE_NAME: &str = "io.containerd.image.name";
const CREATED: &str = "org.opencontainers.image.created";

/// The names that an image gets where it goes, and when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Naming {
    /// Its names; none is allowed.
    pub names: Vec<Reference>,
    /// In seconds since 1970: `SOURCE_DATE_EPOCH`, or now.
    pub created: i64,
}

impl Naming {
    /// The entries for `index.json`: one a name, or one without a name.
    pub(crate) fn entries(&self, exported: Exported<'_>) -> Vec<Descriptor> {
        let root = &exported.root().descriptor;
        let named = |name: Option<&Reference>| {
            let mut annotations: HashMap<String, String> = root.annotations().clone().unwrap_or_default();
            annotations.entry(CREATED.to_owned()).or_insert_with(|| rfc3339(self.created));
            if let Some(name) = name {
                annotations.insert(IMAGE_NAME.to_owned(), name.to_string());
                annotations.insert(REF_NAME.to_owned(), short(name));
            }
            let mut entry = root.clone();
            entry.set_annotations(Some(annotations));
            entry
        };
        if self.names.is_empty() {
            vec![named(None)]
        } else {
            self.names.iter().map(|name| named(Some(name))).collect()
        }
    }
}

/// What comes after the repository.
fn short(name: &Reference) -> String {
    match (name.tag_or_latest(), name.digest()) {
        (Some(tag), Some(digest)) => format!("{tag}@{digest}"),
        (Some(tag), None) => tag.to_owned(),
        (None, Some(digest)) => digest.to_string(),
        (None, None) => unreachable!("a name without a digest has a tag or latest"),
    }
}

/// The document `index.json`.
pub(crate) fn layout_index(entries: &[Value]) -> Vec<u8> {
    document::compact(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": entries,
    }))
}

/// The document `oci-layout`.
pub(crate) const OCI_LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

fn rfc3339(seconds: i64) -> String {
    let moment = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    moment.format(&Rfc3339).expect("the years of a timestamp have four digits")
}
