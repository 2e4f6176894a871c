//! What a build shows: lines for people, status lines for programs.

use kiln_tests::{Progress, TestEnv};
use serde_json::Value;

fn env(dockerfile: &str) -> TestEnv {
    let env = TestEnv::new();
    env.busybox().file("f", "x").file("Dockerfile", dockerfile);
    env
}

const DOCKERFILE: &str = "FROM busybox AS one\nRUN echo to-stdout; echo to-stderr >&2\nFROM busybox\nCOPY f /f\nCOPY --from=one /etc/group /g\n";

/// Builds with `--progress=rawjson`.
fn rawjson(env: &TestEnv) -> kiln_tests::Outcome {
    let context = env.path("context").display().to_string();
    env.kiln(["build", "--progress=rawjson", "--tag=app", &context]).run()
}

#[test]
fn rawjson_has_a_status_line_of_buildkit_on_each_line() {
    let env = env(DOCKERFILE);
    let outcome = rawjson(&env).success();
    for line in outcome.stderr.lines() {
        let status: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for name in status.as_object().expect("an object").keys() {
            assert!(["vertexes", "statuses", "logs", "warnings"].contains(&name.as_str()), "{name}");
        }
        for vertex in status["vertexes"].as_array().into_iter().flatten() {
            assert!(
                vertex["digest"].as_str().is_some_and(|digest| digest.starts_with("sha256:")),
                "{vertex}"
            );
        }
    }
}

#[test]
fn steps_are_named_as_buildkit_names_them() {
    let env = env(DOCKERFILE);
    let progress = Progress::read(&rawjson(&env).success().stderr);
    let names: Vec<_> = progress.steps.iter().map(|step| step.name.as_str()).collect();
    for name in [
        "[internal] load build definition from Dockerfile",
        "[internal] load build context",
        "[one 2/2] RUN echo to-stdout; echo to-stderr >&2",
        "[stage-1 2/3] COPY f /f",
        "[stage-1 3/3] COPY --from=one /etc/group /g",
    ] {
        assert!(names.contains(&name), "{name} in {names:#?}");
    }
    let run = progress.steps.iter().find(|step| step.name.contains("RUN")).expect("the step");
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("to-stdout\n", "to-stderr\n"));
    assert!(progress.steps.iter().all(|step| step.completed && step.error.is_none()), "{progress:#?}");
}

#[test]
fn what_was_known_is_marked_as_cached() {
    let env = env(DOCKERFILE);
    rawjson(&env).success();
    let progress = Progress::read(&rawjson(&env).success().stderr);
    let last =
        progress.steps.iter().find(|step| step.name.starts_with("[stage-1 3/3]")).expect("the last step");
    assert!(last.cached, "{progress:#?}");
    env.build([]).success().says(["CACHED"]);
}

#[test]
fn warnings_name_their_rule_and_line() {
    let env = env("from busybox as One\nMAINTAINER me\n");
    let progress = Progress::read(&rawjson(&env).success().stderr);
    let rules: Vec<_> =
        progress.warnings.iter().map(|w| (w.line, w.rule.as_deref().unwrap_or_default())).collect();
    assert!(
        rules.contains(&(Some(1), "StageNameCasing")) && rules.contains(&(Some(2), "MaintainerDeprecated")),
        "{rules:?}"
    );
}

#[test]
fn a_failed_step_is_reported_in_every_form() {
    let env = env("FROM busybox\nRUN echo working; exit 3\n");
    let outcome = rawjson(&env).failure(1);
    let progress = Progress::read(&outcome.stderr);
    let step = progress.steps.iter().find(|step| step.name.contains("RUN")).expect("the step");
    assert!(step.error.as_ref().is_some_and(|error| error.contains("exit code: 3")), "{step:?}");
    env.build([]).failure(1).says(["working", "exit code: 3", "Dockerfile:2"]);
}

#[test]
fn plain_lines_are_numbered_by_step_and_go_to_standard_error() {
    let env = env(DOCKERFILE);
    let outcome = env.build(["--tag=app"]).success().says(["#1 [internal]", "to-stdout", "DONE"]);
    assert!(outcome.stdout().is_empty(), "{outcome}");
    assert!(!outcome.stderr.contains('\u{1b}'), "no colours without a terminal");
}

#[test]
fn quiet_prints_nothing_but_the_digest() {
    let env = env(DOCKERFILE);
    let outcome = env.build(["--quiet", "--tag=app"]).success();
    assert!(outcome.stderr.is_empty(), "{outcome}");
    assert_eq!(outcome.stdout().trim().len(), "sha256:".len() + 64, "{outcome}");
}

#[test]
fn output_is_shown_whole_however_much_it_is() {
    let env = env("FROM busybox\nRUN seq 1 400000\n");
    let progress = Progress::read(&rawjson(&env).success().stderr);
    let run = progress.steps.iter().find(|step| step.name.contains("RUN")).expect("the step");
    assert!(
        run.stdout.starts_with("1\n2\n") && run.stdout.ends_with("400000\n"),
        "{} bytes",
        run.stdout.len()
    );
    assert_eq!(run.stdout.lines().count(), 400_000);
}
