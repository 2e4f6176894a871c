//! `kiln images`

use kiln_core::Reference;
use serde_json::json;

use super::{CommandError, Format, Services, print};
use crate::args::ImagesArgs;
use crate::environment::now_seconds;
use crate::local;
use crate::progress::size;
use crate::table::{Table, age};

/// Lists images, those that came last first.
///
/// # Errors
/// If the store cannot be read.
pub(crate) fn images(args: &ImagesArgs, services: &Services) -> Result<(), CommandError> {
    let format = Format::parse(&args.format, &[Format::Table, Format::Json])?;
    let wanted = args.name.as_deref().map(str::parse::<Reference>).transpose()?;
    let tagged = args
        .name
        .as_deref()
        .is_some_and(|name| name.rsplit('/').next().is_some_and(|last| last.contains(':')));
    let mut table = if args.digests {
        Table::new(["REPOSITORY", "TAG", "DIGEST", "IMAGE ID", "CREATED", "SIZE"])
    } else {
        Table::new(["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"])
    };
    let mut text = String::new();
    for image in services.store.index().images()? {
        let id = local::image_id(&services.store, &image.record)?;
        let bytes = super::image_size(&services.store, &image.record)?;
        let short = if args.no_trunc { id.to_string() } else { id.hex()[..12].to_owned() };
        let digest =
            image.record.origin.as_ref().map_or("<none>".to_owned(), |origin| origin.manifest.to_string());
        let names: Vec<Option<Reference>> = match image.names.as_slice() {
            [] => vec![None],
            names => names.iter().map(|name| name.parse().ok()).collect(),
        };
        for name in names {
            let fits = |wanted: &Reference| {
                name.as_ref().is_some_and(|name| name.name() == wanted.name() && (!tagged || name == wanted))
            };
            if !wanted.as_ref().is_none_or(fits) {
                continue;
            }
            let (repository, tag) = match &name {
                Some(name) => {
                    let tag = name.tag_or_latest().unwrap_or("<none>").to_owned();
                    (name.with_tag("x").familiar().trim_end_matches(":x").to_owned(), tag)
                }
                None => ("<none>".to_owned(), "<none>".to_owned()),
            };
            let made = super::seconds(image.record.config.created.as_deref()).unwrap_or(image.record.created);
            let created = age(now_seconds() - made);
            match format {
                _ if args.quiet => text.push_str(&format!("{short}\n")),
                Format::Json => {
                    let row = json!({
                        "Repository": repository, "Tag": tag, "ID": id, "Digest": digest,
                        "CreatedAt": image.record.created, "CreatedSince": created, "Size": bytes,
                        "Platform": image.record.config.platform().to_string(),
                    });
                    text.push_str(&format!("{row}\n"));
                }
                _ if args.digests => {
                    table.row([repository, tag, digest.clone(), short.clone(), created, size(bytes)]);
                }
                _ => table.row([repository, tag, short.clone(), created, size(bytes)]),
            }
        }
    }
    if format == Format::Table && !args.quiet {
        text = table.to_string();
    }
    print(&text)
}
