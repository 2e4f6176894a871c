//! `kiln tag`

use kiln_core::Reference;

use super::{CommandError, Services};
use crate::args::TagArgs;
use crate::local;

/// Gives an image a further name.
///
/// # Errors
/// If there is no such image, or the new name is none.
pub(crate) fn tag(args: &TagArgs, services: &Services) -> Result<(), CommandError> {
    let target: Reference = args.target.parse()?;
    if target.digest().is_some() {
        return Err(CommandError::Usage(format!("`{}`: a name with a digest cannot be given", args.target)));
    }
    let image = local::find(&services.store, &args.source)?;
    services.store.index().set_image(Some(&target), &image.record)?;
    Ok(())
}
