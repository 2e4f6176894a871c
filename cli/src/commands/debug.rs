//! `kiln debug`: what kiln makes of a Dockerfile, for people and for tests.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;

use kiln_core::pattern::Ignore;
use kiln_core::{Progress, SourceFile};
use kiln_frontend::expand::expansion_json;
use kiln_frontend::{GraphFormat, show_graph};
use serde_json::json;

use super::{CommandError, Format, print};
use crate::args::{BuildArgs, DebugCommand};
use crate::build::look_before;
use crate::call::lowered;
use crate::environment::Environment;
use crate::look::{self, ShellLook};
use crate::progress::Reporter;
use crate::request::{BuildRequest, UsageError, pairs};
use crate::source::BuildSource;
use crate::wiring::Services;

/// Answers a debug command.
///
/// # Errors
/// A file that cannot be read or understood.
pub(crate) fn debug(command: &DebugCommand, environment: &Environment) -> Result<(), CommandError> {
    match command {
        DebugCommand::Ast { file } => ast(file),
        DebugCommand::Expand { env_file, escape } => expand(env_file.as_deref(), *escape, environment),
        DebugCommand::Ignore { file, format, paths } => ignore(file, format, paths),
        // They need the store: base images have a say in the graph.
        DebugCommand::Graph { .. } | DebugCommand::Shell { .. } => Ok(()),
    }
}

fn read(what: &'static str, path: &Path) -> Result<String, CommandError> {
    let fail = |cause| CommandError::File { verb: "read", what, path: path.to_owned(), cause };
    let bytes = std::fs::read(path).map_err(fail)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn ast(path: &Path) -> Result<(), CommandError> {
    let file = SourceFile::new(path.display().to_string(), read("Dockerfile", path)?);
    let parsed = kiln_frontend::parse(&file);
    print(&kiln_frontend::dump(&parsed.dockerfile))?;
    if parsed.is_sound() {
        Ok(())
    } else {
        Err(kiln_core::Diagnostics { file, items: parsed.diagnostics }.into())
    }
}

/// Words from standard input, a JSON line each, in the form of the conformance data.
fn expand(env_file: Option<&Path>, escape: char, environment: &Environment) -> Result<(), CommandError> {
    let variables: BTreeMap<String, String> = match env_file {
        Some(path) => pairs::file(path, environment)?.into_iter().collect(),
        None => BTreeMap::new(),
    };
    for line in std::io::stdin().lock().lines() {
        let word = line.map_err(CommandError::Input)?;
        print(&format!("{}\n", expansion_json(&word, escape, &variables)))?;
    }
    Ok(())
}

fn ignore(file: &Path, format: &str, paths: &[String]) -> Result<(), CommandError> {
    let format = Format::parse(format, &[Format::Text, Format::Json])?;
    let text = read("ignore file", file)?;
    let ignore =
        Ignore::parse(&text).map_err(|error| CommandError::Usage(format!("{}: {error}", file.display())))?;
    for path in paths {
        let decision = ignore.decide(path);
        let rule = decision.by.map(|rule| (rule.text.clone(), rule.line));
        match format {
            Format::Json => {
                let (pattern, line) = match &rule {
                    Some((pattern, line)) => (Some(pattern), Some(line)),
                    None => (None, None),
                };
                let value =
                    json!({ "path": path, "excluded": decision.excluded, "pattern": pattern, "line": line });
                print(&format!("{value}\n"))?;
            }
            _ => {
                let what = if decision.excluded { "excluded" } else { "sent" };
                let why = rule.map_or(String::new(), |(pattern, line)| format!(" by line {line}: {pattern}"));
                print(&format!("{path}: {what}{why}\n"))?;
            }
        }
    }
    Ok(())
}

/// Prints the graph that a build is lowered to, without building it.
///
/// # Errors
/// As for the build, up to its lowering.
pub(crate) fn graph(format: &str, args: &BuildArgs, services: &Services) -> Result<(), CommandError> {
    let format = match format {
        "text" => GraphFormat::Text,
        "json" => GraphFormat::Json,
        "dot" => GraphFormat::Dot,
        other => return Err(UsageError::value("format", other, "expected text, json or dot").into()),
    };
    let request = BuildRequest::new(args, &services.environment)?;
    let source = BuildSource::open(&request, services)?;
    let lowered = lowered(&request, &source, services)?;
    print(&show_graph(&lowered.graph, lowered.root, format))
}

/// Opens a shell in the state before a RUN step.
///
/// # Errors
/// As for the build up to there; without a terminal.
pub(crate) fn shell(step: &str, args: &BuildArgs, services: &Services) -> Result<(), CommandError> {
    if !look::has_terminal() {
        return Err(CommandError::Usage(
            "kiln debug shell needs a terminal: standard input and error are none".to_owned(),
        ));
    }
    let request = BuildRequest::new(args, &services.environment)?;
    let source = BuildSource::open(&request, services)?;
    let reporter = Arc::new(Reporter::start(request.progress, &services.environment, "Building"));
    let progress: Arc<dyn Progress> = Arc::clone(&reporter) as _;
    let look = Arc::new(ShellLook::before(Arc::clone(&reporter), &services.environment));
    let ended = services.runtime()?.block_on(async {
        tokio::select! {
            ended = look_before(&request, &source, services, &progress, (step, look)) => ended,
            () = super::build::interrupted() => Err(CommandError::Interrupted),
        }
    });
    reporter.close();
    ended
}
