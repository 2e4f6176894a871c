//! A file or standard output, written on a thread that may block.

use std::io::Write;

use kiln_exporter::{ExportError, to_file};

use crate::error::CommandError;
use crate::output::Destination;

/// Writes to a file that is in its place only when it is whole, or to standard output.
pub(crate) fn to_destination(
    destination: &Destination,
    write: impl FnOnce(&mut dyn Write) -> Result<(), ExportError>,
) -> Result<(), ExportError> {
    match destination {
        Destination::File(path) => to_file(path, |out| write(out)),
        Destination::Stdout => {
            let mut out = std::io::BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
            write(&mut out)?;
            out.flush().map_err(|cause| ExportError::Output { path: "-".into(), cause })
        }
    }
}

/// Runs what blocks on a thread that may.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ExportError> + Send + 'static,
) -> Result<T, CommandError> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(|_| CommandError::Panic)??)
}
