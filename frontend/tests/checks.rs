//! BuildKit's check cases through all stages of the frontend: parse, plan, resolve, lower, and what the checks keep.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use kiln_core::pattern::Ignore;
use kiln_core::{ContentHash, Diagnostic, ImageConfig, ImageLocator, Platform, Severity, SourceFile};
use kiln_frontend::lint::{self, Checks};
use kiln_frontend::{
    ImageResolver, ImageWanted, MAIN_CONTEXT, Options, ResolveError, ResolvedImage, lower, parse, plan,
    resolve,
};
use serde_json::{Value, json};

/// Every image there is: each has a PATH.
struct Everything;

impl ImageResolver for Everything {
    async fn resolve(&self, wanted: Vec<ImageWanted>) -> Vec<Result<ResolvedImage, ResolveError>> {
        let config: ImageConfig = serde_json::from_value(json!({
            "architecture": "amd64", "os": "linux", "config": { "Env": ["PATH=/bin"] },
            "rootfs": { "type": "layers", "diff_ids": [] },
        }))
        .unwrap();
        let found = |wanted: &ImageWanted| {
            let name = wanted.name.to_string();
            let locator = ImageLocator::Store { id: ContentHash::of(name.as_bytes()) };
            Ok(ResolvedImage { locator, name, config: config.clone() })
        };
        wanted.iter().map(found).collect()
    }
}

/// The result of a future that is ready at once.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the future waits"),
    }
}

fn amd64() -> Platform {
    Platform::new("linux", "amd64", "")
}

/// All findings, errors among them; unfiltered.
fn findings(file: &SourceFile, options: &Options) -> Vec<Diagnostic> {
    let parsed = parse(file);
    let mut found = lint::file(&parsed.dockerfile);
    if !parsed.is_sound() {
        found.extend(parsed.diagnostics);
        return found;
    }
    let lowered = plan(&parsed.dockerfile, options).and_then(|stages| {
        let bases = ready(resolve(&stages, &Everything))?;
        lower(&stages, &bases)
    });
    match lowered {
        Ok(lowered) => found.extend(lowered.warnings),
        Err(errors) => found.extend(errors.items),
    }
    found
}

#[test]
fn check_cases_agree() {
    let path =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpus/tables/buildkit/lint/check_cases.json");
    if !Path::new(path).exists() {
        eprintln!("skipped: ../shared is absent");
        return;
    }
    let rows: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let failures: Vec<String> = rows.iter().filter_map(|row| check(row).err()).collect();
    assert!(failures.is_empty(), "{} of {} rows fail:\n{}", failures.len(), rows.len(), failures.join("\n"));
}

fn check(row: &Value) -> Result<(), String> {
    let id = row["id"].as_str().unwrap();
    let mut options = Options::for_platform(amd64());
    options.all_stages = true;
    for (name, value) in row["frontend_attrs"].as_object().into_iter().flatten() {
        let value = value.as_str().unwrap().to_owned();
        match name.strip_prefix("build-arg:") {
            Some(name) => drop(options.build_args.insert(name.to_owned(), value)),
            None if name == "target" => options.target = Some(value),
            None if name == "platform" => options.platform = value.parse().unwrap(),
            None => return Err(format!("{id}: unknown option {name}")),
        }
    }
    if let Some(text) = row["dockerignore"].as_str() {
        options.ignores.insert(MAIN_CONTEXT.to_owned(), Ignore::parse(text).unwrap());
    }
    let file = SourceFile::new("Dockerfile", row["dockerfile"].as_str().unwrap());
    let found = findings(&file, &options);
    let dockerfile = parse(&file).dockerfile;
    let given = options.build_args.get("BUILDKIT_DOCKERFILE_CHECK").map(String::as_str);
    let checks = Checks::of(&dockerfile, given).map_err(|e| e.message)?;
    let kept = checks.keep(&dockerfile, found);
    let mut got: Vec<(&str, &str, u64)> = kept
        .iter()
        .filter_map(|f| Some((f.rule?, f.message.as_str(), lint::lines(&dockerfile, f).0 as u64)))
        .collect();
    let mut wanted: Vec<(&str, &str, u64)> = row["warnings"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|w| (w["rule"].as_str().unwrap(), w["detail"].as_str().unwrap(), w["line"].as_u64().unwrap()))
        .collect();
    got.sort_unstable();
    wanted.sort_unstable();
    if got != wanted {
        return Err(format!("{id}\n     got {got:?}\n  wanted {wanted:?}\n{}", file.text));
    }
    let error = kept.iter().find(|f| f.severity == Severity::Error).map(|f| f.message.clone());
    let error = error.or_else(|| checks.verdict(&kept));
    match (row["build_error"].as_str(), error) {
        (Some(wanted), Some(got)) if wanted.contains(&got) => Ok(()),
        (None, None) => Ok(()),
        (wanted, got) => Err(format!("{id}\n     got error {got:?}\n  wanted {wanted:?}\n{}", file.text)),
    }
}

/// The messages of the checks for a build of all stages of `text`.
fn told(text: &str) -> Vec<String> {
    let mut options = Options::for_platform(amd64());
    options.all_stages = true;
    let file = SourceFile::new("Dockerfile", text);
    let dockerfile = parse(&file).dockerfile;
    let kept = Checks::of(&dockerfile, None).unwrap().keep(&dockerfile, findings(&file, &options));
    kept.iter().map(|f| format!("{} {}", f.rule.unwrap_or("error"), f.message)).collect()
}

#[test]
fn bases_and_platforms_are_checked() {
    for (text, wanted) in [
        (
            "FROM --platform=$TARGETPLATFORM scratch",
            "RedundantTargetPlatform Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
        ),
        (
            "FROM --platform=${TARGETPLATFORM} scratch",
            "RedundantTargetPlatform Setting platform to predefined ${TARGETPLATFORM} in FROM is redundant as this is the default behavior",
        ),
        (
            "FROM --platform=linux/amd64 scratch",
            "FromPlatformFlagConstDisallowed FROM --platform flag should not use constant value \"linux/amd64\"",
        ),
        ("FROM --platform=linux/amd64 scratch AS my_amd64_stage", ""),
        ("FROM --platform=$BUILDPLATFORM scratch", ""),
        (
            "ARG tag=latest\nFROM busybox:${tag}${version} AS b",
            "UndefinedArgInFrom FROM argument 'version' is not declared",
        ),
        ("FROM scratch AS a\nWORKDIR /app\nFROM a\nWORKDIR sub", ""),
        (
            "FROM scratch\nWORKDIR app/\nWORKDIR sub",
            "WorkdirRelativePath Relative workdir \"app/\" can have unexpected results if the base image changes",
        ),
        (
            "FROM scratch\nEXPOSE 80/TcP",
            "ExposeProtoCasing Defined protocol '80/TcP' in EXPOSE instruction should be lowercase",
        ),
        (
            "FROM scratch\nLABEL a b",
            "LegacyKeyValueFormat \"LABEL key=value\" should be used instead of legacy \"LABEL key value\" format",
        ),
    ] {
        assert_eq!(told(text).join("|"), wanted, "{text}");
    }
}

#[test]
fn a_misspelt_platform_argument_is_an_error_with_the_right_name() {
    let file = SourceFile::new("Dockerfile", "FROM --platform=$BULIDPLATFORM scratch");
    let found = findings(&file, &Options::for_platform(amd64()));
    let error = found.iter().find(|f| f.severity == Severity::Error).unwrap();
    assert!(
        error.message.contains("empty platform value from expression $BULIDPLATFORM"),
        "{}",
        error.message
    );
    assert_eq!(error.help.as_deref(), Some("did you mean BUILDPLATFORM?"));
    assert_eq!(&file.text[error.span.range()], "$BULIDPLATFORM");
}
