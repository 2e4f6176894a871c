//! `kiln stats`.

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{print, running};
use crate::args::StatsArgs;
use crate::container::client::Client;
use crate::container::directory::{Container, Containers};
use crate::container::id;
use crate::container::protocol::{Answer, Ask};
use crate::container::usage::Usage;
use crate::error::CommandError;
use crate::progress::size;
use crate::template;

/// Between two looks: processor time is a difference.
const BETWEEN: Duration = Duration::from_secs(1);

const COLUMNS: [(&str, &str); 8] = [
    ("ID", "CONTAINER ID"),
    ("Name", "NAME"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
];

/// Prints what containers take, again and again unless one look is enough.
///
/// # Errors
/// If a container that was named does not run.
pub(crate) fn stats(args: &StatsArgs, containers: &Containers) -> Result<ExitCode, CommandError> {
    for name in &args.containers {
        // A name that is wrong is an error; a container that ends meanwhile is not.
        if args.all { containers.find(name).map(drop) } else { running(containers, name).map(drop) }?;
    }
    let mut before = look(args, containers)?;
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
    loop {
        std::thread::sleep(BETWEEN);
        let now = look(args, containers)?;
        let rows: Vec<Value> =
            now.iter().map(|seen| row(seen, before.get(&seen.id), args.no_trunc)).collect();
        let text = template::list(&args.format, &COLUMNS, &rows)?;
        // Over what was shown before.
        let clear = if args.no_stream || !is_terminal { "" } else { "\x1b[H\x1b[2J" };
        print(&format!("{clear}{text}"))?;
        if args.no_stream {
            return Ok(ExitCode::SUCCESS);
        }
        before = now;
    }
}

/// A container at a moment.
#[derive(Debug, Clone)]
struct Seen {
    id: String,
    name: String,
    usage: Usage,
    limit: u64,
    at: Instant,
}

/// All that were looked at, in order.
#[derive(Debug)]
struct Look(Vec<Seen>, HashMap<String, usize>);

impl Look {
    fn iter(&self) -> impl Iterator<Item = &Seen> {
        self.0.iter()
    }

    fn get(&self, id: &str) -> Option<&Seen> {
        self.1.get(id).map(|&index| &self.0[index])
    }
}

fn look(args: &StatsArgs, containers: &Containers) -> Result<Look, CommandError> {
    let mut wanted: Vec<Container> = if args.containers.is_empty() {
        containers.all()?
    } else {
        // One that was removed meanwhile is no error.
        args.containers.iter().filter_map(|name| containers.find(name).ok()).collect()
    };
    if args.containers.is_empty() {
        wanted.sort_by_cached_key(|container| container.config().map(|config| config.created).ok());
    }
    let mut seen = Vec::new();
    for container in wanted {
        let (Ok(config), Ok(state)) = (container.config(), container.state()) else { continue };
        let usage = match state.status.is_active() {
            true => usage(&container),
            false if args.all => Some(Usage::default()),
            false => None,
        };
        let Some(usage) = usage else { continue };
        let limit =
            config.process.memory.and_then(|bytes| u64::try_from(bytes).ok()).filter(|&bytes| bytes > 0);
        let limit = limit.unwrap_or_else(|| rustix::system::sysinfo().totalram as u64);
        seen.push(Seen { name: container.name(), id: container.id, usage, limit, at: Instant::now() });
    }
    let places = seen.iter().enumerate().map(|(index, seen)| (seen.id.clone(), index)).collect();
    Ok(Look(seen, places))
}

/// Asked of the supervisor: an ordinary user may not look at all processes of a container.
fn usage(container: &Container) -> Option<Usage> {
    match Client::connect(container).and_then(|client| client.call(&Ask::Usage)) {
        Ok((Answer::Text(text), _)) => serde_json::from_str(&text).ok(),
        _ => None,
    }
}

fn row(seen: &Seen, before: Option<&Seen>, in_full: bool) -> Value {
    let usage = &seen.usage;
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    let percent = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 };
    let cpu = before.map_or(0.0, |before| {
        let passed = u64::try_from(seen.at.duration_since(before.at).as_millis()).unwrap_or(u64::MAX);
        percent(usage.cpu.saturating_sub(before.usage.cpu), passed)
    });
    let id = if in_full { seen.id.as_str() } else { id::short(&seen.id) };
    json!({
        "ID": id,
        "Container": id,
        "Name": seen.name,
        "CPUPerc": format!("{cpu:.2}%"),
        "MemUsage": format!("{} / {}", binary(usage.memory), binary(seen.limit)),
        "MemPerc": format!("{:.2}%", percent(usage.memory, seen.limit)),
        "NetIO": format!("{} / {}", size(usage.network.0), size(usage.network.1)),
        "BlockIO": format!("{} / {}", size(usage.blocks.0), size(usage.blocks.1)),
        "PIDs": usage.tasks.to_string(),
    })
}

/// `12.5MiB`, as Docker writes memory.
fn binary(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    #[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit < UNITS.len() - 1 {
        value /= 1024.0;
        unit += 1;
    }
    match value {
        _ if unit == 0 => format!("{bytes}B"),
        v if v >= 1000.0 => format!("{v:.0}{}", UNITS[unit]),
        v if v >= 100.0 => format!("{v:.1}{}", UNITS[unit]),
        v if v >= 10.0 => format!("{v:.2}{}", UNITS[unit]),
        v => format!("{v:.3}{}", UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_counted_in_powers_of_1024() {
        for (bytes, shown) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.000KiB"),
            (13_107_200, "12.50MiB"),
            (209_715_200, "200.0MiB"),
        ] {
            assert_eq!(binary(bytes), shown);
        }
    }
}
