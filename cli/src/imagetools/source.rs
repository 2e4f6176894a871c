//! What a new image is made of: names at registries, or descriptors of what is there.

use std::path::Path;

use kiln_core::{Digest, Platform, Reference};
use kiln_registry::{Client, Document, Fetched};
use serde_json::Value;

use super::combine::platform;
use crate::error::CommandError;
use crate::request::UsageError;

/// A document at a registry.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// Where it is.
    pub(crate) name: Reference,
    /// The document.
    pub(crate) document: Fetched,
    /// Whether it is an index.
    pub(crate) is_index: bool,
    /// Of an image, not of an index.
    pub(crate) platform: Option<Platform>,
}

impl Source {
    /// A document whose structure says whether it is an index.
    pub(crate) fn new(name: Reference, document: Fetched, platform: Option<Platform>) -> Self {
        let is_index = matches!(document.document(), Ok(Document::Index(_)));
        Self { name, document, is_index, platform }
    }

    pub(crate) fn media_type(&self) -> String {
        self.document.descriptor.media_type().to_string()
    }

    /// The descriptors that it stands for in an index.
    pub(crate) fn manifests(&self) -> Result<Vec<Value>, CommandError> {
        if self.is_index {
            let value: Value = serde_json::from_slice(&self.document.bytes)?;
            return Ok(value["manifests"].as_array().cloned().unwrap_or_default());
        }
        let mut descriptor = serde_json::to_value(&self.document.descriptor)?;
        if let Some(platform) = &self.platform {
            let mut value = serde_json::json!({ "architecture": platform.architecture, "os": platform.os });
            if !platform.variant.is_empty() {
                value["variant"] = platform.variant.clone().into();
            }
            descriptor["platform"] = value;
        }
        Ok(vec![descriptor])
    }
}

/// What the arguments and files of `imagetools create` name. A descriptor, or a bare digest, is in the repository of the
/// first tag.
pub(crate) fn sources(
    typed: &[String],
    files: &[std::path::PathBuf],
    tag: Option<&Reference>,
) -> Result<Vec<Reference>, CommandError> {
    let mut all: Vec<String> = Vec::new();
    for path in files {
        let text = read(path)?;
        if text.trim_start().starts_with('{') {
            all.push(text);
        } else {
            all.extend(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
        }
    }
    all.extend(typed.iter().cloned());
    all.iter().map(|text| one(text, tag)).collect()
}

fn one(text: &str, tag: Option<&Reference>) -> Result<Reference, CommandError> {
    let digest = if text.trim_start().starts_with('{') {
        let value: Value = serde_json::from_str(text)
            .map_err(|error| UsageError::value("file", text, &format!("it is no descriptor: {error}")))?;
        value["digest"].as_str().unwrap_or_default().to_owned()
    } else if text.parse::<Digest>().is_ok() {
        text.to_owned()
    } else {
        return Ok(text.parse()?);
    };
    let tag = tag.ok_or_else(|| {
        CommandError::Usage(format!("in which repository is {digest}? name it: NAME@{digest}, or give --tag"))
    })?;
    Ok(format!("{}@{digest}", tag.name()).parse()?)
}

fn read(path: &Path) -> Result<String, CommandError> {
    let failed =
        |cause| CommandError::File { verb: "read", what: "source file", path: path.to_owned(), cause };
    std::fs::read_to_string(path).map_err(failed)
}

/// Fetches a document, and of an image its platform.
pub(crate) async fn fetch(client: &Client, name: &Reference) -> Result<Source, CommandError> {
    let document = client.resolve(name).await?;
    let platform = match document.document() {
        Ok(Document::Image(image)) => {
            let config = client.small_blob(name, image.config()).await?;
            // That of an artifact need not be JSON.
            serde_json::from_slice(&config).ok().and_then(|config| platform(&config))
        }
        // Of what is no image, an artifact or a chart, nothing is asked but where it is.
        Ok(Document::Index(_)) | Err(_) => None,
    };
    Ok(Source::new(name.clone(), document, platform))
}
