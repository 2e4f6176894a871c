//! Inputs to begin with: texts of the corpus where it stands, and the cases that findings became.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The inputs in `cases/<target>`.
pub fn cases(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases").join(target);
    files(&folder, &|_| true)
}

/// The content of all files below `folder` of the shared data whose name `wanted` takes; none if there is no such data.
pub fn corpus_files(folder: &str, wanted: &dyn Fn(&str) -> bool) -> Vec<Vec<u8>> {
    files(&shared(folder), wanted)
}

/// All strings in the tables below `folder` of the shared data, keys left out.
pub fn corpus_texts(folder: &str) -> Vec<Vec<u8>> {
    let mut texts = Vec::new();
    for table in files(&shared(folder), &|name| name.ends_with(".json")) {
        collect(&serde_json::from_slice(&table).unwrap_or_default(), &mut texts);
    }
    texts.sort();
    texts.dedup();
    texts
}

fn shared(folder: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared")).join(folder)
}

/// In the order of their names, so that the same data make the same seeds.
fn files(folder: &Path, wanted: &dyn Fn(&str) -> bool) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() && !path.is_symlink() {
            found.extend(files(&path, wanted));
        } else if path.is_file() && wanted(&name) {
            found.extend(fs::read(&path));
        }
    }
    found
}

fn collect(value: &Value, texts: &mut Vec<Vec<u8>>) {
    match value {
        Value::String(text) => texts.push(text.clone().into_bytes()),
        Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        Value::Object(fields) => fields.values().for_each(|item| collect(item, texts)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
