//! Contexts that come over http: a Dockerfile, a tar.

use kiln_tests::TestEnv;

use crate::corpus::Scenario;
use crate::made::Made;
use crate::web::Web;

/// A tar of files with one time.
pub(crate) fn tar_of(files: &[(&str, &str)], time: u64) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(time);
        tar.append_data(&mut header, name, content.as_bytes()).expect("append");
    }
    tar.into_inner().expect("a tar")
}

#[test]
fn a_url_of_a_text_is_a_dockerfile_without_a_context() {
    let Some(scenario) = Scenario::read("git_http/testHTTPDockerfile") else { return };
    let (env, web) = (TestEnv::new(), Web::start());
    env.busybox();
    web.page("/df", scenario.dockerfile(), []);
    assert_eq!(Made::of(&env, &[], &web.url("/df")).content("foo"), "foo-contents");
}

#[test]
fn a_url_of_a_tar_is_a_context() {
    let Some(scenario) = Scenario::read("export/testTarContext") else { return };
    let (env, web) = (TestEnv::new(), Web::start());
    web.page(
        "/context.tar",
        tar_of(&[("Dockerfile", scenario.text("dockerfile")), ("foo", "contents")], 1),
        [],
    );
    assert_eq!(Made::of(&env, &[], &web.url("/context.tar")).content("foo"), "contents");
}

#[test]
fn a_tar_may_have_its_dockerfile_from_elsewhere() {
    let Some(scenario) = Scenario::read("export/testTarContextExternalDockerfile") else { return };
    let (env, web) = (TestEnv::new(), Web::start());
    web.page("/context.tar", tar_of(&[("foo", "contents")], 1), []);
    let made = Made::with_input(&env, &["--file=-"], &web.url("/context.tar"), scenario.dockerfile());
    assert_eq!(made.content("bar"), "contents");
}

#[test]
fn a_dockerfile_of_another_name_is_found_in_a_remote_context() {
    let (env, web) = (TestEnv::new(), Web::start());
    let files = [
        ("Dockerfile", "FROM scratch\nCOPY none /\n"),
        ("sub/mine", "FROM scratch\nCOPY foo /\n"),
        ("foo", "x"),
    ];
    web.page("/context.tar", tar_of(&files, 1), []);
    assert_eq!(Made::of(&env, &["--file=sub/mine"], &web.url("/context.tar")).content("foo"), "x");
}

#[test]
fn a_packed_context_is_taken_whole_whatever_its_dockerignore() {
    let (env, web) = (TestEnv::new(), Web::start());
    let files =
        [("Dockerfile", "FROM scratch\nCOPY . /\n"), (".dockerignore", "bar\n"), ("foo", "x"), ("bar", "y")];
    let tar = tar_of(&files, 1);
    web.page("/context.tar", tar.clone(), []);
    for made in
        [Made::of(&env, &[], &web.url("/context.tar")), Made::with_input(&env, &[], "-", tar.as_slice())]
    {
        let made = made.success();
        assert!(made.has("foo") && made.has("bar"));
    }
}
