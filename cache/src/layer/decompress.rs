//! Decompressing by what the bytes say, not by a name.

use std::fmt;
use std::io::{self, BufRead, Cursor, Read};

/// How something is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Not, or not in a way that is known.
    None,
    /// gzip, of one or more members.
    Gzip,
    /// Zstandard, of one or more frames.
    Zstd,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
}

/// Reads something compressed. Memory is bounded whatever the input says.
pub struct Decompressor<'a> {
    format: Format,
    reader: Box<dyn Read + Send + 'a>,
}

/// The longest magic.
const MAGIC: usize = 6;
/// A 128 MiB window is what `zstd --long` uses and the most that decoders accept unasked.
const ZSTD_WINDOW_LOG: u32 = 27;
const XZ_MEMORY: u64 = 256 * 1024 * 1024;

impl Format {
    /// Tells the format from the first bytes; six are enough.
    pub fn detect(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // A frame, or a skippable frame before one.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            _ => Self::None,
        }
    }
}

impl<'a> Decompressor<'a> {
    /// Looks at the first bytes of `input`. What is not compressed is passed on as it is.
    ///
    /// # Errors
    /// `input` cannot be read, or a decoder cannot be made.
    pub fn detect(mut input: impl BufRead + Send + 'a) -> io::Result<Self> {
        let mut start = Vec::with_capacity(MAGIC);
        (&mut input).take(MAGIC as u64).read_to_end(&mut start)?;
        let format = Format::detect(&start);
        let input = Cursor::new(start).chain(input);
        let reader: Box<dyn Read + Send + 'a> = match format {
            Format::None => Box::new(input),
            // The plain decoder would stop without a word after the first member.
            Format::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
            Format::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(input)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
            Format::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
            Format::Xz => {
                let stream =
                    liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED);
                let stream = stream.map_err(io::Error::from)?;
                Box::new(liblzma::bufread::XzDecoder::new_stream(input, stream))
            }
        };
        Ok(Self { format, reader })
    }

    /// What was found.
    pub fn format(&self) -> Format {
        self.format
    }
}

impl Read for Decompressor<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

impl fmt::Debug for Decompressor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompressor").field("format", &self.format).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    fn check(program: &str, format: Format) {
        let text: Vec<u8> = (0..200_000_u32).flat_map(|n| (n % 1000).to_string().into_bytes()).collect();
        let compress = |bytes: &[u8]| {
            let child = Command::new(program).arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
            let Ok(mut child) = child else { return None };
            let mut stdin = child.stdin.take().unwrap();
            let bytes = bytes.to_vec();
            let feed = std::thread::spawn(move || stdin.write_all(&bytes).unwrap());
            let out = child.wait_with_output().unwrap().stdout;
            feed.join().unwrap();
            Some(out)
        };
        let Some(mut packed) = compress(&text[..300_000]) else {
            println!("skipped: no {program} here");
            return;
        };
        // Two members, as parallel compressors write them.
        packed.extend(compress(&text[300_000..]).unwrap());
        let mut decompressor = Decompressor::detect(&packed[..]).unwrap();
        assert_eq!(decompressor.format(), format);
        let mut out = Vec::new();
        decompressor.read_to_end(&mut out).unwrap();
        assert!(out == text, "{program}: {} bytes of {}", out.len(), text.len());

        let cut = &packed[..packed.len() / 2 + 1000];
        let read = Decompressor::detect(cut).unwrap().read_to_end(&mut Vec::new());
        assert!(read.is_err(), "{program}: a cut stream is no end");
    }

    #[test]
    fn every_format_is_told_by_its_bytes() {
        check("gzip", Format::Gzip);
        check("zstd", Format::Zstd);
        check("bzip2", Format::Bzip2);
        check("xz", Format::Xz);
    }

    #[test]
    fn what_is_not_compressed_passes() {
        for bytes in [&b""[..], b"a", b"plain text"] {
            let mut decompressor = Decompressor::detect(bytes).unwrap();
            assert_eq!(decompressor.format(), Format::None);
            let mut out = Vec::new();
            decompressor.read_to_end(&mut out).unwrap();
            assert_eq!(out, bytes);
        }
    }
}
