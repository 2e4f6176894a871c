//! ADD of a URL.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use kiln_tests::TestEnv;
use sha2::{Digest, Sha256};

use crate::corpus::{Scenario, fill};
use crate::made::Made;
use crate::web::Web;

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A world whose Dockerfile is `ADD <arguments>` on scratch.
fn adding(arguments: &str) -> TestEnv {
    let env = TestEnv::new();
    env.file("Dockerfile", format!("FROM scratch\nADD {arguments}\n"));
    env
}

#[test]
fn what_add_fetches_has_the_given_checksum() {
    let Some(scenario) = Scenario::read("add/testAddChecksum") else { return };
    let web = Web::start();
    web.page("/foo", "content1", ["ETag: \"c1\""]);
    let [content, empty, local] = [&b"content1"[..], b"", b"local file"].map(digest);
    let env = TestEnv::new();
    env.file("foo", "local file");
    let values = [
        ("server.URL + \"/foo\"", &*web.url("/foo")),
        ("digest.FromBytes(resp.Content).String()", &format!("sha256:{content}")),
        ("digest.FromBytes(resp.Content).Encoded()", &content),
        ("digest.FromBytes(nil).String()", &format!("sha256:{empty}")),
        ("digest.FromBytes(foo).String()", &format!("sha256:{local}")),
    ];
    let errors = [
        None,
        None,
        Some("digest mismatch"),
        Some("unsupported digest algorithm"),
        Some("unsupported digest algorithm"),
        Some("invalid checksum digest format"),
        Some("checksum requires HTTP(S) or Git sources"),
    ];
    let dockerfiles = scenario.dockerfiles();
    assert_eq!(dockerfiles.len(), errors.len());
    for (dockerfile, error) in dockerfiles.into_iter().zip(errors) {
        env.file("Dockerfile", fill(dockerfile, &values));
        let made = Made::new(&env, &[]);
        match error {
            None => assert_eq!(made.content("tmp/foo"), "content1"),
            Some(error) => made.fails(error),
        }
    }
}

#[test]
fn a_page_with_the_same_etag_is_not_fetched_again() {
    let web = Web::start();
    web.page("/foo", "one", ["ETag: \"1\""]);
    let env = adding(&format!("{} /", web.url("/foo")));
    assert_eq!(Made::new(&env, &[]).content("foo"), "one");
    assert!(web.asked().iter().any(|line| line == "GET /foo 200"));

    let again = Made::new(&env, &[]);
    assert_eq!(again.content("foo"), "one");
    let asked = web.asked();
    assert!(
        asked.iter().any(|line| line.ends_with("304")) && !asked.iter().any(|l| l == "GET /foo 200"),
        "{asked:?}"
    );
    assert!(again.ran().iter().all(|step| !step.contains("ADD")), "{:?}", again.ran());

    web.page("/foo", "two", ["ETag: \"2\""]);
    assert_eq!(Made::new(&env, &[]).content("foo"), "two");
}

#[test]
fn another_etag_for_the_same_content_runs_no_step_again() {
    let web = Web::start();
    web.page("/foo", "one", ["ETag: \"1\"", "Last-Modified: Sun, 09 Sep 2001 01:46:40 GMT"]);
    let env = adding(&format!("{} /\nRUN head -c 16 /dev/urandom | sha256sum > /unique", web.url("/foo")));
    env.busybox().file(
        "Dockerfile",
        format!(
            "FROM busybox\nADD {} /\nRUN head -c 16 /dev/urandom | sha256sum > /unique\n",
            web.url("/foo")
        ),
    );
    let first = Made::new(&env, &[]).content("unique");
    web.page("/foo", "one", ["ETag: \"2\"", "Last-Modified: Sun, 09 Sep 2001 01:46:40 GMT"]);
    assert_eq!(Made::new(&env, &[]).content("unique"), first);
}

#[test]
fn the_file_has_the_time_of_last_modified_or_1970() {
    let web = Web::start();
    web.page("/dated", "x", ["Last-Modified: Sun, 09 Sep 2001 01:46:40 GMT"]);
    web.page("/undated", "x", []);
    let env = adding(&format!("{} {} /", web.url("/dated"), web.url("/undated")));
    let image = env.image([]);
    let time = |path: &str| image.layers[0].iter().find(|entry| entry.path == path).expect(path).mtime;
    assert_eq!((time("dated"), time("undated")), (1_000_000_000, 0));
}

#[test]
fn the_name_is_that_of_the_urls_path_before_redirection() {
    let web = Web::start();
    web.page("/real", "content", ["Content-Disposition: attachment; filename=\"other\""]);
    web.moved("/dir/asked", "/real");
    for (destination, path) in [("/d/", "d/asked"), ("/d", "d"), (".", "asked"), ("/x/y", "x/y")] {
        let env = adding(&format!("{}?a=b {destination}", web.url("/dir/asked")));
        assert_eq!(Made::new(&env, &[]).content(path), "content", "{destination}");
    }
}

#[test]
fn chmod_and_chown_go_to_what_was_fetched() {
    let web = Web::start();
    web.page("/foo", "x", []);
    let env =
        adding(&format!("--chmod=640 --chown=7:8 {} /\nADD {} /plain", web.url("/foo"), web.url("/foo")));
    let image = env.image([]);
    assert_eq!(image.listing(), "f 0640 /foo 1 7:8\nf 0600 /plain 1\n");
    let made = Made::new(&env, &[]);
    assert_eq!(made.metadata("foo").permissions().mode() & 0o7777, 0o640);
    assert_eq!(made.metadata("plain").size(), 1);
}

#[test]
fn an_archive_from_a_url_is_unpacked_only_on_request() {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o644);
    tar.append_data(&mut header, "in/file", &b"hello"[..]).expect("append");
    let bytes = tar.into_inner().expect("a tar");
    let web = Web::start();
    web.page("/a.tar", bytes, []);
    let url = web.url("/a.tar");
    let env = adding(&format!(
        "{url} /plain/\nADD --unpack=true {url} /unpacked/\nADD --unpack=false {url} /kept/"
    ));
    let made = Made::new(&env, &[]).success();
    assert!(made.has("plain/a.tar") && made.has("kept/a.tar"));
    assert_eq!(made.content("unpacked/in/file"), "hello");
}

#[test]
fn a_missing_page_is_an_error_that_names_it() {
    let web = Web::start();
    let env = adding(&format!("{} /", web.url("/nothing")));
    let outcome = Made::new(&env, &[]).outcome.failure(1).says(["not found", "/nothing"]);
    assert!(outcome.stderr.len() < 20_000);
}

#[test]
fn a_page_behind_a_login_is_fetched_with_the_secret_for_its_host() {
    let web = Web::start();
    web.guarded("/token", "by token", "Bearer t0ps3cret");
    let url = web.url("/token");
    let host = url.trim_start_matches("http://").trim_end_matches("/token");
    let env = adding(&format!("{url} /got"));
    std::fs::write(env.path("secret"), "t0ps3cret").expect("write the secret");
    Made::new(&env, &[]).outcome.failure(1).says(["wants a login"]);
    let secret = |id: &str| format!("--secret=id={id},src={}", env.path("secret").display());
    assert_eq!(Made::new(&env, &[&secret(&format!("HTTP_AUTH_TOKEN_{host}"))]).content("got"), "by token");
    // A secret for another host is not sent.
    Made::new(&env, &["--no-cache", &secret("HTTP_AUTH_TOKEN_example.org")]).outcome.failure(1);
}
