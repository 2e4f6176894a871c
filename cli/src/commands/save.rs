//! `kiln save`

use super::{CommandError, Services};

pub fn save(_args: &crate::args::SaveArgs, _services: &Services) -> Result<(), CommandError> {
    Err(CommandError::Usage("not there yet".to_owned()))
}
