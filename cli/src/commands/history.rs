//! `kiln history IMAGE`: how an image was made. Without an image, the past builds.

use serde_json::json;

use super::past;
use super::{CommandError, Services, print};
use crate::args::{HistoryArgs, HistoryCommand};
use crate::environment::now_seconds;
use crate::history as builds;
use crate::progress::size;
use crate::table::age;
use crate::{local, template};

/// Prints the instructions of an image, the newest first.
///
/// # Errors
/// If the image does not exist.
pub(crate) fn history(args: &HistoryArgs, services: &Services) -> Result<(), CommandError> {
    let name = match (&args.command, &args.image) {
        (Some(command), _) => return past::past(command, services),
        (None, None) => return past::list(&[], false, &args.format, services),
        (None, Some(name)) => name,
    };
    let image = match local::find(&services.store, name) {
        Ok(image) => image,
        Err(error) => {
            // A build's id looks like no image's name that anybody has given.
            let Ok(build) = builds::find(&services.store, Some(name)) else { return Err(error.into()) };
            let command = HistoryCommand::Inspect { build: Some(build.stored.id), format: "text".to_owned() };
            return past::past(&command, services);
        }
    };
    let mut id = Some(local::image_id(&services.store, &image.record)?);
    let mut layers = image.record.snapshot.layers.iter();
    let mut sizes = Vec::new();
    for entry in &image.record.config.history {
        let layer = if entry.empty_layer { None } else { layers.next() };
        sizes.push(layer.map_or(Ok(0), |layer| super::layer_size(&services.store, layer))?);
    }
    let mut rows = Vec::new();
    for (entry, bytes) in image.record.config.history.iter().zip(sizes).rev() {
        let made = super::seconds(entry.created.as_deref());
        // The last instruction made the image; what the others made has no id.
        let shown =
            id.take().map(|id| if args.no_trunc { id.to_string() } else { id.hex()[..12].to_owned() });
        let by = if args.no_trunc || entry.created_by.chars().count() <= 45 {
            entry.created_by.clone()
        } else {
            entry.created_by.chars().take(44).chain(['…']).collect()
        };
        rows.push(json!({
            "ID": shown.as_deref().unwrap_or("<missing>"),
            "CreatedAt": entry.created,
            "CreatedSince": made.map_or("N/A".to_owned(), |at| age(now_seconds() - at)),
            "CreatedBy": by.replace('\n', " "),
            "Size": if args.human { size(bytes) } else { bytes.to_string() },
            "Comment": entry.comment,
        }));
    }
    if args.quiet {
        let ids = rows.iter().filter_map(|row| row["ID"].as_str());
        return print(&ids.map(|id| format!("{id}\n")).collect::<String>());
    }
    let columns = [
        ("ID", "IMAGE"),
        if args.human { ("CreatedSince", "CREATED") } else { ("CreatedAt", "CREATED AT") },
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ];
    print(&template::list(&args.format, &columns, &rows)?)
}
