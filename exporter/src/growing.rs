//! A blob that is read while it is written: packed into a file by one thread, sent from it by another.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use kiln_registry::BlobSource;

/// The reading side: a source whose readers wait for what is still to come.
#[derive(Debug)]
pub struct GrowingBlob(Arc<Growing>);

#[derive(Debug)]
struct Growing {
    file: File,
    state: Mutex<State>,
    grew: Condvar,
}

/// How far the writing side is.
#[derive(Debug, Clone, Copy)]
struct State {
    written: u64,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    NotYet,
    Whole,
    /// The writer was dropped: nothing more comes, and what came is not a blob.
    GivenUp,
}

/// The writing side. Dropped without [`GrowingWriter::finish`], it lets its readers fail.
#[derive(Debug)]
pub struct GrowingWriter<W> {
    inner: W,
    growing: Arc<Growing>,
}

/// A blob that `inner` puts into the file that `file` reads.
pub fn growing<W: Write>(inner: W, file: File) -> (GrowingWriter<W>, GrowingBlob) {
    let state = Mutex::new(State { written: 0, end: End::NotYet });
    let growing = Arc::new(Growing { file, state, grew: Condvar::new() });
    (GrowingWriter { inner, growing: Arc::clone(&growing) }, GrowingBlob(growing))
}

impl Growing {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.grew.notify_all();
    }

    /// The bytes that can be read at `offset`, waiting for one at least; 0 at the end.
    fn available(&self, offset: u64) -> io::Result<u64> {
        let mut state = self.state();
        loop {
            match (state.written.saturating_sub(offset), state.end) {
                (0, End::NotYet) => {
                    state = self.grew.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                (0, End::GivenUp) => return Err(io::Error::other("it could not be made")),
                (bytes, _) => return Ok(bytes),
            }
        }
    }
}

impl BlobSource for GrowingBlob {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(Reader { growing: Arc::clone(&self.0), offset }))
    }
}

struct Reader {
    growing: Arc<Growing>,
    offset: u64,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = usize::try_from(self.growing.available(self.offset)?).unwrap_or(buffer.len());
        let wanted = buffer.len().min(available);
        let read = self.growing.file.read_at(&mut buffer[..wanted], self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

impl<W: Write> GrowingWriter<W> {
    /// Ends the blob: its readers come to an end.
    ///
    /// # Errors
    /// If the last bytes cannot be written.
    pub fn finish(mut self) -> io::Result<()> {
        self.inner.flush()?;
        self.growing.change(|state| state.end = End::Whole);
        Ok(())
    }
}

impl<W: Write> Write for GrowingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if Arc::strong_count(&self.growing) == 1 {
            // Whoever read it has given up: there is no use in going on.
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let written = self.inner.write(bytes)?;
        // Readers have a descriptor of their own: what is in a buffer of this process does not exist for them.
        self.inner.flush()?;
        self.growing.change(|state| state.written += written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<W> Drop for GrowingWriter<W> {
    fn drop(&mut self) {
        self.growing.change(|state| {
            if state.end == End::NotYet {
                state.end = End::GivenUp;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn begun() -> (GrowingWriter<File>, GrowingBlob) {
        let file = tempfile::tempfile().unwrap();
        let reading = file.try_clone().unwrap();
        growing(file, reading)
    }

    #[test]
    fn readers_get_all_of_it_whenever_they_begin() {
        let (mut writer, blob) = begun();
        let mut early = blob.open(0).unwrap();
        let reading = thread::spawn(move || {
            let mut read = Vec::new();
            early.read_to_end(&mut read).map(|_| read)
        });
        for n in 0..100_u8 {
            writer.write_all(&[n; 1000]).unwrap();
        }
        writer.finish().unwrap();
        assert_eq!(reading.join().unwrap().unwrap().len(), 100_000);
        let mut late = Vec::new();
        blob.open(99_500).unwrap().read_to_end(&mut late).unwrap();
        assert_eq!(late, [99; 500]);
    }

    #[test]
    fn a_writer_that_gives_up_fails_its_readers() {
        let (mut writer, blob) = begun();
        writer.write_all(b"half").unwrap();
        drop(writer);
        let mut read = Vec::new();
        assert!(blob.open(0).unwrap().read_to_end(&mut read).is_err());
        assert_eq!(read, b"half");
    }

    #[test]
    fn a_blob_that_nobody_reads_any_more_is_not_made() {
        let (mut writer, blob) = begun();
        drop(blob);
        assert_eq!(writer.write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
