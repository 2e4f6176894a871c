//! What runs again and what does not.

use kiln_tests::{TestEnv, steps_ran};

/// Builds into the store, and gives the names of the steps that were performed.
#[track_caller]
fn ran<const N: usize>(env: &TestEnv, arguments: [&str; N]) -> Vec<String> {
    let context = env.path("context").display().to_string();
    let words = ["build", "--progress=rawjson", "--tag=app"].into_iter().chain(arguments).chain([&*context]);
    steps_ran(&env.kiln(words).run().success())
}

fn names(expected: &[&str]) -> Vec<String> {
    expected.iter().map(ToString::to_string).collect()
}

const TWO_STAGES: &str = "\
FROM busybox AS tools
RUN echo tools > /tools
FROM busybox
COPY a /a
RUN cat /a > /from-a
COPY --from=tools /tools /tools
COPY b /b
RUN cat /b > /from-b
";

fn two_stages() -> TestEnv {
    let env = TestEnv::new();
    env.busybox().file("a", "1").file("b", "1").file("Dockerfile", TWO_STAGES);
    env
}

#[test]
fn a_second_build_runs_nothing_and_makes_the_same_image() {
    let env = two_stages();
    assert_eq!(ran(&env, []).len(), 6);
    let first = env.image([]);
    assert_eq!(ran(&env, []), names(&[]));
    assert_eq!(env.image([]).digest, first.digest);
}

#[test]
fn a_changed_file_reruns_only_what_depends_on_it() {
    let env = two_stages();
    ran(&env, []);
    env.file("b", "2");
    let again = ran(&env, []);
    assert_eq!(again, names(&["[stage-1 5/6] COPY b /b", "[stage-1 6/6] RUN cat /b > /from-b"]));
    assert_eq!(env.image([]).content("from-b"), "2");
}

#[test]
fn a_file_that_no_step_reads_changes_nothing() {
    let env = two_stages();
    ran(&env, []);
    env.file("unread", "x");
    assert_eq!(ran(&env, []), names(&[]));
}

#[test]
fn a_touched_file_with_the_same_content_changes_nothing() {
    let env = two_stages();
    ran(&env, []);
    env.file("a", "2").file("a", "1");
    assert_eq!(ran(&env, []), names(&[]));
}

#[test]
fn a_step_that_makes_the_same_again_stops_the_change_there() {
    let env = TestEnv::new();
    let dockerfile = "FROM busybox AS made\nCOPY a /a\nRUN wc -c < /a > /size\n\
                      FROM busybox\nCOPY --from=made /size /size\nRUN cat /size > /copy\n";
    env.busybox().file("a", "one").file("Dockerfile", dockerfile);
    assert_eq!(ran(&env, []).len(), 4);
    env.file("a", "two");
    assert_eq!(ran(&env, []), names(&["[made 2/3] COPY a /a", "[made 3/3] RUN wc -c < /a > /size"]));
}

#[test]
fn a_build_argument_reruns_only_steps_that_can_see_it() {
    let env = TestEnv::new();
    env.busybox().file("Dockerfile", "FROM busybox\nRUN echo before > /b\nARG V=1\nRUN echo $V > /v\n");
    ran(&env, []);
    assert_eq!(ran(&env, ["--build-arg=V=2"]), names(&["[3/3] RUN echo 2 > /v"]));
    assert_eq!(ran(&env, ["--build-arg=V=1"]), names(&[]), "both results are kept");
}

#[test]
fn no_cache_runs_everything_and_gives_the_same_content() {
    let env = two_stages();
    ran(&env, []);
    assert_eq!(ran(&env, ["--no-cache"]).len(), 6);
    assert_eq!(ran(&env, []), names(&[]), "what it made is remembered");
}

#[test]
fn a_changed_comment_or_label_runs_nothing() {
    let env = two_stages();
    ran(&env, []);
    env.file("Dockerfile", format!("# a comment\n{TWO_STAGES}LABEL new=1\n"));
    assert_eq!(ran(&env, []), names(&[]));
    assert_eq!(env.image([]).container()["Labels"]["new"], "1");
}

#[test]
fn a_changed_secret_is_not_in_any_key() {
    let env = TestEnv::new();
    env.busybox().write("s", "one");
    env.file("Dockerfile", "FROM busybox\nRUN --mount=type=secret,id=s test -s /run/secrets/s\n");
    let secret = format!("--secret=id=s,src={}", env.path("s").display());
    assert_eq!(ran(&env, [&secret]).len(), 1);
    env.write("s", "two");
    assert_eq!(ran(&env, [&secret]), names(&[]));
}

#[test]
fn a_failed_build_keeps_what_its_finished_steps_made() {
    let env = TestEnv::new();
    env.busybox().file("Dockerfile", "FROM busybox\nRUN echo one > /one\nRUN exit 1\n");
    env.build([]).failure(1);
    env.file("Dockerfile", "FROM busybox\nRUN echo one > /one\nRUN true\n");
    assert_eq!(ran(&env, []), names(&["[3/3] RUN true"]));
}

#[test]
fn two_builds_at_once_run_a_shared_step_once() {
    let env = TestEnv::new();
    env.busybox().file("Dockerfile", "FROM busybox\nRUN sleep 1; cat /proc/sys/kernel/random/uuid > /id\n");
    let layouts = [env.path("one"), env.path("two")];
    let children: Vec<_> = layouts
        .iter()
        .map(|layout| {
            env.build_command([&*format!("--output=type=oci,tar=false,dest={}", layout.display())]).start()
        })
        .collect();
    for child in children {
        assert!(child.wait_with_output().expect("wait").status.success());
    }
    let [one, two] = layouts.map(|layout| kiln_tests::Image::layout(&layout));
    assert_eq!(one.content("id"), two.content("id"));
    assert_eq!(one.digest, two.digest);
}

#[test]
fn independent_stages_run_side_by_side() {
    let env = TestEnv::new();
    let stages: String =
        (0..4).map(|n| format!("FROM busybox AS s{n}\nRUN sleep 1 && echo {n} > /n\n")).collect();
    let copies: String = (0..4).map(|n| format!("COPY --from=s{n} /n /n{n}\n")).collect();
    env.busybox().file("Dockerfile", format!("{stages}FROM scratch\n{copies}"));
    let start = std::time::Instant::now();
    env.build([]).success();
    let taken = start.elapsed();
    assert!(taken.as_secs_f64() < 3.5, "four steps of a second each took {taken:?}");
}
