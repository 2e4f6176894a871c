//! `kiln diff A B`: what one image of the store has that the other has not.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::path::Path;

use kiln_cache::{Entry, Found, Kind, path_order};
use serde_json::{Map, Value, json};

use super::{CommandError, Services, print};
use crate::local;
use crate::progress::size;

/// Compares two images by what the store knows of them: no file is read.
///
/// # Errors
/// If one is not there.
pub(crate) fn images(old: &str, new: &str, format: &str, services: &Services) -> Result<(), CommandError> {
    let store = &services.store;
    let image = |typed: &str| -> Result<_, CommandError> {
        let record = local::find(store, typed)?.record;
        let view = store.layers().view(&record.snapshot)?;
        let config = serde_json::to_value(local::full_config(store, &record)?)?;
        Ok((view, config, super::image_size(store, &record)?))
    };
    let (old, new) = (image(old)?, image(new)?);
    let files = files(&old.0.walk(Path::new("")), &new.0.walk(Path::new("")));
    let config = settings(&old.1, &new.1);
    let text = match format {
        "json" => {
            let value = json!({ "Files": files, "Config": config, "Size": { "Old": old.2, "New": new.2 } });
            format!("{}\n", serde_json::to_string_pretty(&value)?)
        }
        "table" => table(&files, &config, (old.2, new.2)),
        other => {
            return Err(CommandError::Usage(format!("unknown --format `{other}`: expected table or json")));
        }
    };
    print(&text)
}

/// Every path that differs in more than its time, sorted, as JSON.
fn files(old: &[Found<'_>], new: &[Found<'_>]) -> Vec<Value> {
    let mut changed = Vec::new();
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return changed,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(was), Some(is)) => path_order(&was.entry().path, &is.entry().path),
        };
        let was = if order.is_le() { old.next() } else { None };
        let is = if order.is_ge() { new.next() } else { None };
        if let (Some(was), Some(is)) = (was, is)
            && is_same(was, is)
        {
            continue;
        }
        let kind = match (was, is) {
            (None, _) => "A",
            (_, None) => "D",
            _ => "C",
        };
        let Some(found) = is.or(was) else { continue };
        changed.push(json!({
            "Kind": kind,
            "Path": format!("/{}", found.entry().path.display()),
            "Old": was.map(state),
            "New": is.map(state),
        }));
    }
}

fn is_same(was: &Found<'_>, is: &Found<'_>) -> bool {
    let (a, b) = (was.target(), is.target());
    a.attributes.same_but_mtime(&b.attributes)
        && match (was.content(), is.content()) {
            (Some(a), Some(b)) => a == b,
            (None, None) => a.kind == b.kind,
            _ => false,
        }
}

fn state(found: &Found<'_>) -> Value {
    let Entry { kind, attributes, .. } = found.target();
    let mut state = json!({
        "Mode": format!("{:04o}", attributes.mode), "Owner": format!("{}:{}", attributes.uid, attributes.gid),
    });
    if let Some(content) = found.content() {
        state["Size"] = content.size.into();
    }
    if let Kind::Symlink { target } = kind {
        state["Link"] = target.display().to_string().into();
    }
    if matches!(kind, Kind::Dir) {
        state["Directory"] = true.into();
    }
    state
}

/// The fields of two configurations that differ: their names with the old and the new value. History and layers say what the
/// files say.
fn settings(old: &Value, new: &Value) -> Map<String, Value> {
    let flat = |value: &Value| {
        let mut all = value["config"].as_object().cloned().unwrap_or_default();
        let top = value.as_object().into_iter().flatten();
        let top =
            top.filter(|(name, _)| ["architecture", "os", "variant", "author"].contains(&name.as_str()));
        all.extend(top.map(|(name, value)| (name.clone(), value.clone())));
        all
    };
    let (old, new) = (flat(old), flat(new));
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let pair = |name: &String| json!({ "Old": old.get(name), "New": new.get(name) });
    names.into_iter().filter(|name| old.get(*name) != new.get(*name)).map(|n| (n.clone(), pair(n))).collect()
}

fn table(files: &[Value], config: &Map<String, Value>, (old, new): (u64, u64)) -> String {
    let mut text = String::new();
    for file in files {
        let word = |name: &str| file[name].as_str().unwrap_or_default();
        let _ = writeln!(text, "{} {}{}", word("Kind"), word("Path"), remark(&file["Old"], &file["New"]));
    }
    for (name, pair) in config {
        let _ = writeln!(text, "config {name}: {} -> {}", pair["Old"], pair["New"]);
    }
    let _ = writeln!(text, "size: {} -> {}", size(old), size(new));
    text
}

/// What of a file is another, for people.
fn remark(old: &Value, new: &Value) -> String {
    let mut parts = Vec::new();
    for (name, label) in [("Size", ""), ("Mode", "mode "), ("Owner", "owner "), ("Link", "link ")] {
        let shown = |value: &Value| match value {
            Value::Number(bytes) => size(bytes.as_u64().unwrap_or_default()),
            other => other.as_str().unwrap_or("none").to_owned(),
        };
        match (&old[name], &new[name]) {
            (was, is) if was == is => {}
            (Value::Null, is) if name == "Size" => parts.push(shown(is)),
            (was, Value::Null) if name == "Size" => parts.push(shown(was)),
            (was, is) if !old.is_null() && !new.is_null() => {
                parts.push(format!("{label}{} -> {}", shown(was), shown(is)));
            }
            _ => {}
        }
    }
    if !old.is_null() && !new.is_null() && old["Size"] == new["Size"] && parts.is_empty() {
        parts.push("content".to_owned());
    }
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}
