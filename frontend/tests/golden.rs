//! BuildKit's recorded results: the configuration and the history that lowering alone decides.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod named;
mod world;

use std::collections::BTreeMap;
use std::path::PathBuf;

use kiln_core::pattern::Ignore;
use kiln_core::{ImageConfig, Severity, SourceFile};
use kiln_frontend::{MAIN_CONTEXT, NamedContext, Options, lint, lower, parse, plan, resolve};
use serde_json::{Value, json};
use world::{Images, amd64, ready};

fn shared() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared"))
}

/// What came of a case.
enum Got {
    Config(Box<ImageConfig>, Vec<Warning>),
    Error(String),
}

type Warning = (Option<String>, String, u64);

/// The files of all cases, or nothing if they are not on this machine.
fn golden() -> Vec<Value> {
    let Ok(entries) = std::fs::read_dir(shared().join("golden")) else {
        println!("skipped: ../shared is absent");
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "json"));
    files.sort();
    let read = |path: &PathBuf| serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    files.iter().map(read).collect()
}

/// A file of the case's context, if it has it.
fn context_file(case: &Value, name: &str) -> Option<String> {
    let written = case["files"].as_array().into_iter().flatten().find(|file| file["path"] == name);
    if let Some(file) = written {
        return match file["link"].as_str() {
            Some(link) => context_file(case, link),
            None => file["content"].as_str().map(str::to_owned),
        };
    }
    let context = case["context"].as_str()?;
    let bytes = std::fs::read(shared().join("corpus").join(context).join(name)).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn text_map(value: &Value) -> BTreeMap<String, String> {
    let entries = value.as_object().into_iter().flatten();
    entries.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect()
}

fn base_image(config: &Value) -> ImageConfig {
    let image = json!({
        "created": "2026-01-01T00:00:00Z", "architecture": "amd64", "os": "linux", "config": config,
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", "0".repeat(64))] },
        "history": [{ "created": "2026-01-01T00:00:00Z", "created_by": "base" }],
    });
    serde_json::from_value(image).unwrap()
}

/// The configuration that another case's result has.
fn parent_image(cases: &[Value], id: &str) -> ImageConfig {
    let case = cases.iter().find(|case| case["id"] == id).unwrap_or_else(|| panic!("no case {id}"));
    let mut image = case["expect"]["image"].clone();
    image["history"] = case["expect"]["history"].clone();
    image["rootfs"] = json!({ "type": "layers", "diff_ids": null });
    serde_json::from_value(image).unwrap()
}

fn run(file: &Value, case: &Value) -> Got {
    let cases = file["cases"].as_array().unwrap();
    let dockerfile = case["dockerfile"].as_str().unwrap();
    // The client takes `dockerfile` where there is no `Dockerfile`.
    let text = context_file(case, dockerfile).or_else(|| context_file(case, &dockerfile.to_lowercase()));
    let text = text.unwrap_or_else(|| panic!("{}: no {dockerfile}", case["id"]));
    let settings = &case["options"];
    let mut images = Images::default();
    let mut options = Options::for_platform(amd64());
    options.target = settings["target"].as_str().map(str::to_owned);
    options.build_args = text_map(&settings["build_args"]);
    options.labels = text_map(&settings["labels"]);
    options.allow_insecure = true;
    options.all_stages = case["mode"] == "lint";
    for (name, base) in text_map(&settings["bases"]) {
        let config = base_image(&file["base"][&base]["config"]);
        options.contexts.insert(name, NamedContext::Image(named::add(&mut images, &base, config)));
    }
    for (name, context) in settings["named_contexts"].as_object().into_iter().flatten() {
        let base = context["image"].as_str().unwrap();
        if base == "scratch" {
            options.contexts.insert(name.clone(), NamedContext::Scratch);
            continue;
        }
        let config = base_image(&file["base"][base]["config"]);
        options.contexts.insert(name.clone(), NamedContext::Image(named::add(&mut images, base, config)));
    }
    for (name, id) in text_map(&settings["parents"]) {
        let reference =
            named::add(&mut images, &format!("parent{}", options.contexts.len()), parent_image(cases, &id));
        options.contexts.insert(name, NamedContext::Image(reference));
    }
    let ignores = [format!("{dockerfile}.dockerignore"), ".dockerignore".to_owned()];
    if let Some(text) = ignores.iter().find_map(|name| context_file(case, name)) {
        match Ignore::parse(&text) {
            Ok(ignore) => options.ignores.insert(MAIN_CONTEXT.to_owned(), ignore),
            Err(error) => return Got::Error(error.to_string()),
        };
    }
    build(&text, &options, &images)
}

fn build(text: &str, options: &Options, images: &Images) -> Got {
    let source = SourceFile::new("Dockerfile", text);
    let parsed = parse(&source);
    if let Some(error) = parsed.diagnostics.iter().find(|d| d.severity == Severity::Error) {
        return Got::Error(error.message.clone());
    }
    let stages = match plan(&parsed.dockerfile, options) {
        Ok(stages) => stages,
        Err(error) => return Got::Error(error.to_string()),
    };
    let bases = match ready(resolve(&stages, images)) {
        Ok(bases) => bases,
        Err(error) => return Got::Error(error.to_string()),
    };
    match lower(&stages, &bases) {
        Ok(lowered) => {
            let mut findings = lint::file(&parsed.dockerfile);
            findings.extend(lowered.warnings);
            let checks = lint::Checks::of(&parsed.dockerfile, None);
            let kept = checks.map(|checks| checks.keep(&parsed.dockerfile, findings)).unwrap_or_default();
            let warnings = kept.iter().map(|finding| {
                let line = lint::lines(&parsed.dockerfile, finding).0 as u64;
                (finding.rule.map(str::to_owned), finding.message.clone(), line)
            });
            Got::Config(Box::new(lowered.config), warnings.collect())
        }
        Err(error) => Got::Error(error.to_string()),
    }
}

/// The configuration as golden has it: without the times, the layers and the history.
fn image_and_history(config: &ImageConfig) -> (Value, Value) {
    let mut image = serde_json::to_value(config).unwrap();
    let object = image.as_object_mut().unwrap();
    let mut history = object.remove("history").unwrap_or_else(|| json!([]));
    object.remove("rootfs");
    object.remove("created");
    for entry in history.as_array_mut().unwrap() {
        entry.as_object_mut().unwrap().remove("created");
    }
    (image, history)
}

#[test]
fn configurations_and_histories_are_buildkits() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for file in golden() {
        for case in file["cases"].as_array().unwrap() {
            let expect = &case["expect"];
            if expect["ok"] != true || case["mode"] == "lint" {
                continue;
            }
            count += 1;
            let id = case["id"].as_str().unwrap();
            match run(&file, case) {
                Got::Error(error) => wrong.push(format!("{id}: error: {error}")),
                Got::Config(config, _) => {
                    let (image, history) = image_and_history(&config);
                    let expected_history = expect.get("history").cloned().unwrap_or_else(|| json!([]));
                    let unstable = expect["unstable"].as_array().map(Vec::len).unwrap_or_default();
                    if image != expect["image"] {
                        wrong.push(format!(
                            "{id}: config ({unstable})\n  got  {image}\n  want {}",
                            expect["image"]
                        ));
                    }
                    if history != expected_history {
                        wrong.push(format!("{id}: history\n  got  {history}\n  want {expected_history}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {count} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn warnings_are_buildkits() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for file in golden() {
        for case in file["cases"].as_array().unwrap() {
            let expect = &case["expect"];
            let expected = if case["mode"] == "lint" { &expect["lint"] } else { &expect["warnings"] };
            if expect["ok"] != true {
                continue;
            }
            count += 1;
            let Got::Config(_, mut warnings) = run(&file, case) else { continue };
            // Warnings that are no checks are kiln's own.
            warnings.retain(|(rule, _, _)| rule.is_some());
            let mut expected: Vec<Warning> = expected
                .as_array()
                .into_iter()
                .flatten()
                .map(|w| {
                    let rule = w["rule"].as_str().map(str::to_owned);
                    (rule, w["message"].as_str().unwrap().to_owned(), w["line"].as_u64().unwrap())
                })
                .collect();
            warnings.sort();
            expected.sort();
            if warnings != expected {
                wrong.push(format!("{}\n  got  {warnings:?}\n  want {expected:?}", case["id"]));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {count} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// Beginnings of errors that only building finds.
const OF_EXECUTION: [&str; 4] = ["process ", "failed to compute cache key", "lstat ", "cannot copy to"];

#[test]
fn what_buildkit_refuses_is_refused_for_the_same_reason() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for file in golden() {
        for case in file["cases"].as_array().unwrap() {
            let expect = &case["expect"];
            let Some(error) = expect["error"].as_str() else { continue };
            let error = error.strip_prefix("failed to solve: ").unwrap_or(error);
            let executed = OF_EXECUTION.iter().any(|beginning| error.starts_with(beginning));
            count += 1;
            match run(&file, case) {
                Got::Error(got) if executed => wrong.push(format!("{}: refused: {got}", case["id"])),
                Got::Error(got) => {
                    let reason = error.rsplit_once("on line ").map_or(error, |(_, rest)| rest);
                    let reason = reason.split_once(": ").filter(|(n, _)| n.parse::<u32>().is_ok());
                    let reason = reason.map_or(error, |(_, reason)| reason);
                    let reason = reason.split(" (did you mean").next().unwrap_or(reason);
                    if !got.contains(reason) {
                        wrong.push(format!("{}\n  got  {got}\n  want {reason}", case["id"]));
                    }
                }
                Got::Config(..) if executed => {}
                Got::Config(..) => wrong.push(format!("{}: not refused: {error}", case["id"])),
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {count} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}
