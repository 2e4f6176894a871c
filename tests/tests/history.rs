//! `kiln history`: what is kept of past builds, and the page that `--timeline` writes.

use std::fs;

use kiln_tests::{Peer, TestEnv, is_root, target_dir};
use serde_json::Value;

const DOCKERFILE: &str = "\
FROM busybox AS build
RUN echo from-the-step; sleep 0.3; echo made > /made
FROM busybox AS other
RUN echo other > /other
FROM busybox
COPY --from=build /made /made
COPY --from=other /other /other
";

fn env() -> TestEnv {
    let env = TestEnv::new();
    env.busybox().file("Dockerfile", DOCKERFILE);
    env
}

/// The kept builds as `ls` gives them, the newest first.
#[track_caller]
fn builds(env: &TestEnv) -> Vec<Value> {
    let outcome = env.kiln(["history", "ls", "--format=json"]).run().success();
    outcome.stdout().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn builds_are_listed_with_what_ran_and_what_was_known() {
    let env = env();
    env.build(["--tag=app"]).success();
    env.build(["--tag=app"]).success();
    env.file("Dockerfile", "FROM busybox\nRUN echo the-reason; exit 7\n");
    env.build([]).failure(1);
    let builds = builds(&env);
    let seen: Vec<(&str, u64, u64)> = builds
        .iter()
        .map(|b| (b["status"].as_str().unwrap(), b["ran"].as_u64().unwrap(), b["cached"].as_u64().unwrap()))
        .collect();
    assert_eq!(seen[0].0, "error");
    assert_eq!(seen[1], ("completed", 0, 5), "{builds:#?}");
    assert_eq!((seen[2].0, seen[2].2), ("completed", 0), "{builds:#?}");
    assert_eq!(builds[1]["name"], "docker.io/library/app:latest");
    assert!(builds[0]["error"].as_str().unwrap().contains("7"), "{builds:#?}");
    env.kiln(["history"]).run().success().says(["BUILD ID", "docker.io/library/app:latest", "error"]);
}

#[test]
fn the_log_of_a_build_is_kept_whole() {
    let env = TestEnv::new();
    env.busybox().file("Dockerfile", "FROM busybox\nRUN seq 1 20000; echo to-stderr >&2\n");
    env.build([]).success();
    let log = env.kiln(["history", "logs"]).run().success().stdout();
    for line in ["RUN seq 1 20000", " 1\n", " 9999\n", "20000", "DONE"] {
        assert!(log.contains(line), "no {line:?}");
    }
    let raw = env.kiln(["history", "logs", "--progress=rawjson"]).run().success().stdout();
    let raw = kiln_tests::Progress::read(&raw);
    let step = raw.steps.iter().find(|step| step.name.contains("RUN seq")).expect("the step");
    assert_eq!(step.stdout.lines().count(), 20000);
    assert_eq!(step.stderr, "to-stderr\n");
}

#[test]
fn a_build_is_inspected_by_the_beginning_of_its_id() {
    let env = env();
    env.build(["--tag=app", "--build-arg=SECRET=hush"]).success();
    let id = builds(&env)[0]["id"].as_str().unwrap().to_owned();
    let outcome = env.kiln(["history", "inspect", &id[..6]]).run().success();
    outcome.says([&*id, "completed", "RUN echo from-the-step", "SECRET", "*"]).says_not(["hush"]);
    let value = env.kiln(["history", "inspect", "--format=json", &id]).run().success().json();
    let steps = value["steps"].as_array().unwrap();
    let find = |part: &str| {
        let found = steps.iter().find(|step| step["name"].as_str().unwrap().contains(part));
        found.unwrap_or_else(|| panic!("no {part} in {value:#}"))
    };
    let slow = find("RUN echo from-the-step");
    assert!(slow["ended"].as_u64().unwrap() - slow["started"].as_u64().unwrap() >= 300_000, "{slow}");
    assert_eq!((&slow["critical"], &slow["outcome"]), (&true.into(), &"done".into()));
    assert_eq!(find("RUN echo other")["critical"], false);
    // Why the steps ran is kept too.
    assert_eq!(value["explanations"][0]["compared"], false);
    // A bare id is understood, and `history IMAGE` shows an image as before.
    env.kiln(["history", &*id]).run().success().says(["RUN echo from-the-step"]);
    env.kiln(["history", "app"]).run().success().says(["CREATED BY", "COPY /made"]);
}

#[test]
fn builds_are_exported_and_forgotten() {
    let env = env();
    env.build([]).success();
    env.build([]).success();
    let file = env.path("build.json").display().to_string();
    let first = builds(&env)[1]["id"].as_str().unwrap().to_owned();
    env.kiln(["history", "export", "--output", &*file, &*first]).run().success();
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("from-the-step") && text.contains(&first), "{text}");
    env.kiln(["history", "rm", &*first]).run().success();
    assert_eq!(builds(&env).len(), 1);
    env.kiln(["history", "rm", "--all"]).run().success();
    assert!(builds(&env).is_empty());
    env.kiln(["history", "logs"]).run().failure(1).says(["no build was made"]);
}

#[test]
fn a_page_needs_nothing_but_itself() {
    let env = env();
    env.file("Dockerfile", DOCKERFILE.replace("from-the-step", "'<script>alert(1)</script>'"));
    let page = env.path("page.html");
    env.build(["--timeline", &page.display().to_string()]).success();
    let html = fs::read_to_string(&page).unwrap();
    assert!(!html.contains("<script"), "markup of a step");
    for outside in ["http://", "https://", "src=", "url(", "@import", "<link"] {
        assert!(!html.contains(outside), "the page refers to {outside}");
    }
    // The build of the past gives the same page.
    let again = env.kiln(["history", "timeline"]).run().success().stdout();
    assert_eq!(again, html);
}

/// Headless Chromium, from Debian; if it is absent, the test is skipped.
#[track_caller]
fn screenshot(page: &str, name: &str, size: &str, dark: bool) -> Option<Vec<u8>> {
    let browser = Peer::find("chromium")?;
    let folder = target_dir().join("screenshots");
    fs::create_dir_all(&folder).expect("mkdir");
    let picture = folder.join(format!("{name}.png"));
    let profile = tempfile::tempdir().expect("mkdir");
    let mut words = vec![
        "--headless=new".to_owned(),
        "--disable-gpu".to_owned(),
        "--hide-scrollbars".to_owned(),
        "--no-first-run".to_owned(),
        "--disable-background-networking".to_owned(),
        "--enable-logging=stderr".to_owned(),
        format!("--user-data-dir={}", profile.path().display()),
        format!("--window-size={size}"),
        format!("--screenshot={}", picture.display()),
    ];
    if is_root() {
        words.push("--no-sandbox".to_owned());
    }
    if dark {
        words.push("--blink-settings=preferredColorScheme=0".to_owned());
    }
    words.push(format!("file://{page}"));
    let outcome = browser.run(words).success();
    // What the page's own policy refuses, or cannot be read, the console says.
    outcome.says_not(["CONSOLE"]);
    Some(fs::read(picture).expect("a picture"))
}

/// Width and height of a PNG.
fn dimensions(png: &[u8]) -> (u32, u32) {
    assert_eq!(&png[1..4], b"PNG");
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().expect("four bytes"));
    (number(16), number(20))
}

#[test]
fn a_browser_shows_the_page_in_light_and_dark() {
    let env = env();
    let page = env.path("page.html").display().to_string();
    env.build([]).success();
    env.file("Dockerfile", DOCKERFILE.replace("echo other", "sleep 0.1; echo another"));
    env.build(["--tag=example", "--timeline", &page]).success();
    let Some(light) = screenshot(&page, "timeline-light", "1280,900", false) else { return };
    let Some(dark) = screenshot(&page, "timeline-dark", "1280,900", true) else { return };
    assert_eq!(dimensions(&light).0, 1280);
    assert_ne!(light, dark, "the dark page looks like the light one");
}

#[test]
fn a_thousand_steps_are_one_page() {
    let env = TestEnv::new();
    let mut dockerfile = String::from("FROM busybox AS base\n");
    for stage in 0..10 {
        dockerfile.push_str(&format!("FROM base AS stage{stage}\n"));
        for step in 0..99 {
            dockerfile.push_str(&format!("WORKDIR /{stage}/{step}\n"));
        }
    }
    dockerfile.push_str("FROM scratch\n");
    for stage in 0..10 {
        dockerfile.push_str(&format!("COPY --from=stage{stage} /{stage} /{stage}\n"));
    }
    env.busybox().file("Dockerfile", dockerfile);
    let page = env.path("page.html").display().to_string();
    env.build(["--timeline", &page]).success();
    let html = fs::read_to_string(&page).unwrap();
    assert!(html.matches("<details").count() > 1000);
    assert!(html.len() < 2_000_000, "{} bytes", html.len());
    let Some(picture) = screenshot(&page, "timeline-1000", "1280,2000", false) else { return };
    assert_eq!(dimensions(&picture), (1280, 2000));
}
