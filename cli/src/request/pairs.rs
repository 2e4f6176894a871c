//! `K=V` options: labels, build arguments, environment variables.

use std::collections::BTreeMap;
use std::path::Path;

use crate::environment::Environment;
use crate::request::UsageError;

/// Labels and annotations: `K=V`; `K` alone has the empty value.
pub(crate) fn labels(typed: &[String]) -> BTreeMap<String, String> {
    typed
        .iter()
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key.to_owned(), value.to_owned())
        })
        .collect()
}

/// Variables: `K=V`; `K` alone takes the value of the environment and is left out if there is none.
pub(crate) fn variables(typed: &[String], environment: &Environment) -> Vec<(String, String)> {
    typed
        .iter()
        .filter_map(|pair| match pair.split_once('=') {
            Some((key, value)) => Some((key.to_owned(), value.to_owned())),
            None => Some((pair.clone(), environment.get(pair)?.to_owned())),
        })
        .collect()
}

/// The variables of a file: `K=V` or `K` a line, `#` begins a comment.
pub(crate) fn file(path: &Path, environment: &Environment) -> Result<Vec<(String, String)>, UsageError> {
    let text = std::fs::read_to_string(path).map_err(|cause| UsageError::Read {
        what: "environment file",
        path: path.to_owned(),
        cause,
    })?;
    let lines: Vec<String> = text
        .lines()
        .map(str::trim_start)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect();
    if let Some(bad) = lines.iter().find(|line| line.starts_with('=')) {
        return Err(UsageError::value("env-file", bad, "no name before `=`"));
    }
    Ok(variables(&lines, environment))
}

/// Whether `wanted`, `K` or `K=V`, is among `labels`.
pub(crate) fn has_label(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((name, value)) => labels.get(name).is_some_and(|found| found == value),
        None => labels.contains_key(wanted),
    }
}
