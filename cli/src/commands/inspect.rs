//! `kiln inspect`

use serde_json::{Value, json};

use super::{CommandError, Format, Services, print};
use crate::args::InspectArgs;
use crate::local;

/// Prints images as Docker's `image inspect` has them: a JSON array.
///
/// # Errors
/// If an image does not exist.
pub(crate) fn inspect(args: &InspectArgs, services: &Services) -> Result<(), CommandError> {
    Format::parse(&args.format, &[Format::Json])?;
    let mut all = Vec::new();
    for typed in &args.images {
        let image = local::find(&services.store, typed)?;
        let config = local::full_config(&services.store, &image.record)?;
        let platform = config.platform();
        let (names, digests): (Vec<String>, Vec<String>) = (image.names, Vec::new());
        let mut value = json!({
            "Id": local::image_id(&services.store, &image.record)?,
            "RepoTags": names,
            "RepoDigests": digests,
            "Created": config.created,
            "Author": config.author,
            "Architecture": platform.architecture,
            "Variant": platform.variant,
            "Os": platform.os,
            "Size": super::image_size(&services.store, &image.record)?,
            "Config": config.config,
            "RootFS": { "Type": "layers", "Layers": config.rootfs.diff_ids },
        });
        if let Some(origin) = &image.record.origin {
            value["ManifestDigest"] = Value::from(origin.manifest.to_string());
        }
        all.push(value);
    }
    print(&format!("{}\n", serde_json::to_string_pretty(&all)?))
}
