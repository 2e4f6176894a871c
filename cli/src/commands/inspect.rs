//! `kiln inspect`

use kiln_core::Reference;
use serde_json::{Value, json};

use super::{CommandError, Services, print};
use crate::args::InspectArgs;
use crate::container::directory::Containers;
use crate::container::error::ContainerError;
use crate::environment::{now, rfc3339};
use crate::imagetools::{Details, fetch};
use crate::stored::StoreTree;
use crate::{local, pushed, template};

/// Prints containers and images as Docker's `inspect` has them: a JSON array, or what a template makes of each.
///
/// # Errors
/// If one does not exist.
pub(crate) fn inspect(args: &InspectArgs, services: &Services) -> Result<(), CommandError> {
    if args.provenance || args.sbom {
        let all = args.images.iter().map(|typed| statement(typed, args.sbom, services));
        let mut all = all.collect::<Result<Vec<Value>, _>>()?;
        let shown = if all.len() == 1 { all.remove(0) } else { Value::Array(all) };
        return print(&format!("{}\n", serde_json::to_string_pretty(&shown)?));
    }
    let containers = Containers::of(services.store.root());
    let mut all = Vec::new();
    for typed in &args.images {
        let found = match args.kind.as_deref() {
            None | Some("container") => containers.find(typed),
            Some(_) => Err(ContainerError::Missing(typed.clone())),
        };
        match found {
            Ok(container) => all.push(super::container::inspect(&container)?),
            Err(ContainerError::Missing(_)) if args.kind.as_deref() != Some("container") => {
                all.push(image(typed, services)?);
            }
            Err(error) => return Err(error.into()),
        }
    }
    if args.format == "json" {
        return print(&format!("{}\n", serde_json::to_string_pretty(&all)?));
    }
    let text = template::list(&args.format, &[], &all)?;
    print(&text)
}

/// What is stated of an image: its packages or its provenance.
fn statement(typed: &str, packages: bool, services: &Services) -> Result<Value, CommandError> {
    if packages && let Ok(image) = local::find(&services.store, typed) {
        let config = local::full_config(&services.store, &image.record)?;
        let tree = StoreTree::new(services.store.layers().view(&image.record.snapshot)?);
        let created = config.created.unwrap_or_else(|| rfc3339(now()));
        return Ok(kiln_exporter::sbom(&tree, typed, &created)?.value);
    }
    let (field, flag) = if packages { ("SBOM", "--sbom") } else { ("Provenance", "--provenance") };
    let found = services.runtime()?.block_on(async {
        let source = fetch(services.client(), &typed.parse::<Reference>()?).await?;
        Details::of(services.client(), &source).field(field).await
    })?;
    let empty = found.is_null() || found.as_object().is_some_and(serde_json::Map::is_empty);
    if empty {
        let how = format!("`kiln build {flag} --push` states it beside an image");
        return Err(CommandError::Usage(format!("{typed} has no {field} beside it: {how}")));
    }
    Ok(found)
}

fn image(typed: &str, services: &Services) -> Result<Value, CommandError> {
    let image = local::find(&services.store, typed)?;
    let config = local::full_config(&services.store, &image.record)?;
    let platform = config.platform();
    let names = image.names.iter().filter_map(|name| name.parse::<Reference>().ok());
    let names: Vec<String> = names.map(|name| name.familiar()).collect();
    let digests = pushed::digests(&services.store, &image)?;
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
    Ok(value)
}
