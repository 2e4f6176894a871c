//! Stages, caches of steps, triggers and errors that take more than one build to see.

use kiln_tests::{Login, Registry, TestEnv};

use crate::corpus::{Scenario, fill};
use crate::made::{Made, busybox_and_alpine};

#[test]
fn a_stage_cannot_copy_from_one_that_comes_later() {
    let Some(scenario) = Scenario::read("multistage/testOutOfOrderStage") else { return };
    let env = TestEnv::new();
    busybox_and_alpine(&env);
    for source in ["/", "/d2"] {
        env.file("Dockerfile", fill(scenario.dockerfile(), &[("src", source)]));
        let outcome = env.build([]).failure(1);
        outcome.says(["cannot copy from stage", "needs to be defined before current stage"]);
    }
}

#[test]
fn a_step_runs_again_only_when_a_file_that_its_wildcard_matches_changes() {
    let Some(scenario) = Scenario::read("copy/testCopyWildcardCache") else { return };
    let env = TestEnv::new();
    env.busybox().file("Dockerfile", scenario.dockerfile());
    env.file("foo1", "foo1-data").file("foo2", "foo2-data").file("bar", "bar-data");
    let unique = || Made::new(&env, &[]).content("unique");
    let first = unique();
    env.file("bar", "bar-data-mod");
    assert_eq!(unique(), first);
    env.file("foo2", "foo2-data-mod");
    assert_ne!(unique(), first);
}

#[test]
fn triggers_may_need_images_and_stages_that_the_dockerfile_does_not_name() {
    let Some(scenario) = Scenario::read("onbuild/testOnBuildNewDeps") else { return };
    let Some(registry) = Registry::start(Login::Open) else { return };
    let env = TestEnv::new();
    busybox_and_alpine(&env);
    let names = ["testonbuilddeps:base", "testonbuilddeps:base2"].map(|name| registry.name(name));
    let values = [("target", &*names[0]), ("target2", &*names[1])];
    let dockerfiles = scenario.dockerfiles();
    let build = |n: usize| {
        env.file("Dockerfile", fill(dockerfiles[n], &values));
        Made::new(&env, &[])
    };
    let push = |n: usize, name: &str| {
        env.file("Dockerfile", fill(dockerfiles[n], &values));
        env.build(["--push", "--tag", name]).success();
        env.kiln(["rmi", "--force", name]).run();
    };
    push(0, &names[0]);
    assert_eq!(build(1).content("alpine-release3"), "3.20.0\n");
    push(2, &names[1]);
    let made = build(3);
    assert_eq!(made.content("bar"), "foo");
    assert_eq!(made.content("bar2"), "3.20.0\n");
    assert_eq!(made.content("bar3"), "bar3");
}

#[test]
fn an_error_shows_the_line_that_is_wrong() {
    let Some(scenario) = Scenario::read("errors/testErrorsSourceMap") else { return };
    let env = TestEnv::new();
    busybox_and_alpine(&env);
    for row in scenario.rows("tcases") {
        let dockerfile = row["dockerfile"].as_str().expect("a Dockerfile");
        env.file("Dockerfile", dockerfile);
        let outcome = env.build([]).failure(1);
        let line = row["errorLine"][0].as_u64().expect("a line");
        assert!(outcome.stderr.contains(&format!("Dockerfile:{line}")), "{row}\n{outcome}");
        let text = dockerfile.lines().nth(usize::try_from(line).expect("small") - 1).expect("that line");
        assert!(outcome.stderr.contains(text), "{row}\n{outcome}");
    }
}

#[test]
fn a_relative_path_of_copy_from_is_relative_to_the_root() {
    let Some(scenario) = Scenario::read("workdir/testWorkdirCopyIgnoreRelative") else { return };
    let env = TestEnv::new();
    env.busybox().file("Dockerfile", scenario.dockerfile().replace("%[1]s", "busybox"));
    let made = Made::new(&env, &[]);
    assert!(made.content("Dockerfile").contains("WORKDIR /foo"));
}

#[test]
fn no_cache_filter_performs_the_steps_of_a_stage_again() {
    let env = TestEnv::new();
    let unique = "RUN head -c 100 /dev/urandom | sha256sum > /unique";
    env.busybox().file(
        "Dockerfile",
        format!(
            "FROM busybox AS s0\n{unique}\nFROM busybox AS s1\n{unique}\nFROM scratch\nCOPY --from=s0 /unique /u0\nCOPY --from=s1 /unique /u1\n"
        ),
    );
    let build = |words: &[&str]| {
        let made = Made::new(&env, words);
        (made.content("u0"), made.content("u1"))
    };
    let first = build(&[]);
    assert_eq!(build(&[]), first);
    let second = build(&["--no-cache-filter=s1"]);
    assert_eq!(second.0, first.0);
    assert_ne!(second.1, first.1);
    let third = build(&["--no-cache"]);
    assert!(third.0 != first.0 && third.1 != second.1);
}
