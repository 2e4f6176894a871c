//! `kiln build --explain`: what ran, and why.

use kiln_tests::TestEnv;
use serde_json::Value;

/// Builds, and gives the explanation of the one platform.
#[track_caller]
fn explained<const N: usize>(env: &TestEnv, arguments: [&str; N]) -> Value {
    let metadata = env.path("metadata.json");
    let file = format!("--metadata-file={}", metadata.display());
    let context = env.path("context").display().to_string();
    let words = ["build", "--progress=plain", "--explain", "--tag=app", &file];
    env.kiln(words.into_iter().chain(arguments).chain([&*context])).run().success();
    let metadata: Value = serde_json::from_slice(&std::fs::read(metadata).expect("metadata")).expect("JSON");
    metadata["kiln.explanation"][0].clone()
}

/// The steps that ran, each with its reasons.
fn ran(explanation: &Value) -> Vec<(&str, &Vec<Value>)> {
    let steps = explanation["steps"].as_array().expect("a list").iter();
    let steps = steps.filter(|step| step["decision"] == "run");
    let steps = steps
        .map(|step| (step["name"].as_str().expect("a name"), step["reasons"].as_array().expect("a list")));
    // That the context was walked is no step of the Dockerfile.
    steps.filter(|(name, _)| !name.starts_with("[internal]")).collect()
}

const DOCKERFILE: &str = "\
FROM busybox
ARG VERSION=1
WORKDIR /app
COPY src/ ./
RUN cat * > /all
RUN echo $VERSION > /version
";

fn env() -> TestEnv {
    let env = TestEnv::new();
    env.busybox().file("src/a.txt", "one").file("src/b.txt", "two").file("Dockerfile", DOCKERFILE);
    env
}

#[test]
fn a_changed_file_is_named_with_what_it_was_and_is() {
    let env = env();
    let first = explained(&env, []);
    assert_eq!(first["compared"], false);
    assert!(ran(&first).iter().all(|(_, reasons)| reasons[0]["kind"] == "never-built"), "{first:#}");

    env.file("src/b.txt", "three!").mode("src/b.txt", 0o600);
    let second = explained(&env, []);
    let steps = ran(&second);
    assert_eq!(second["first"], "[4/6] COPY src/ ./".replace("4/6", "3/5"), "{second:#}");
    assert!(steps[0].0.contains("COPY src/ ./"), "{second:#}");
    let reason = &steps[0].1[0];
    assert_eq!((&reason["kind"], &reason["count"]), (&"files".into(), &1.into()), "{reason:#}");
    let file = &reason["files"][0];
    assert_eq!(file["source"], "src/b.txt");
    assert_eq!(file["path"], "/app/b.txt");
    assert_eq!((&file["old"]["size"], &file["new"]["size"]), (&3.into(), &6.into()));
    assert_eq!((&file["old"]["mode"], &file["new"]["mode"]), (&"0644".into(), &"0600".into()));
    assert_ne!(file["old"]["digest"], file["new"]["digest"]);
    // What comes after follows, and is told so.
    let follows: Vec<&Value> = steps[1..].iter().map(|(_, reasons)| &reasons[0]["kind"]).collect();
    assert_eq!(follows, ["follows", "follows"], "{second:#}");
    assert_eq!(steps[1].1[0]["step"], steps[0].0);
}

#[test]
fn an_unchanged_build_says_that_all_was_known() {
    let env = env();
    explained(&env, []);
    let again = explained(&env, []);
    assert!(ran(&again).is_empty(), "{again:#}");
    assert_eq!(again["first"], Value::Null);
    let outcome = env.build(["--explain"]).success();
    outcome.says(["CACHED  [5/5] RUN echo"]);
}

#[test]
fn arguments_texts_and_flags_are_told_apart() {
    let env = env();
    explained(&env, []);
    let argument = explained(&env, ["--build-arg=VERSION=2"]);
    let changed = |explanation: &Value, part: &str| {
        let steps = ran(explanation);
        let (_, reasons) = steps.iter().find(|(name, _)| name.contains("RUN echo")).expect("it ran");
        let reason = reasons.iter().find(|reason| reason["part"] == part);
        let reason = reason.unwrap_or_else(|| panic!("no `{part}` in {explanation:#}"));
        (reason["old"].clone(), reason["new"].clone())
    };
    assert_eq!(changed(&argument, "build argument VERSION"), ("1".into(), "2".into()));

    env.file("Dockerfile", DOCKERFILE.replace("> /version", "> /v"));
    let text = explained(&env, ["--build-arg=VERSION=2"]);
    assert_eq!(changed(&text, "command"), ("echo $VERSION > /version".into(), "echo $VERSION > /v".into()));
    assert_eq!(ran(&text).len(), 1, "{text:#}");

    let flag = explained(&env, ["--build-arg=VERSION=2", "--no-cache"]);
    assert_eq!(ran(&flag).len(), 4);
    assert!(ran(&flag).iter().all(|(_, reasons)| reasons[0]["flag"] == "--no-cache"), "{flag:#}");
}

#[test]
fn a_new_instruction_is_new_and_the_others_are_compared_with_themselves() {
    let env = env();
    explained(&env, []);
    let inserted = DOCKERFILE.replace("COPY src", "RUN echo early > /early\nCOPY src");
    env.file("Dockerfile", inserted);
    let explanation = explained(&env, []);
    let steps = ran(&explanation);
    assert!(steps[0].0.contains("RUN echo early"), "{explanation:#}");
    assert_eq!(steps[0].1[0]["kind"], "new-step");
    assert!(steps[1..].iter().all(|(_, reasons)| reasons[0]["kind"] == "follows"), "{explanation:#}");
}

#[test]
fn another_base_is_told_with_both_of_its_identities() {
    let env = env();
    explained(&env, []);
    env.write("other/Dockerfile", "FROM busybox\nRUN echo other > /other\n");
    let other = env.path("other").display().to_string();
    env.kiln(["build", "--progress=plain", "--tag=busybox", &*other]).run().success();
    let explanation = explained(&env, []);
    let steps = ran(&explanation);
    let (name, reasons) = &steps[0];
    assert!(name.contains("FROM"), "{explanation:#}");
    let base = reasons.iter().find(|reason| reason["part"] == "image in the store").expect("the base");
    assert!(base["old"].is_string() && base["new"].is_string() && base["old"] != base["new"]);
    assert_eq!(explanation["first"], *name);
}

#[test]
fn a_result_that_was_pruned_is_told_from_one_that_never_was() {
    let env = env();
    let context = env.path("context").display().to_string();
    // Into nothing, so that no name keeps the results.
    let words = ["build", "--progress=plain", "--explain", "--output=type=cacheonly"];
    env.kiln(words.into_iter().chain([&*context])).run().success();
    env.kiln(["prune", "--all", "--force"]).run().success();
    let outcome = env.kiln(words.into_iter().chain([&*context])).run().success();
    outcome.says(["its result is gone from the store"]);
}

#[test]
fn a_failed_build_is_explained_too_and_spoils_no_comparison() {
    let env = env();
    explained(&env, []);
    env.file("src/a.txt", "changed")
        .file("Dockerfile", DOCKERFILE.replace("cat *", "false; cat *") + "RUN false\n");
    let outcome = env.build(["--explain", "--tag=app"]).failure(1);
    outcome.says(["FAILED", "src/a.txt", "follows from"]);
    // The steps that were not reached are still compared with the last build that reached them.
    env.file("Dockerfile", DOCKERFILE);
    let again = explained(&env, []);
    assert_eq!(again["compared"], true);
}

#[test]
fn rawjson_has_the_explanation_as_a_line() {
    let env = env();
    let context = env.path("context").display().to_string();
    let outcome = env.kiln(["build", "--progress=rawjson", "--explain", &*context]).run().success();
    let line = outcome.stderr.lines().find(|line| line.contains("\"explanation\"")).expect("a line");
    let value: Value = serde_json::from_str(line).unwrap();
    assert_eq!(value["explanation"]["compared"], false);
}
