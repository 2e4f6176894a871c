//! `kiln ps`.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::print;
use crate::args::PsArgs;
use crate::container::config::Config;
use crate::container::directory::Containers;
use crate::container::state::{State, Status};
use crate::container::{disk, id, ports};
use crate::environment::now;
use crate::error::CommandError;
use crate::request::UsageError;
use crate::request::pairs::has_label;
use crate::{table, template};

/// A container with all that is known of it.
struct Row {
    config: Config,
    state: State,
    name: String,
    size: u64,
}

/// Prints containers, the newest first.
///
/// # Errors
/// A filter or format that cannot be understood.
pub(crate) fn list(args: &PsArgs, containers: &Containers) -> Result<ExitCode, CommandError> {
    let filters = args.filter.iter().map(|text| filter(text)).collect::<Result<Vec<_>, _>>()?;
    let mut rows = Vec::new();
    for container in containers.all()? {
        // One that is being removed just now is passed over.
        if let (Ok(config), Ok(state)) = (container.config(), container.state()) {
            let size = if args.size { disk::bytes(&container.path.join("layer/tree")) } else { 0 };
            rows.push(Row { config, state, name: container.name(), size });
        }
    }
    rows.sort_by(|a, b| b.config.created.cmp(&a.config.created));
    let last = if args.latest { Some(1) } else { args.last };
    let asks_for_state = filters.iter().any(|(key, _)| ["status", "exited"].contains(&key.as_str()));
    if !args.all && last.is_none() && !asks_for_state {
        rows.retain(|row| row.state.status.is_active());
    }
    rows.retain(|row| passes(row, &filters));
    rows.truncate(last.unwrap_or(usize::MAX));
    if args.quiet {
        let ids = rows.iter().map(|row| shown_id(&row.config.id, args.no_trunc));
        print(&ids.map(|id| format!("{id}\n")).collect::<String>())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut columns = vec![
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("RunningFor", "CREATED"),
        ("Status", "STATUS"),
        ("Ports", "PORTS"),
        ("Names", "NAMES"),
    ];
    if args.size {
        columns.push(("Size", "SIZE"));
    }
    let values: Vec<Value> = rows.iter().map(|row| value(row, args.no_trunc)).collect();
    let text = template::list(&args.format, &columns, &values)?;
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn shown_id(id: &str, in_full: bool) -> &str {
    if in_full { id } else { id::short(id) }
}

fn value(row: &Row, in_full: bool) -> Value {
    let quoted = |word: &String| {
        let is_plain = !word.is_empty() && !word.contains(char::is_whitespace);
        if is_plain { word.clone() } else { format!("'{word}'") }
    };
    let command = row.config.process.args.iter().map(quoted).collect::<Vec<_>>().join(" ");
    let command = if in_full || command.chars().count() <= 20 {
        format!("\"{command}\"")
    } else {
        format!("\"{}…\"", command.chars().take(19).collect::<String>())
    };
    let labels: Vec<String> =
        row.config.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mounts: Vec<&str> = row
        .config
        .mounts
        .iter()
        .map(|mount| if mount.name.is_empty() { mount.source.as_str() } else { mount.name.as_str() })
        .collect();
    json!({
        "ID": shown_id(&row.config.id, in_full),
        "Image": row.config.image.name,
        "Command": command,
        "CreatedAt": row.config.created,
        "RunningFor": table::age(seconds_since(&row.config.created)),
        "Ports": ports::column(&row.state.network.published, if row.state.status.is_active() {
            &row.config.exposed
        } else {
            &[]
        }),
        "State": row.state.status.as_str(),
        "Status": status(&row.state),
        "Size": table_size(row.size),
        "Names": row.name,
        "Labels": labels.join(","),
        "Mounts": mounts.join(","),
        "LocalVolumes": row.config.mounts.iter().filter(|mount| mount.kind == "volume").count().to_string(),
        "Networks": row.config.network,
    })
}

fn table_size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut number = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if number < 1000.0 {
            return if unit == "B" { format!("{bytes}B") } else { format!("{number:.3}{unit}") };
        }
        number /= 1000.0;
    }
    format!("{number:.3}TB")
}

fn since(time: &str) -> Option<Duration> {
    let time: SystemTime = humantime::parse_rfc3339(time).ok()?;
    Some(now().duration_since(time).unwrap_or_default())
}

fn seconds_since(time: &str) -> i64 {
    since(time).map_or(0, |age| age.as_secs().cast_signed())
}

/// `Up 2 minutes (healthy)`, `Exited (0) 3 hours ago`.
fn status(state: &State) -> String {
    let ago = |time: &str| table::age(seconds_since(time));
    let up = |time: &str| ago(time).trim_end_matches(" ago").to_owned();
    match state.status {
        Status::Created => "Created".to_owned(),
        Status::Dead => "Dead".to_owned(),
        Status::Restarting => format!("Restarting ({}) {}", state.exit_code, ago(&state.finished)),
        Status::Exited => format!("Exited ({}) {}", state.exit_code, ago(&state.finished)),
        Status::Paused => format!("Up {} (Paused)", up(&state.started)),
        Status::Running => match &state.health {
            Some(health) if health.status == "starting" => {
                format!("Up {} (health: starting)", up(&state.started))
            }
            Some(health) => format!("Up {} ({})", up(&state.started), health.status),
            None => format!("Up {}", up(&state.started)),
        },
    }
}

/// `--filter KEY=VALUE`.
pub(crate) fn filter(text: &str) -> Result<(String, String), CommandError> {
    const KEYS: [&str; 11] = [
        "id", "name", "label", "status", "exited", "ancestor", "volume", "health", "before", "since",
        "network",
    ];
    let (key, value) = text.split_once('=').filter(|(key, _)| KEYS.contains(key)).ok_or_else(|| {
        UsageError::value("filter", text, &format!("expected KEY=VALUE with one of {}", KEYS.join(", ")))
    })?;
    if key == "status"
        && !["created", "running", "paused", "restarting", "exited", "dead", "removing"].contains(&value)
    {
        return Err(UsageError::value("filter", text, "no container has such a status").into());
    }
    if key == "exited" && value.parse::<i32>().is_err() {
        return Err(UsageError::value("filter", text, "expected an exit code").into());
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// Filters of one key are alternatives, but for labels; different keys have to fit all.
fn passes(row: &Row, filters: &[(String, String)]) -> bool {
    filters.iter().all(|(key, value)| match key.as_str() {
        "label" => has_label(&row.config.labels, value),
        _ => filters.iter().filter(|(other, _)| other == key).any(|(key, value)| fits(row, key, value)),
    })
}

fn fits(row: &Row, key: &str, value: &str) -> bool {
    match key {
        "id" => row.config.id.starts_with(value),
        "name" => {
            let value = value.trim_start_matches('/');
            match (value.strip_prefix('^'), value.strip_suffix('$')) {
                (Some(start), None) => row.name.starts_with(start.trim_start_matches('/')),
                (None, Some(end)) => row.name.ends_with(end),
                (Some(start), Some(_)) => row.name == start.trim_start_matches('/').trim_end_matches('$'),
                (None, None) => row.name.contains(value),
            }
        }
        "status" => row.state.status.as_str() == value,
        "exited" => {
            row.state.status == Status::Exited
                && value.parse::<i32>().is_ok_and(|code| code == row.state.exit_code)
        }
        "ancestor" => {
            let image = &row.config.image;
            image.name == value
                || image.name.split(':').next() == Some(value)
                || image.id.trim_start_matches("sha256:").starts_with(value.trim_start_matches("sha256:"))
        }
        "volume" => row
            .config
            .mounts
            .iter()
            .any(|mount| mount.name == value || mount.target == value || mount.source == value),
        "health" => row.state.health.as_ref().map_or("none", |health| health.status.as_str()) == value,
        "network" => row.config.network == value,
        _ => true,
    }
}
