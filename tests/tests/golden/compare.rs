//! Expected and performed, aspect by aspect.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use kiln_tests::Entry;
use regex::Regex;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::case::{Case, Cases};
use crate::performed::Performed;

/// The parts of a result, as they are counted.
pub(crate) const ASPECTS: [&str; 10] = [
    "ok",
    "error line",
    "config",
    "history",
    "layer count",
    "files",
    "layers",
    "warnings",
    "run output",
    "lint",
];

/// SHA-256 of the busybox that the golden results were made with.
const GOLDEN_BUSYBOX: &str = "5626c86dfd2089351908253dda9263f06b87ce3a1a420499925302172f07ec85";

/// An aspect and, if kiln differs there, how.
pub(crate) type Verdict = (&'static str, Result<(), String>);

/// Compares whatever golden records about a case.
pub(crate) fn all(case: &Case, cases: &Cases, performed: &Performed) -> Vec<Verdict> {
    let expect = &case.expect;
    if case.is_lint() {
        return vec![("lint", same(&or_empty(&expect["lint"]), &lint(performed)))];
    }
    let succeeded = performed.outcome.code == 0;
    let agree = succeeded == case.succeeds();
    let mut verdicts = vec![("ok", if agree { Ok(()) } else { Err(disagreement(case, performed)) })];
    if !agree {
        return verdicts;
    }
    if let Some(line) = expect["error_line"].as_u64() {
        verdicts.push(("error line", same(&json!(line), &json!(error_line(&performed.outcome.stderr)))));
    }
    if case.succeeds() || expect["warnings"].is_array() {
        verdicts.push(("warnings", same(&or_empty(&expect["warnings"]), &warnings(performed))));
    }
    if !case.is_unstable("run_output") && (case.succeeds() || expect["run_output"].is_array()) {
        verdicts.push(("run output", same(&run_output(&or_empty(&expect["run_output"])), &said(performed))));
    }
    if case.succeeds() {
        verdicts.extend(image(case, cases, performed));
    }
    verdicts
}

/// The line of the Dockerfile that an error points to: ` --> Dockerfile:3:1`.
fn error_line(stderr: &str) -> Option<u64> {
    let place = stderr.lines().find_map(|line| line.trim_start().strip_prefix("--> "))?;
    place.rsplit(':').nth(1)?.parse().ok()
}

fn disagreement(case: &Case, performed: &Performed) -> String {
    match &case.expect["error"] {
        Value::String(error) => format!("should fail: {error}"),
        _ => {
            let text = performed.outcome.text();
            let told: Vec<&str> = text.lines().filter(|line| !line.starts_with('{')).collect();
            let tail = told[told.len().saturating_sub(15)..].join("\n");
            format!("should succeed, ended with {}:\n{tail}", performed.outcome.code)
        }
    }
}

fn or_empty(list: &Value) -> Value {
    if list.is_array() { list.clone() } else { json!([]) }
}

fn same(expected: &Value, actual: &Value) -> Result<(), String> {
    if expected == actual {
        return Ok(());
    }
    let (Some(left), Some(right)) = (expected.as_array(), actual.as_array()) else {
        return Err(format!("expected {expected}\n     got {actual}"));
    };
    let only = |list: &[Value], other: &[Value], mark: &str| {
        list.iter()
            .filter(|item| !other.contains(item))
            .map(|item| format!("{mark} {item}\n"))
            .collect::<String>()
    };
    let differences = only(left, right, "-") + &only(right, left, "+");
    Err(if differences.is_empty() { format!("order or number: {expected}\n{actual}") } else { differences })
}

fn image(case: &Case, cases: &Cases, performed: &Performed) -> Vec<Verdict> {
    let Some(image) = &performed.image else {
        return vec![("files", Err("the exported layout cannot be read back".to_owned()))];
    };
    let expect = &case.expect;
    let mut config = image.config.clone();
    let parts = config.as_object_mut().expect("a configuration is an object");
    let created = parts.remove("created");
    let history = parts.remove("history").unwrap_or_default();
    parts.remove("rootfs");
    let count = image.layers.len();
    let below = layers_of_base(&expect["base"], case, cases);
    let added = image.layers.get(below..).unwrap_or_default();

    let mut verdicts = vec![
        ("config", same(&expect["image"], &config)),
        ("history", same(&own_history(&expect["history"]), &own_history(&history))),
        ("layer count", same(&expect["diff_id_count"], &json!(count))),
        ("files", files(expected_layers(expect), added)),
        ("layers", layers(&expected_layers(expect), added)),
    ];
    if expect["created"].is_string() {
        let times = history.as_array().into_iter().flatten().map(|entry| entry["created"].clone()).collect();
        let epoch = same(&expect["created"], &created.unwrap_or_default());
        verdicts.push((
            "history",
            epoch.and_then(|()| same(last(&expect["history_created"]), last(&Value::Array(times)))),
        ));
    }
    verdicts
}

/// The last of a list.
fn last(list: &Value) -> &Value {
    list.as_array().and_then(|list| list.last()).unwrap_or(&Value::Null)
}

/// The history without times and without the entry of the imported base, which each importer words in its own way.
fn own_history(history: &Value) -> Value {
    let mut history = or_empty(history);
    for entry in history.as_array_mut().into_iter().flatten() {
        entry.as_object_mut().expect("a history entry").remove("created");
    }
    let is_base = |entry: &Value| entry["created_by"] == "base" || entry["comment"] == "base";
    history.as_array_mut().expect("a list").retain(|entry| !is_base(entry));
    history
}

fn layers_of_base(base: &Value, case: &Case, cases: &Cases) -> usize {
    let base = base.as_str().unwrap_or_default();
    match base.strip_prefix("parent:") {
        Some(reference) => {
            let parent = cases.get(&case.options.parents[reference]);
            parent.expect["diff_id_count"].as_u64().expect("the parent was built") as usize
        }
        None => usize::from(base != "scratch"),
    }
}

fn expected_layers(expect: &Value) -> Vec<&Vec<Value>> {
    let layers = expect["layers"].as_array().into_iter().flatten();
    layers.map(|layer| layer["entries"].as_array().expect("no case lists more than 500 entries")).collect()
}

/// Layer by layer, entry by entry, times included.
fn layers(expected: &[&Vec<Value>], actual: &[Arc<[Entry]>]) -> Result<(), String> {
    let mut differences = String::new();
    for index in 0..expected.len().max(actual.len()) {
        let left: BTreeMap<_, _> = expected.get(index).into_iter().flat_map(|l| by_path(l)).collect();
        let entries: Vec<Value> =
            actual.get(index).into_iter().flat_map(|layer| layer.iter()).map(form).collect();
        let right = by_path(&entries);
        let paths: BTreeSet<_> = left.keys().chain(right.keys()).collect();
        for path in paths {
            let difference = match (left.get(path), right.get(path)) {
                (Some(left), Some(right)) => entry(left, right, true),
                (Some(left), None) => Some(format!("- {left}")),
                (None, right) => right.map(|right| format!("+ {right}")),
            };
            differences.extend(difference.map(|text| format!("layer {index}: {text}\n")));
        }
    }
    if differences.is_empty() { Ok(()) } else { Err(differences) }
}

/// What all layers together hold: contents, owners and modes, without times. Directories that only one side lists are
/// a matter of the layers' form.
fn files(expected: Vec<&Vec<Value>>, actual: &[Arc<[Entry]>]) -> Result<(), String> {
    let actual: Vec<Vec<Value>> = actual.iter().map(|layer| layer.iter().map(form).collect()).collect();
    let (left, right) = (together(expected), together(actual.iter().collect()));
    let mut differences = String::new();
    for path in left.keys().chain(right.keys()).collect::<BTreeSet<_>>() {
        let difference = match (left.get(path), right.get(path)) {
            (Some(left), Some(right)) => entry(left, right, false),
            (one, other) => {
                let (mark, value) = one.map_or(("+", other), |value| ("-", Some(value)));
                value.filter(|value| value["type"] != "dir").map(|value| format!("{mark} {value}"))
            }
        };
        differences.extend(difference.map(|text| text + "\n"));
    }
    if differences.is_empty() { Ok(()) } else { Err(differences) }
}

fn together(layers: Vec<&Vec<Value>>) -> BTreeMap<String, Value> {
    let mut merged: BTreeMap<String, Value> = BTreeMap::new();
    for layer in layers {
        for (path, value) in by_path(layer) {
            let (dir, name) = path.rsplit_once('/').map_or(("", &*path), |(dir, name)| (dir, name));
            let full = |name: &str| if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") };
            if let Some(gone) = name.strip_prefix(".wh.") {
                let gone = full(gone);
                merged.retain(|key, _| *key != gone && !key.starts_with(&format!("{gone}/")));
            } else {
                merged.remove(&full(&format!(".wh.{name}")));
            }
            merged.insert(path.trim_end_matches('/').to_owned(), value);
        }
    }
    merged
}

fn by_path(entries: &[Value]) -> BTreeMap<String, Value> {
    let path = |entry: &Value| entry["path"].as_str().expect("an entry has a path").to_owned();
    entries.iter().map(|entry| (path(entry), without_busybox(entry.clone()))).collect()
}

/// Busybox itself is of another version on each machine.
fn without_busybox(mut entry: Value) -> Value {
    static OURS: LazyLock<String> = LazyLock::new(|| {
        let binary = std::fs::read("/bin/busybox").expect("busybox is installed");
        Sha256::digest(binary).iter().map(|byte| format!("{byte:02x}")).collect()
    });
    let fields = entry.as_object_mut().expect("an entry is an object");
    if fields.get("sha256").is_some_and(|sha256| sha256 == GOLDEN_BUSYBOX || sha256 == OURS.as_str()) {
        fields.insert("sha256".to_owned(), json!("busybox"));
        fields.remove("size");
    }
    entry
}

/// How two entries of one path differ, if they do.
fn entry(expected: &Value, actual: &Value, times: bool) -> Option<String> {
    let fields = |value: &Value| value.as_object().cloned().expect("an entry is an object");
    let (mut left, mut right) = (fields(expected), fields(actual));
    let unstable = left.remove("unstable").unwrap_or_default();
    for field in unstable.as_array().into_iter().flatten().filter_map(Value::as_str) {
        left.remove(field);
        right.remove(field);
    }
    let recent = right.get("mtime").and_then(Value::as_i64).is_some_and(is_recent);
    if !times || recent && !left.contains_key("mtime") || left["type"] == "dir" && !left.contains_key("mtime")
    {
        left.remove("mtime");
        right.remove("mtime");
    }
    // An absent time of a link or a file is "about now"; what was not in this layer's making keeps its base's time.
    (left != right)
        .then(|| format!("expected {}\n         got {}", Value::Object(left), Value::Object(right)))
}

fn is_recent(time: i64) -> bool {
    let now = std::time::UNIX_EPOCH.elapsed().expect("a clock after 1970").as_secs();
    i64::try_from(now).expect("the clock fits").abs_diff(time) < 24 * 3600
}

/// An entry as golden writes it.
fn form(entry: &Entry) -> Value {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    put("path", json!(entry.path));
    put("type", json!(entry.kind.name()));
    put("mode", json!(format!("{:04o}", entry.mode)));
    for (name, id) in [("uid", entry.uid), ("gid", entry.gid)] {
        if id != 0 {
            put(name, json!(id));
        }
    }
    if entry.kind.name() == "file" {
        put("size", json!(entry.size));
    }
    if let Some(sha256) = &entry.sha256 {
        put("sha256", json!(sha256));
    }
    if let Some(link) = &entry.link {
        put("link", json!(link));
    }
    if let Some((major, minor)) = entry.dev.filter(|_| entry.kind.name() != "fifo") {
        put("dev", json!([major, minor]));
    }
    if !entry.pax.is_empty() {
        put("pax", json!(entry.pax));
    }
    if let Some((user, group)) = &entry.names {
        put("names", json!([user, group]));
    }
    put("mtime", json!(entry.mtime));
    Value::Object(fields)
}

fn sorted(mut list: Vec<Value>) -> Value {
    list.sort_by_key(|value| (value["line"].as_u64(), value.to_string()));
    Value::Array(list)
}

fn warnings(performed: &Performed) -> Value {
    let list = performed.progress.warnings.iter();
    let mut list: Vec<Value> = list
        .map(|w| {
            let mut fields = json!({"rule": w.rule, "message": w.message});
            if let Some(line) = w.line {
                fields["line"] = json!(line);
            }
            fields
        })
        .collect();
    list.sort_by_key(|warning| warning["line"].as_u64());
    Value::Array(list)
}

fn lint(performed: &Performed) -> Value {
    let Ok(report) = serde_json::from_slice::<Value>(&performed.outcome.stdout) else {
        return json!([{"unreadable": performed.outcome.text()}]);
    };
    let warnings = report["warnings"].as_array().cloned().unwrap_or_default();
    sorted(
        warnings
            .iter()
            .map(|w| json!({"rule": w["ruleName"], "message": w["detail"], "line": w["location"]["ranges"][0]["start"]["line"]}))
            .collect(),
    )
}

/// Longer outputs were cut.
const CUT: usize = 1500;

/// What may be compared: cut, and without the times of `ls -l`, for each golden build had a context of its own time.
fn comparable(text: &str) -> String {
    static TIME: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"[A-Z][a-z]{2} [ \d]\d +(\d{4}|\d\d:\d\d)").expect("a pattern"));
    // A newer busybox counts lines in its complaints.
    TIME.replace_all(text, "<time>").replace("/bin/sh: line 0: ", "/bin/sh: ").chars().take(CUT).collect()
}

fn run_output(list: &Value) -> Value {
    let text = |value: &Value| comparable(value.as_str().unwrap_or_default());
    let list = list.as_array().into_iter().flatten();
    sorted(list.map(|o| json!([o["step"], text(&o["stdout"]), text(&o["stderr"])])).collect())
}

fn said(performed: &Performed) -> Value {
    let steps = performed.progress.steps.iter().filter_map(|step| {
        let name = step.name.split_once("] ").map_or(&*step.name, |(_, name)| name);
        let spoke = !(step.stdout.is_empty() && step.stderr.is_empty());
        (spoke && (name.starts_with("RUN") || name.starts_with("ONBUILD RUN")))
            .then(|| json!([name, comparable(&step.stdout), comparable(&step.stderr)]))
    });
    sorted(steps.collect())
}
