//! `kiln load`

use super::{CommandError, Services};

pub fn load(_args: &crate::args::LoadArgs, _services: &Services) -> Result<(), CommandError> {
    Err(CommandError::Usage("not there yet".to_owned()))
}
