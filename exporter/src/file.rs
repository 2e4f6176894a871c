//! A file that is in its place only when it is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use crate::error::ExportError;

/// Has `write` fill a file that then takes the place of `path`. A pipe, a terminal or a device that stands there is
/// written into. What was there before stays if anything fails.
///
/// # Errors
/// Those of `write`, and what the file system says.
pub fn to_file<T>(
    path: &Path,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<T, ExportError>,
) -> Result<T, ExportError> {
    let failed = || ExportError::output(path);
    if fs::metadata(path).is_ok_and(|there| is_stream(&there)) {
        let file = OpenOptions::new().write(true).open(path).map_err(failed())?;
        return written(file, path, write);
    }
    let (half, file) = create_beside(path).map_err(failed())?;
    let done = written(file, path, write);
    let placed = done.and_then(|done| {
        // Through a link, to what it leads to: `latest.tar` stays a link to `app-1.tar`.
        let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        fs::rename(&half, place).map_err(failed())?;
        Ok(done)
    });
    if placed.is_err() {
        let _ = fs::remove_file(&half);
    }
    placed
}

fn written<T>(
    file: File,
    path: &Path,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<T, ExportError>,
) -> Result<T, ExportError> {
    let mut out = BufWriter::with_capacity(256 << 10, file);
    let done = write(&mut out)?;
    out.flush().map_err(ExportError::output(path))?;
    Ok(done)
}

fn is_stream(there: &fs::Metadata) -> bool {
    let kind = there.file_type();
    kind.is_fifo() || kind.is_char_device() || kind.is_socket()
}

/// A new file in the directory that `path` leads to, so that one rename puts it into its place.
fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = match place.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = place.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::IsADirectory))?;
    for number in 0_u32.. {
        let half = directory.join(format!(".{}.{}.{number}", name.display(), std::process::id()));
        match File::create_new(&half) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => return Ok((half, created?)),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}
