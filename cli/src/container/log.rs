//! What a container wrote: a JSON line each, as Docker's json-file driver has it, in `log`; older ones in `log.1` and on.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::config::LogOptions;
use crate::environment::{now, rfc3339};

/// A line longer than this is cut into several, without a line's end between.
const LONGEST: usize = 16 << 10;

/// A line of the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) log: String,
    pub(crate) stream: String,
    pub(crate) time: String,
}

/// Writes the log.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    options: LogOptions,
    file: Option<File>,
    size: u64,
    /// The beginnings of lines, of standard output and of standard error.
    begun: [Vec<u8>; 2],
}

/// Which of the two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    Err,
}

impl Log {
    /// The log in a container's directory; its file is made with its first line.
    pub(crate) fn new(directory: &Path, options: LogOptions) -> Self {
        Self { path: directory.join("log"), options, file: None, size: 0, begun: [Vec::new(), Vec::new()] }
    }

    /// Takes what was written to a stream.
    pub(crate) fn write(&mut self, stream: Stream, mut bytes: &[u8]) {
        if !self.options.keep {
            return;
        }
        let mut text = Vec::new();
        let time = rfc3339(now());
        while let Some(end) = bytes.iter().position(|&b| b == b'\n') {
            let (line, rest) = bytes.split_at(end + 1);
            bytes = rest;
            self.begun[stream as usize].extend_from_slice(line);
            while !self.begun[stream as usize].is_empty() {
                self.end_line(stream, &time, &mut text);
            }
        }
        self.begun[stream as usize].extend_from_slice(bytes);
        while self.begun[stream as usize].len() >= LONGEST {
            self.end_line(stream, &time, &mut text);
        }
        self.append(&text);
    }

    /// Writes down lines that have not ended.
    pub(crate) fn finish(&mut self) {
        let time = rfc3339(now());
        let mut text = Vec::new();
        for stream in [Stream::Out, Stream::Err] {
            if !self.begun[stream as usize].is_empty() {
                self.end_line(stream, &time, &mut text);
            }
        }
        self.append(&text);
    }

    fn end_line(&mut self, stream: Stream, time: &str, into: &mut Vec<u8>) {
        let begun = &mut self.begun[stream as usize];
        let line: Vec<u8> = begun.drain(..begun.len().min(LONGEST)).collect();
        let line = Line {
            log: String::from_utf8_lossy(&line).into_owned(),
            stream: if stream == Stream::Out { "stdout" } else { "stderr" }.to_owned(),
            time: time.to_owned(),
        };
        // Strings can always be written as JSON.
        if serde_json::to_writer(&mut *into, &line).is_ok() {
            into.push(b'\n');
        }
    }

    fn append(&mut self, text: &[u8]) {
        if text.is_empty() {
            return;
        }
        // A container is not ended because its log cannot be written: on a full disk lines are lost.
        let _ = match self.options.max_size {
            0 => self.try_append(text),
            _ => text.split_inclusive(|&b| b == b'\n').try_for_each(|line| self.try_append(line)),
        };
    }

    fn try_append(&mut self, text: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            let file = File::options().create(true).append(true).open(&self.path)?;
            self.size = file.metadata()?.len();
            self.file = Some(file);
        }
        let limit = self.options.max_size;
        if limit > 0 && self.size > 0 && self.size + text.len() as u64 > limit {
            self.rotate()?;
        }
        if let Some(file) = &mut self.file {
            file.write_all(text)?;
            self.size += text.len() as u64;
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        let number = |n: u32| self.path.with_file_name(format!("log.{n}"));
        let files = self.options.max_file.max(1);
        if files == 1 {
            fs::remove_file(&self.path)?;
        } else {
            for n in (1..files - 1).rev() {
                let _ = fs::rename(number(n), number(n + 1));
            }
            fs::rename(&self.path, number(1))?;
        }
        self.file = Some(File::options().create(true).append(true).open(&self.path)?);
        self.size = 0;
        Ok(())
    }
}

/// The files of a container's log, oldest first.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        (1..).map(|n| directory.join(format!("log.{n}"))).take_while(|path| path.exists()).collect();
    found.reverse();
    found.push(directory.join("log"));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(directory: &Path) -> Vec<(String, String)> {
        let text = files(directory).into_iter().map(|file| fs::read_to_string(file).unwrap_or_default());
        let text: String = text.collect();
        let parse = |line| serde_json::from_str::<Line>(line).unwrap();
        text.lines().map(parse).map(|line| (line.stream, line.log)).collect()
    }

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("kiln-log-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn lines_are_put_together_and_long_ones_cut() {
        let directory = scratch("lines");
        let mut log = Log::new(&directory, LogOptions::default());
        log.write(Stream::Out, b"one\ntw");
        log.write(Stream::Err, b"other\n");
        log.write(Stream::Out, b"o\n");
        log.write(Stream::Out, &[b'x'; LONGEST + 3]);
        log.finish();
        let found = lines(&directory);
        let short: Vec<(&str, &str)> = found[..3].iter().map(|(s, l)| (s.as_str(), l.as_str())).collect();
        assert_eq!(short, [("stdout", "one\n"), ("stderr", "other\n"), ("stdout", "two\n")]);
        assert_eq!(found[3..].iter().map(|(_, line)| line.len()).collect::<Vec<_>>(), [LONGEST, 3]);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_full_file_makes_way_for_another() {
        let directory = scratch("rotation");
        let options = LogOptions { keep: true, max_size: 250, max_file: 3 };
        let mut log = Log::new(&directory, options);
        for n in 0..20 {
            log.write(Stream::Out, format!("line {n}\n").as_bytes());
        }
        assert_eq!(files(&directory).len(), 3);
        let found = lines(&directory);
        assert_eq!(found.last().unwrap().1, "line 19\n");
        assert!(found.len() < 20);
        fs::remove_dir_all(directory).unwrap();
    }
}
