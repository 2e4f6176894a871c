//! Images that a test makes known by name.

use kiln_core::{ImageConfig, Reference};
use kiln_frontend::ImageName;

use crate::world::Images;

/// Makes an image known.
pub(crate) fn add(images: &mut Images, name: &str, config: ImageConfig) -> Reference {
    let reference: Reference = format!("golden.test/{name}").parse().unwrap();
    images.known.insert(ImageName::Reference(reference.clone()), config);
    reference
}
