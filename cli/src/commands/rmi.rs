//! `kiln rmi`

use kiln_core::Reference;

use super::{CommandError, Services, print};
use crate::args::RmiArgs;
use crate::local::{self, LocalError};

/// Takes names away from images; an image without names is removed. Its layers go with the next `kiln prune`.
///
/// # Errors
/// If an image does not exist; the others are removed nevertheless.
pub(crate) fn rmi(args: &RmiArgs, services: &Services) -> Result<(), CommandError> {
    let index = services.store.index();
    let mut missing = None;
    let mut text = String::new();
    for typed in &args.images {
        if let Ok(name) = typed.parse::<Reference>()
            && index.remove_image(&name)?
        {
            text.push_str(&format!(
                "Untagged: {}\n",
                name.with_tag(name.tag_or_latest().unwrap_or("latest")).familiar()
            ));
            continue;
        }
        match local::find(&services.store, typed) {
            Ok(image) => {
                let id = local::image_id(&services.store, &image.record)?;
                index.remove_image_by_id(&image.id)?;
                text.push_str(&format!("Deleted: {id}\n"));
            }
            Err(LocalError::Missing(_)) if args.force => {}
            Err(error) => missing = Some(error),
        }
    }
    print(&text)?;
    missing.map_or(Ok(()), |error| Err(error.into()))
}
