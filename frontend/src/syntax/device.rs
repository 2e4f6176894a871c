//! `RUN --device=NAME[,required]`.

use kiln_core::{Diagnostic, Spanned};

use super::instruction::part;
use super::{csv, go, suggest};
use crate::ast::{Device, Word};

/// Understands the value of `--device`.
pub(super) fn parse(value: &Word) -> Result<Device, Diagnostic> {
    let error = |message: String, span| Diagnostic::error(message, span);
    let fields = csv::fields(&value.value)
        .map_err(|cause| error(format!("failed to parse csv devices: {cause}"), value.span))?;
    let mut device = Device { name: Spanned::new(String::new(), value.span), required: false };
    for field in fields {
        let span = part(value, field.range.start, field.range.end);
        let (key, setting) = match field.text.split_once('=') {
            Some((key, setting)) => (key.to_lowercase(), Some(setting)),
            None => (field.text.to_lowercase(), None),
        };
        let unnamed = device.name.value.is_empty();
        match (key.as_str(), setting) {
            ("required", None) => device.required = true,
            ("required", Some(setting)) => {
                let message = || error(format!("invalid value for {key}: {setting}"), span);
                device.required = go::parse_bool(setting).ok_or_else(message)?;
            }
            ("name", Some(name)) if unnamed => device.name = Spanned::new(name.to_owned(), span),
            ("name", Some(_)) => {
                return Err(error(format!("device name already set to {}", device.name.value), span));
            }
            _ if unnamed => device.name = Spanned::new(field.text.clone(), span),
            (_, None) => {
                return Err(error(format!("invalid field '{}' must be a key=value pair", field.text), span));
            }
            (key, Some(_)) => {
                let message = format!("unexpected key '{key}' in '{}'", field.text);
                return Err(Diagnostic {
                    help: suggest::help(key, &["name", "required"]),
                    ..error(message, span)
                });
            }
        }
    }
    Ok(device)
}
