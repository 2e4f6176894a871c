//! `kiln logs`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::args::LogsArgs;
use crate::container::client::Client;
use crate::container::directory::{Container, Containers};
use crate::container::log::{self, Line};
use crate::container::protocol::Ask;
use crate::environment::now;
use crate::error::CommandError;
use crate::request::UsageError;

/// Prints what a container wrote: standard output there, standard error here.
///
/// # Errors
/// If there is no such container, or a time cannot be understood.
pub(crate) fn logs(args: &LogsArgs, containers: &Containers) -> Result<ExitCode, CommandError> {
    let container = containers.find(&args.container)?;
    let since = args.since.as_deref().map(|text| time("since", text)).transpose()?;
    let until = args.until.as_deref().map(|text| time("until", text)).transpose()?;
    let wanted = Wanted { since, until, timestamps: args.timestamps };
    let tail = match args.tail.as_str() {
        "all" => None,
        text if text.starts_with('-') => None,
        text => Some(
            text.parse::<usize>().map_err(|_| UsageError::value("tail", text, "expected a number or all"))?,
        ),
    };
    let mut lines = Vec::new();
    let mut last = None;
    for path in log::files(&container.path) {
        let Ok(file) = File::open(&path) else { continue };
        let mut reader = BufReader::new(file);
        read(&mut reader, |line| {
            lines.push(line);
            // Only as many as will be printed are kept.
            if let Some(tail) = tail
                && lines.len() > tail.saturating_mul(2) + 1000
            {
                lines.drain(..lines.len() - tail);
            }
        });
        last = Some(reader);
    }
    let skipped = tail.map_or(0, |tail| lines.len().saturating_sub(tail));
    let mut open = true;
    for line in &lines[skipped..] {
        open = open && wanted.print(line);
    }
    if args.follow && open {
        follow(&container, last, &wanted)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints what comes until the container has ended. The log is a file that another process appends to: it is looked at when
/// that file grows, which inotify would tell, and at the container's end, which the supervisor tells.
fn follow(
    container: &Container,
    mut reader: Option<BufReader<File>>,
    wanted: &Wanted,
) -> Result<(), CommandError> {
    let client = Client::connect(container).ok();
    if let Some(client) = &client {
        client.ask(&Ask::Wait, &[])?;
    }
    let mut inode = None;
    let mut ended = client.is_none();
    loop {
        let mut open = true;
        if reader.is_none() {
            reader = File::open(container.path.join("log")).ok().map(BufReader::new);
        }
        if let Some(reader) = &mut reader {
            read(reader, |line| open = open && wanted.print(&line));
            inode = inode.or_else(|| number(reader.get_ref()));
        }
        if !open {
            return Ok(());
        }
        // A rotated log goes on in a new file.
        let now = File::open(container.path.join("log")).ok();
        if let (Some(file), true) = (&now, now.as_ref().and_then(number) != inode) {
            inode = number(file);
            reader = now.map(BufReader::new);
            continue;
        }
        if ended {
            return Ok(());
        }
        if let Some(client) = &client {
            let mut waiting = [PollFd::new(&client.socket, PollFlags::IN)];
            let pause = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
            ended = rustix::io::retry_on_intr(|| poll(&mut waiting, Some(&pause))).unwrap_or(1) > 0;
        }
    }
}

fn number(file: &File) -> Option<u64> {
    use std::os::unix::fs::MetadataExt as _;
    file.metadata().ok().map(|metadata| metadata.ino())
}

/// Reads whole lines; a half one is left for the next time.
fn read(reader: &mut BufReader<File>, mut each: impl FnMut(Line)) {
    use std::io::Seek as _;
    let mut text = Vec::new();
    loop {
        text.clear();
        match reader.by_ref().read_until(b'\n', &mut text) {
            Ok(0) | Err(_) => return,
            Ok(n) if text.last() != Some(&b'\n') => {
                let _ = reader.seek_relative(-i64::try_from(n).unwrap_or(0));
                let _ = reader.stream_position();
                return;
            }
            // A line that was cut off by a crash is passed over.
            Ok(_) => {
                if let Ok(line) = serde_json::from_slice(&text) {
                    each(line);
                }
            }
        }
    }
}

/// Which lines, and how.
struct Wanted {
    since: Option<SystemTime>,
    until: Option<SystemTime>,
    timestamps: bool,
}

impl Wanted {
    /// Whether somebody still reads.
    fn print(&self, line: &Line) -> bool {
        let time = humantime::parse_rfc3339(&line.time).ok();
        let before = |limit: Option<SystemTime>| limit.zip(time).is_some_and(|(limit, time)| time < limit);
        let after = |limit: Option<SystemTime>| limit.zip(time).is_some_and(|(limit, time)| time > limit);
        if before(self.since) || after(self.until) {
            return true;
        }
        let text = if self.timestamps { format!("{} {}", line.time, line.log) } else { line.log.clone() };
        let written = if line.stream == "stderr" {
            io::stderr().write_all(text.as_bytes())
        } else {
            let mut out = io::stdout().lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        };
        written.is_ok()
    }
}

/// RFC 3339, whole or in part, seconds since 1970, or a time that has passed since.
fn time(option: &str, text: &str) -> Result<SystemTime, CommandError> {
    if let Ok(ago) = humantime::parse_duration(text) {
        return Ok(now() - ago);
    }
    if let Ok(seconds) = text.parse::<f64>()
        && let Ok(since) = Duration::try_from_secs_f64(seconds)
    {
        return Ok(SystemTime::UNIX_EPOCH + since);
    }
    let padded = if text.len() == 10 { format!("{text}T00:00:00") } else { text.to_owned() };
    humantime::parse_rfc3339_weak(&padded).map_err(|_| {
        UsageError::value(option, text, "expected a time such as 2026-01-02T15:04:05 or 10m").into()
    })
}
