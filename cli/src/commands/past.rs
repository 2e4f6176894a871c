//! `kiln history ls|inspect|logs|timeline|export|rm`: builds of the past.

use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::{CommandError, Format, Services, print};
use crate::args::HistoryCommand;
use crate::environment::{now_seconds, rfc3339};
use crate::history::{self, About, Model, Past, Step};
use crate::progress;
use crate::request::UsageError;
use crate::table::{Table, age};

/// Does what is asked with past builds.
///
/// # Errors
/// If there is no such build, or the store cannot be read.
pub(crate) fn past(command: &HistoryCommand, services: &Services) -> Result<(), CommandError> {
    let store = &services.store;
    let find = |id: &Option<String>| history::find(store, id.as_deref());
    match command {
        HistoryCommand::Ls { filter, quiet, format } => list(filter, *quiet, format, services),
        HistoryCommand::Inspect { build, format } => inspect(&find(build)?, format, services),
        HistoryCommand::Logs { build, progress } => logs(&find(build)?, progress, services),
        HistoryCommand::Timeline { build, output } => {
            let past = find(build)?;
            let model = model(&past, services)?;
            write(output.as_deref(), "timeline", &history::page(&past.about, &model))
        }
        HistoryCommand::Export { build, output } => {
            let past = find(build)?;
            let text = serde_json::to_string_pretty(&document(&past, services)?)?;
            write(output.as_deref(), "build", &format!("{text}\n"))
        }
        HistoryCommand::Rm { builds, all } => {
            let gone = match all {
                true => history::all(store)?,
                false => builds.iter().map(|id| history::find(store, Some(id))).collect::<Result<_, _>>()?,
            };
            for past in gone {
                store.past_builds().remove(&past.stored)?;
                print(&format!("{}\n", past.stored.id))?;
            }
            Ok(())
        }
    }
}

/// Lists past builds, the newest first.
pub(super) fn list(
    filters: &[String],
    quiet: bool,
    format: &str,
    services: &Services,
) -> Result<(), CommandError> {
    let format = Format::parse(format, &[Format::Table, Format::Json])?;
    let mut builds = history::all(&services.store)?;
    for filter in filters {
        match filter.split_once('=') {
            Some(("status", status)) => builds.retain(|past| past.about.status == status),
            Some(("name", part)) => builds.retain(|past| past.about.name.contains(part)),
            _ => {
                return Err(UsageError::value("filter", filter, "expected status=STATUS or name=PART").into());
            }
        }
    }
    let mut text = String::new();
    let mut table = Table::new(["BUILD ID", "NAME", "STATUS", "CREATED", "DURATION", "CACHED", "RUN"]);
    for past in &builds {
        let about = &past.about;
        if quiet {
            text.push_str(&format!("{}\n", past.stored.id));
        } else if format == Format::Json {
            text.push_str(&format!("{}\n", summary(past)?));
        } else {
            table.row([
                past.stored.id.clone(),
                about.name.clone(),
                about.status.clone(),
                age(now_seconds() - i64::try_from(about.started / 1000).unwrap_or_default()),
                duration(Duration::from_micros(about.took)),
                format!("{}/{}", about.cached, about.total),
                about.ran.to_string(),
            ]);
        }
    }
    if format == Format::Table && !quiet {
        text = table.to_string();
    }
    print(&text)
}

fn summary(past: &Past) -> Result<Value, CommandError> {
    let mut value = serde_json::to_value(&past.about)?;
    value["id"] = past.stored.id.clone().into();
    value["created"] = created(&past.about).into();
    Ok(value)
}

fn created(about: &About) -> String {
    rfc3339(SystemTime::UNIX_EPOCH + Duration::from_millis(about.started))
}

fn model(past: &Past, services: &Services) -> Result<Model, CommandError> {
    let told = history::told(&services.store, past)?;
    Ok(Model::of(&told.events, Duration::from_micros(past.about.took)))
}

/// A build with its steps, for machines.
fn document(past: &Past, services: &Services) -> Result<Value, CommandError> {
    let told = history::told(&services.store, past)?;
    let model = Model::of(&told.events, Duration::from_micros(past.about.took));
    let mut output = vec![String::new(); model.steps.len()];
    for (_, event) in &told.events {
        if let kiln_core::Event::Log { step, data, .. } = event {
            let digest = format!("sha256:{}", step.0.hex());
            if let Some(at) = model.steps.iter().position(|step| step.digest == digest) {
                output[at].push_str(&String::from_utf8_lossy(data));
            }
        }
    }
    let mut value = summary(past)?;
    let steps = model.steps.iter().zip(output).map(|(step, output)| {
        let mut value = step_value(step, &model);
        if !output.is_empty() {
            value["output"] = output.into();
        }
        value
    });
    value["steps"] = steps.collect();
    value["explanations"] = told.explained.into();
    Ok(value)
}

fn step_value(step: &Step, model: &Model) -> Value {
    let micros =
        |time: Option<Duration>| time.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    json!({
        "name": step.name,
        "digest": step.digest,
        "outcome": step.outcome.as_str(),
        "started": micros(step.started),
        "ended": micros(step.ended),
        "critical": step.critical,
        "inputs": step.inputs.iter().map(|&input| model.steps[input].digest.clone()).collect::<Vec<_>>(),
        "error": step.error,
    })
}

fn inspect(past: &Past, format: &str, services: &Services) -> Result<(), CommandError> {
    if Format::parse(format, &[Format::Text, Format::Json])? == Format::Json {
        let mut value = document(past, services)?;
        // What the steps wrote is asked for with `logs`.
        for step in value["steps"].as_array_mut().into_iter().flatten() {
            step.as_object_mut().map(|step| step.remove("output"));
        }
        return print(&format!("{}\n", serde_json::to_string_pretty(&value)?));
    }
    let about = &past.about;
    let mut text = String::new();
    let mut field = |name: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(&format!("{name:12} {value}\n"));
        }
    };
    field("Build", &past.stored.id);
    field("Name", &about.name);
    field("Status", &about.status);
    field("Created", &created(about));
    field("Duration", &duration(Duration::from_micros(about.took)));
    field("Context", &about.context);
    field("Dockerfile", &about.dockerfile);
    field("Target", about.target.as_deref().unwrap_or_default());
    field("Platforms", &about.platforms.join(", "));
    field("Tags", &about.tags.join(", "));
    field("Arguments", &about.arguments.join(", "));
    field("Steps", &format!("{} ({} cached, {} run)", about.total, about.cached, about.ran));
    field("Error", about.error.as_deref().unwrap_or_default());
    text.push('\n');
    let model = model(past, services)?;
    let mut table = Table::new(["", "START", "DURATION", "STATUS", "STEP"]);
    for step in &model.steps {
        table.row([
            if step.critical { "*".to_owned() } else { String::new() },
            step.started.map_or(String::new(), duration),
            step.started.map_or(String::new(), |_| duration(step.took())),
            step.outcome.as_str().to_owned(),
            step.name.lines().next().unwrap_or_default().chars().take(100).collect(),
        ]);
    }
    text.push_str(&table.to_string());
    text.push_str("\n* on the critical path: the build ends no sooner than these together\n");
    print(&text)
}

fn logs(past: &Past, format: &str, services: &Services) -> Result<(), CommandError> {
    let told = history::told(&services.store, past)?;
    let began = SystemTime::UNIX_EPOCH + Duration::from_millis(past.about.started);
    match format {
        "plain" => progress::replay_plain(&told.events),
        "rawjson" => progress::replay_rawjson(&told.events, began),
        other => return Err(UsageError::value("progress", other, "expected plain or rawjson").into()),
    }
    Ok(())
}

fn write(output: Option<&Path>, what: &'static str, text: &str) -> Result<(), CommandError> {
    let Some(path) = output else { return print(text) };
    std::fs::write(path, text).map_err(|cause| CommandError::File {
        verb: "write",
        what,
        path: path.to_owned(),
        cause,
    })
}

fn duration(time: Duration) -> String {
    history::seconds(time)
}
