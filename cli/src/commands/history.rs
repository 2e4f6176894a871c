//! `kiln history IMAGE`: how an image was made. Without an image, the past builds.

use serde_json::json;

use super::past;
use super::{CommandError, Format, Services, print};
use crate::args::{HistoryArgs, HistoryCommand};
use crate::environment::now_seconds;
use crate::history as builds;
use crate::local;
use crate::progress::size;
use crate::table::{Table, age};

/// Prints the instructions of an image, the newest first.
///
/// # Errors
/// If the image does not exist.
pub(crate) fn history(args: &HistoryArgs, services: &Services) -> Result<(), CommandError> {
    let format = Format::parse(&args.format, &[Format::Table, Format::Json])?;
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
    let mut layers = image.record.snapshot.layers.iter();
    let mut rows = Vec::new();
    for entry in &image.record.config.history {
        let layer = if entry.empty_layer { None } else { layers.next() };
        let bytes = layer.map_or(Ok(0), |layer| super::layer_size(&services.store, layer))?;
        rows.push((entry, bytes));
    }
    rows.reverse();
    let mut table = Table::new(["CREATED", "CREATED BY", "SIZE", "COMMENT"]);
    let mut text = String::new();
    for (entry, bytes) in rows {
        let made = super::seconds(entry.created.as_deref());
        let since = made.map_or("N/A".to_owned(), |at| age(now_seconds() - at));
        if format == Format::Json {
            let row = json!({
                "CreatedAt": entry.created, "CreatedSince": since, "CreatedBy": entry.created_by,
                "Size": bytes, "Comment": entry.comment,
            });
            text.push_str(&format!("{row}\n"));
        } else {
            let by = if args.no_trunc || entry.created_by.chars().count() <= 45 {
                entry.created_by.clone()
            } else {
                entry.created_by.chars().take(44).chain(['…']).collect()
            };
            table.row([since, by.replace('\n', " "), size(bytes), entry.comment.clone()]);
        }
    }
    if format == Format::Table {
        text = table.to_string();
    }
    print(&text)
}
