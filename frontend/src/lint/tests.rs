//! The rules against BuildKit's own check cases: those that need no expansion and no context.

use kiln_core::{Diagnostic, SourceFile};
use serde_json::Value;

use super::{Checks, StageChecks, file, lines};
use crate::ast::{Command, Dockerfile};

/// Rules that need what only planning and lowering know.
const LATER: [&str; 7] = [
    "UndefinedVar",
    "UndefinedArgInFrom",
    "InvalidDefaultArgInFrom",
    "InvalidBaseImagePlatform",
    "CopyIgnoredFile",
    "RedundantTargetPlatform",
    "FromPlatformFlagConstDisallowed",
];

/// All findings that the text alone tells, as a build of all stages would raise them.
fn findings(dockerfile: &Dockerfile) -> Vec<Diagnostic> {
    let mut found = file(dockerfile);
    let mut stages: Vec<(Option<String>, StageChecks)> = Vec::new();
    for text in dockerfile.stages() {
        let Command::From(from) = &text.from.command else { continue };
        let below = stages.iter().rev().find(|(name, _)| name.as_deref() == Some(from.image.value.as_str()));
        let mut checks = below.map_or_else(StageChecks::default, |(_, below)| StageChecks::on_stage(below));
        for instruction in text.body {
            found.extend(checks.instruction(instruction));
            match &instruction.command {
                Command::Workdir(path) => found.extend(checks.workdir(&path.value, path.span)),
                Command::Expose(ports) => {
                    found.extend(ports.iter().flat_map(|port| StageChecks::port(&port.value, port.span)));
                }
                _ => {}
            }
        }
        stages.push((from.name.as_ref().map(|name| name.name.clone()), checks));
    }
    found
}

fn told(text: &str, given: Option<&str>) -> Vec<(String, String, u64)> {
    let dockerfile = crate::parse(&SourceFile::new("Dockerfile", text)).dockerfile;
    let checks = Checks::of(&dockerfile, given).unwrap_or_default();
    let kept = checks.keep(&dockerfile, findings(&dockerfile));
    let mut told: Vec<_> = kept
        .iter()
        .map(|f| (f.rule.unwrap_or_default().to_owned(), f.message.clone(), lines(&dockerfile, f).0 as u64))
        .collect();
    told.sort();
    told
}

#[test]
fn check_cases_agree() {
    let path =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpus/tables/buildkit/lint/check_cases.json");
    let Ok(text) = std::fs::read_to_string(path) else {
        eprintln!("skipped: ../shared is absent");
        return;
    };
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    for row in rows {
        let given = row["frontend_attrs"]["build-arg:BUILDKIT_DOCKERFILE_CHECK"].as_str();
        let got = told(row["dockerfile"].as_str().unwrap(), given);
        let mut wanted: Vec<_> = row["warnings"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|w| {
                let text = |key: &str| w[key].as_str().unwrap().to_owned();
                (text("rule"), text("detail"), w["line"].as_u64().unwrap())
            })
            .filter(|(rule, ..)| !LATER.contains(&rule.as_str()))
            .collect();
        wanted.sort();
        assert_eq!(got, wanted, "{}\n{}", row["id"], row["dockerfile"].as_str().unwrap());
    }
}

/// Findings of whole files whose FROM lines and paths have no variables.
#[test]
fn real_files_are_judged_as_buildkit_does() {
    let shared = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared");
    let Ok(text) = std::fs::read_to_string(format!("{shared}/golden/real-dockerfiles.json")) else {
        eprintln!("skipped: ../shared is absent");
        return;
    };
    let golden: Value = serde_json::from_str(&text).unwrap();
    for case in golden["cases"].as_array().unwrap() {
        let path = format!(
            "{shared}/corpus/{}/{}",
            case["context"].as_str().unwrap(),
            case["dockerfile"].as_str().unwrap_or("Dockerfile")
        );
        let source = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let mut wanted: Vec<_> = case["expect"]["lint"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|w| {
                let text = |key: &str| w[key].as_str().unwrap().to_owned();
                (text("rule"), text("message"), w["line"].as_u64().unwrap())
            })
            .filter(|(rule, ..)| !LATER.contains(&rule.as_str()))
            .collect();
        wanted.sort();
        assert_eq!(told(&source, None), wanted, "{path}");
    }
}

#[test]
fn rules_are_described_as_in_buildkit() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpus/tables/buildkit/lint/rules.json");
    let Ok(text) = std::fs::read_to_string(path) else { return };
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    let got: Vec<_> = super::RULES.iter().map(|r| (r.name, r.description, r.url, r.experimental)).collect();
    let text = |row: &'static Value, key: &str| row[key].as_str().unwrap_or_default();
    let rows: &'static Vec<Value> = Box::leak(Box::new(rows));
    let wanted: Vec<_> = rows
        .iter()
        .map(|r| {
            (text(r, "name"), text(r, "description"), text(r, "url"), r["experimental"].as_bool().unwrap())
        })
        .collect();
    assert_eq!(got, wanted);
}

#[test]
fn a_comment_above_an_instruction_speaks_for_it_alone() {
    let text = "FROM scratch\n# check=skip=JSONArgsRecommended // why\nCMD a\nENTRYPOINT b\n";
    assert_eq!(told(text, None).len(), 1);
    assert_eq!(told(text, Some("skip=all")).len(), 0);
}

#[test]
fn strict_checks_name_the_rules() {
    let text = "# check=error=true\nFROM scratch AS A\nCMD a\n";
    let dockerfile = crate::parse(&SourceFile::new("Dockerfile", text)).dockerfile;
    let checks = Checks::of(&dockerfile, None).unwrap();
    let verdict = checks.verdict(&findings(&dockerfile)).unwrap();
    assert_eq!(verdict, "lint violation found for rules: JSONArgsRecommended, StageNameCasing");
}
