//! SOURCE_DATE_EPOCH that names a source: the build has the time of that source.

use kiln_tests::{Image, TestEnv};

use crate::corpus::{Scenario, fill};
use crate::git::Repository;
use crate::remote::tar_of;
use crate::web::Web;

/// `Last-Modified` of the archive, and the time of the newest file in it.
const MODIFIED: (&str, &str) = ("Last-Modified: Sun, 09 Sep 2001 01:46:40 GMT", "2001-09-09T01:46:40Z");
const NEWEST: (u64, &str) = (1_100_000_000, "2004-11-09T11:33:20Z");
const RUN: &str = "FROM busybox\nARG SOURCE_DATE_EPOCH\nRUN echo -n \"$SOURCE_DATE_EPOCH\" >/epoch\n";

/// Builds a context into a layout, with what else is typed.
#[track_caller]
fn build<const N: usize>(env: &TestEnv, context: &str, words: [&str; N]) -> Image {
    let dest = env.path("layout");
    let output = format!("--output=type=oci,tar=false,rewrite-timestamp=true,dest={}", dest.display());
    let all = ["build", "--progress=plain", &output].into_iter().chain(words).chain([context]);
    env.kiln(all).run().success();
    Image::layout(&dest)
}

/// A Dockerfile of a scenario, in the world's context.
fn context(env: &TestEnv, dockerfile: &str) -> String {
    env.file("Dockerfile", dockerfile);
    env.path("context").display().to_string()
}

/// The time is that of the archive's newest file, also in a step and in what the exporter wrote.
#[track_caller]
fn is_of_the_newest(image: &Image) {
    assert_eq!(image.config["created"], NEWEST.1);
    assert_eq!(image.content("epoch"), NEWEST.0.to_string());
    let times = image.layers.last().expect("a layer").iter().map(|entry| entry.mtime);
    assert!(times.max().expect("an entry") <= NEWEST.0 as i64);
}

#[test]
fn the_time_of_a_git_context_is_its_commits() {
    let Some(scenario) = Scenario::read("source_date_epoch/testSourceDateEpochContextGit") else { return };
    let (env, web) = (TestEnv::new(), Web::start());
    let repository = Repository::new(env.path("repository"), []);
    web.folder("/main", repository.dir().to_owned());
    repository.commit(&[("Dockerfile", scenario.dockerfile())]);
    let image = build(&env, &web.url("/main/.git"), ["--build-arg=SOURCE_DATE_EPOCH=context"]);
    assert_eq!(image.config["created"], "2020-01-02T03:04:05Z");
}

#[test]
fn the_time_of_a_tar_over_http_is_its_newest_files() {
    let (env, web) = (TestEnv::new(), Web::start());
    env.busybox();
    web.page("/context.tar", tar_of(&[("Dockerfile", RUN)], NEWEST.0), []);
    let image = build(&env, &web.url("/context.tar"), ["--build-arg=SOURCE_DATE_EPOCH=context"]);
    is_of_the_newest(&image);
}

#[test]
fn the_time_of_a_tar_over_http_is_last_modified_where_the_server_tells() {
    let (env, web) = (TestEnv::new(), Web::start());
    web.page(
        "/context.tar",
        tar_of(&[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")], NEWEST.0),
        [MODIFIED.0],
    );
    let image = build(&env, &web.url("/context.tar"), ["--build-arg=SOURCE_DATE_EPOCH=context"]);
    assert_eq!(image.config["created"], MODIFIED.1);
}

#[test]
fn a_named_tar_gives_the_time_of_its_newest_file() {
    let id = "source_date_epoch/testSourceDateEpochNamedContextHTTPArchive";
    let Some(scenario) = Scenario::read(id) else { return };
    let (env, web) = (TestEnv::new(), Web::start());
    env.busybox();
    web.page("/src.tar", tar_of(&[("foo", "foo"), ("bar", "bar")], NEWEST.0), []);
    let context = context(&env, scenario.dockerfile());
    let source = format!("--build-context=mysource={}", web.url("/src.tar"));
    is_of_the_newest(&build(&env, &context, [&*source]));
}

#[test]
fn a_named_tar_gives_last_modified_where_the_server_tells() {
    let id = "source_date_epoch/testSourceDateEpochNamedContextHTTPLastModified";
    let Some(scenario) = Scenario::read(id) else { return };
    let (env, web) = (TestEnv::new(), Web::start());
    web.page("/src.tar", tar_of(&[("foo", "foo")], NEWEST.0), [MODIFIED.0]);
    let context = context(&env, scenario.dockerfile());
    let source = format!("--build-context=mysource={}", web.url("/src.tar"));
    let image = build(&env, &context, [&*source]);
    assert_eq!(image.config["created"], MODIFIED.1);
    assert_eq!(image.layers.len(), 1);
    assert!(image.layers[0].iter().all(|entry| entry.mtime <= 1_000_000_000));
}

#[test]
fn a_stage_that_is_one_added_tar_gives_its_time() {
    let Some(scenario) = Scenario::read("source_date_epoch/testSourceDateEpochStageHTTPArchive") else {
        return;
    };
    let (env, web) = (TestEnv::new(), Web::start());
    env.busybox();
    web.page("/src.tar", tar_of(&[("foo", "foo")], NEWEST.0), []);
    let context = context(&env, &fill(scenario.dockerfile(), &[("server.URL", &web.url(""))]));
    is_of_the_newest(&build(&env, &context, []));
}
