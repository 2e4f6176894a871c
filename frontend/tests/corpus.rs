//! Rows and Dockerfiles of the corpus that need nothing but the frontend.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod world;

use std::path::{Path, PathBuf};

use kiln_core::{Diagnostics, SourceFile};
use kiln_frontend::{Lowered, Options, lower, parse, plan, resolve};
use serde_json::Value;
use world::{Images, amd64, ready};

fn corpus(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpus")).join(name)
}

fn table(name: &str) -> Vec<Value> {
    let Ok(text) = std::fs::read_to_string(corpus(name)) else {
        println!("skipped: ../shared is absent");
        return Vec::new();
    };
    serde_json::from_str(&text).expect("the corpus is JSON")
}

fn build(text: &str, options: &Options) -> Result<Lowered, Diagnostics> {
    let file = SourceFile::new("Dockerfile", text);
    let parsed = parse(&file);
    if !parsed.is_sound() {
        return Err(Diagnostics { file, items: parsed.diagnostics });
    }
    let stages = plan(&parsed.dockerfile, options)?;
    let bases = ready(resolve(&stages, &Images { others: true, ..Images::default() }))?;
    lower(&stages, &bases)
}

fn dockerfiles(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            dockerfiles(&path, found);
        } else if name.starts_with("Dockerfile") && !name.ends_with(".template") {
            found.push(path);
        }
    }
}

#[test]
fn every_real_dockerfile_lowers() {
    let mut files = Vec::new();
    dockerfiles(&corpus("real-dockerfiles"), &mut files);
    if files.is_empty() {
        println!("skipped: ../shared is absent");
    }
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut options = Options::for_platform(amd64());
        options.all_stages = true;
        if path.components().any(|part| part.as_os_str().to_string_lossy().starts_with("windows")) {
            options.platform = kiln_core::Platform::new("windows", "amd64", "");
        }
        let lowered = build(&text, &options).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(!lowered.graph.is_empty());
    }
}

#[test]
fn conversions_fail_where_the_references_do() {
    for row in table("tables/buildkit/convert/dockerfile_errors.json") {
        let mut options = Options::for_platform(amd64());
        options.target = row["target"].as_str().filter(|target| !target.is_empty()).map(str::to_owned);
        let result = build(row["dockerfile"].as_str().unwrap(), &options);
        assert_eq!(result.is_err(), row["error"].as_bool().unwrap(), "{row}");
        if let (Err(error), Some(expected)) = (&result, row["error_equals"].as_str()) {
            assert_eq!(error.items[0].message, expected, "{row}");
        }
    }
}

#[test]
fn small_facts_of_the_converter_hold() {
    for row in table("tables/buildkit/convert/misc.json") {
        let mut options = Options::for_platform(amd64());
        match row["kind"].as_str().unwrap() {
            "labels_not_inherited_via_copy" => {
                let lowered = build(row["dockerfile"].as_str().unwrap(), &options).unwrap();
                let labels = serde_json::to_value(&lowered.config.config.labels).unwrap();
                assert_eq!(labels, row["expected_label"], "{row}");
            }
            "source_date_epoch_stage" => {
                options.build_args.insert("SOURCE_DATE_EPOCH".to_owned(), "mysource".to_owned());
                let error = build(row["dockerfile"].as_str().unwrap(), &options).unwrap_err();
                assert!(error.to_string().contains(row["error_contains"].as_str().unwrap()), "{error}");
            }
            "source_date_epoch" => {
                let value = row["input"].as_str().unwrap().to_owned();
                options.build_args.insert("SOURCE_DATE_EPOCH".to_owned(), value);
                let result = build("FROM scratch\n", &options);
                assert_eq!(result.is_err(), row["error"].as_bool().unwrap(), "{row}");
                assert_eq!(result.map(|lowered| lowered.epoch).unwrap_or_default(), None, "{row}");
            }
            // Small functions of the reference's own; ours have tests beside them.
            "add_env" | "parse_key_value" | "proxy_env" | "healthcheck_history" => {}
            other => panic!("a new kind of row: {other}"),
        }
    }
}
