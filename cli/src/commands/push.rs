//! `kiln push`

use super::{CommandError, Services};

pub fn push(_args: &crate::args::PushArgs, _services: &Services) -> Result<(), CommandError> {
    Err(CommandError::Usage("not there yet".to_owned()))
}
