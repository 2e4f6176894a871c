//! Named contexts of every kind.

use kiln_tests::{Image, Login, Registry, TestEnv};

use crate::corpus::Scenario;
use crate::git::Repository;
use crate::made::{Made, busybox_and_alpine, image};
use crate::web::Web;

#[test]
fn a_named_context_that_no_step_needs_is_not_looked_up() {
    let Some(scenario) = Scenario::read("namedcontext/testEagerNamedContextLookup") else { return };
    let env = TestEnv::new();
    busybox_and_alpine(&env);
    env.file("Dockerfile", scenario.dockerfile());
    let contexts = [
        "--build-context=notused=docker-image://127.0.0.1:1/library/nosuchimage:latest",
        "--build-context=busybox=docker-image://127.0.0.1:1/library/dontexist:latest",
    ];
    assert_eq!(Made::new(&env, &contexts).content("foo"), "base\n");
}

/// How many bytes of the named context `foo` a target reads.
fn read_of_foo(scenario: &Scenario, target: &str, replaced: bool) -> u64 {
    let env = TestEnv::new();
    busybox_and_alpine(&env);
    env.write("foo/foo", "foo").write("foo/bar", vec![0; 4096 * 1000]);
    let base = scenario.text("dockerfileBase");
    let stage = if replaced { "FROM alpine AS foo\n" } else { "" };
    env.file("Dockerfile", format!("{stage}{base}"));
    let context = format!("--build-context=foo={}", env.path("foo").display());
    let made = Made::new(&env, &[&context, &format!("--target={target}")]).success();
    let lines =
        made.outcome.stderr.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let statuses = lines.flat_map(|line| line["statuses"].as_array().cloned().unwrap_or_default());
    let transfers = statuses.filter(|status| status["id"] == "transferring context:");
    transfers.filter_map(|status| status["current"].as_u64()).max().unwrap_or(0)
}

#[test]
fn of_a_named_directory_only_what_steps_need_is_read() {
    let Some(scenario) = Scenario::read("namedcontext/testNamedFilteredContext") else { return };
    for replaced in [false, true] {
        for target in ["run_mount", "copy_from"] {
            let read = read_of_foo(&scenario, target, replaced);
            assert!((1..1024).contains(&read), "{target}: {read}");
        }
        for target in ["image_source", "all"] {
            let read = read_of_foo(&scenario, target, replaced);
            assert!(read >= 4096 * 1000, "{target}: {read}");
        }
    }
}

#[test]
fn a_named_image_from_a_registry_takes_the_place_of_an_image_or_a_stage() {
    let Some(scenario) = Scenario::read("namedcontext/testNamedImageContext") else { return };
    let Some(registry) = Registry::start(Login::Open) else { return };
    let (env, name) = (TestEnv::new(), registry.name("test:latest"));
    busybox_and_alpine(&env);
    let dockerfiles = scenario.dockerfiles();
    env.file("Dockerfile", dockerfiles[0]);
    let made = Made::new(&env, &["--build-context=busybox=docker-image://alpine"]);
    assert_eq!(made.content("out"), "3.20.0\n");

    env.file("Dockerfile", dockerfiles[1]);
    env.build(["--push", "--tag", &name]).success();
    let elsewhere = TestEnv::new(); // knows the image from the registry alone
    elsewhere.file("Dockerfile", dockerfiles[2]);
    let made = Made::new(&elsewhere, &[&format!("--build-context=busybox=docker-image://{name}")]);
    assert_eq!(made.content("env_foobar"), "FOOBAR=foobar\n");
    assert!(made.content("env_path").contains("/foobar:"));

    elsewhere.file("Dockerfile", dockerfiles[3]);
    Made::new(&elsewhere, &[&format!("--build-context=base=docker-image://{name}")]).success();
}

/// A layout in `layout`, of the given Dockerfile; the digest of its manifest.
fn layout(env: &TestEnv, dockerfile: &str) -> String {
    env.file("Dockerfile", dockerfile);
    let dest = env.path("layout");
    env.build([&*format!("--output=type=oci,tar=false,dest={}", dest.display())]).success();
    Image::layout(&dest).digest
}

#[test]
fn a_layout_is_a_context_with_files_and_configuration() {
    let Some(scenario) = Scenario::read("namedcontext/testNamedOCILayoutContext") else { return };
    let env = TestEnv::new();
    busybox_and_alpine(&env);
    let dockerfiles = scenario.dockerfiles();
    let base = dockerfiles[0].replace("FROM busybox:latest", "FROM alpine");
    let reference = format!("oci-layout://{}@{}", env.path("layout").display(), layout(&env, &base));
    env.file("Dockerfile", dockerfiles[1].replace("> out\n", "> out3\n"));
    let contexts = ["base", "foo"].map(|name| format!("--build-context={name}={reference}"));
    let made = Made::new(&env, &[&contexts[0], &contexts[1]]);
    assert_eq!(made.content("out"), "first");
    assert_eq!(made.content("out2"), "second");
    assert_eq!(made.content("outfoo"), "bar");
}

#[test]
fn an_image_from_a_layout_is_exported_with_its_configuration() {
    let Some(scenario) = Scenario::read("namedcontext/testNamedOCILayoutContextExport") else { return };
    let env = TestEnv::new();
    let dockerfiles = scenario.dockerfiles();
    let digest = layout(&env, dockerfiles[0]);
    env.file("Dockerfile", dockerfiles[1]);
    let at = env.path("layout").display().to_string();
    for reference in [format!("{at}@{digest}"), at] {
        let image = env.image([&*format!("--build-context=nonexistent=oci-layout://{reference}")]);
        assert_eq!(image.container()["WorkingDir"], "/test");
        let env = image.container()["Env"].as_array().expect("variables");
        assert!(env.iter().any(|variable| variable == "foo=bar"), "{env:?}");
    }
}

#[test]
fn a_named_directory_has_its_own_dockerignore() {
    let env = TestEnv::new();
    env.file("Dockerfile", "FROM scratch\nCOPY --from=other . /\n").file(".dockerignore", "b\n");
    env.write("other/.dockerignore", "a\n").write("other/a", "a").write("other/b", "b");
    let made =
        Made::new(&env, &[&format!("--build-context=other={}", env.path("other").display())]).success();
    assert!(!made.has("a") && made.has("b"));
}

#[test]
fn a_repository_and_a_file_on_a_server_are_named_contexts() {
    let (env, web) = (TestEnv::new(), Web::start());
    let repository = Repository::new(env.path("repository"), []);
    web.folder("/main", repository.dir().to_owned());
    repository.commit(&[("foo", "of git"), ("sub/bar", "below")]);
    web.page("/other.tar", "as it is", []);
    env.file(
        "Dockerfile",
        "FROM scratch\nCOPY --from=repo foo /git\nCOPY --from=part bar /bar\nCOPY --from=tar other.tar /tar\n",
    );
    let contexts = [
        format!("--build-context=repo={}", web.url("/main/.git")),
        format!("--build-context=part={}", web.url("/main/.git#master:sub")),
        format!("--build-context=tar={}", web.url("/other.tar")),
    ];
    let made = Made::new(&env, &contexts.each_ref().map(String::as_str));
    assert_eq!(made.content("git"), "of git");
    assert_eq!(made.content("bar"), "below");
    assert_eq!(made.content("tar"), "as it is");
}

#[test]
fn a_named_context_may_be_for_one_platform() {
    let env = TestEnv::new();
    env.file("Dockerfile", "FROM base\n");
    image(&env, "plain", "FROM scratch\nCOPY <<EOF /which\nplain\nEOF\n");
    image(&env, "special", "FROM scratch\nCOPY <<EOF /which\nspecial\nEOF\n");
    let contexts = [
        "--build-context=base=docker-image://plain",
        "--build-context=base::linux/amd64=docker-image://special",
    ];
    let made = Made::new(&env, &[&contexts[..], &["--platform=linux/amd64"]].concat());
    assert_eq!(made.content("which"), "special\n");
}

#[test]
fn a_named_context_takes_the_place_of_a_base_image_and_of_a_stage() {
    let env = TestEnv::new();
    env.busybox().write("other/file", "mine");
    env.file("Dockerfile", "FROM busybox AS made\nRUN false\nFROM scratch\nCOPY --from=made /file /\n");
    let context = format!("--build-context=made={}", env.path("other").display());
    assert_eq!(Made::new(&env, &[&context]).content("file"), "mine");
}
