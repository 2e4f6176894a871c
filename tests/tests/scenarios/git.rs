//! Git repositories, served as plain files over http: as contexts, and for ADD.

use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_tests::TestEnv;
use serde_json::Value;

use crate::corpus::Scenario;
use crate::made::Made;
use crate::web::Web;

/// A repository in a directory of its own.
pub(crate) struct Repository {
    dir: PathBuf,
}

impl Repository {
    /// Runs `git init` with more words.
    pub(crate) fn new<const N: usize>(dir: PathBuf, words: [&str; N]) -> Self {
        std::fs::create_dir_all(&dir).expect("mkdir");
        let repository = Self { dir };
        repository.git([&["init", "--quiet", "--initial-branch=master"][..], &words].concat());
        repository
    }

    /// The directory of its work tree.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Runs git; what it prints.
    #[track_caller]
    pub(crate) fn git<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> String {
        let mut command = Command::new("git");
        command.current_dir(&self.dir).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), "test").env(format!("GIT_{role}_EMAIL"), "test");
            command.env(format!("GIT_{role}_DATE"), "2020-01-02T03:04:05Z");
        }
        let output = command.args(words).output().expect("run git");
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Writes files and commits them; the id of the commit.
    #[track_caller]
    pub(crate) fn commit(&self, files: &[(&str, &str)]) -> String {
        for (name, content) in files {
            let path = self.dir.join(name);
            std::fs::create_dir_all(path.parent().expect("a file is in a directory")).expect("mkdir");
            std::fs::write(path, content).expect("write");
            self.git(["add", "--", name]);
        }
        self.git(["commit", "--quiet", "--message=next"]);
        self.git(["update-server-info"]);
        self.git(["rev-parse", "HEAD"])
    }
}

/// The repositories of `testGitQueryString`, and the commits of v0.0.2 and latest.
fn queried(env: &TestEnv, web: &Web, dockerfile: &str) -> (String, String) {
    let submodule = Repository::new(env.path("submodule"), []);
    submodule.commit(&[("file", "123\n")]);
    web.folder("/sub", submodule.dir().to_owned());
    let main = Repository::new(env.path("repository"), []);
    web.folder("/main", main.dir().to_owned());
    main.git(["submodule", "add", "--quiet", &web.url("/sub/.git"), "submod"]);
    main.commit(&[("foo", "base\n"), ("Dockerfile", dockerfile)]);
    for words in ["tag v0.0.1", "branch base"] {
        main.git(words.split(' '));
    }
    main.commit(&[("foo", "feature\n"), ("sub/foo", "subfeature\n"), ("sub/Dockerfile", dockerfile)]);
    for words in ["branch feature", "checkout --quiet -B master base"] {
        main.git(words.split(' '));
    }
    let second = main.commit(&[("foo", "v0.0.2\n")]);
    main.git(["tag", "v0.0.2"]);
    let latest = main.commit(&[("foo", "latest\n")]);
    main.git(["tag", "latest"]);
    main.git(["update-server-info"]);
    (second, latest)
}

/// The value of a Go expression of the table: texts and names, joined by `+`, cut by `[:8]`.
fn evaluate(value: &Value, names: &[(&str, &str)]) -> Option<String> {
    let Some(expression) = value["$go"].as_str() else { return value.as_str().map(str::to_owned) };
    let term = |term: &str| {
        if term.starts_with('"') {
            return serde_json::from_str::<String>(term).expect("a text");
        }
        let (name, cut) = term.split_once("[:8]").map_or((term, 40), |(name, _)| (name, 8));
        let found = names.iter().find(|(known, _)| *known == name);
        let value = found.unwrap_or_else(|| panic!("a value for {name}")).1;
        if name.starts_with("commit") { value[..cut].to_owned() } else { value.to_owned() }
    };
    Some(expression.split(" + ").map(term).collect())
}

/// Builds each row's URL in a way of the caller's and compares what comes of it.
#[track_caller]
fn each_query(build: impl Fn(&TestEnv, &str, &[&str]) -> (Made, &'static str)) {
    let Some(scenario) = Scenario::read("addgit/testGitQueryString") else { return };
    let (env, web) = (TestEnv::new(), Web::start());
    let (second, latest) = queried(&env, &web, scenario.dockerfile());
    let server = web.url("/main");
    let names = [("serverURL", &*server), ("commitHashV2", &*second), ("commitHashLatest", &*latest)];
    let mut failures = Vec::new();
    for row in scenario.rows("tcases") {
        let url = evaluate(&row["url"], &names).expect("a URL");
        let target = row["target"].as_str().map(|target| format!("--target={target}"));
        let (made, file) = build(&env, &url, &target.iter().map(String::as_str).collect::<Vec<_>>());
        let fits = match (evaluate(&row["expectErr"], &names), evaluate(&row["expectOut"], &names)) {
            // The repository is named between these words.
            (Some(error), _) => {
                let words = error.trim_start_matches("repository ");
                made.outcome.code == 1 && made.outcome.text().contains(words)
            }
            (None, Some(content)) => made.outcome.code == 0 && made.content(file) == content,
            (None, None) => panic!("a row without an expectation: {row}"),
        };
        if !fits {
            failures.push(format!("{row}\n{}", made.outcome));
        }
    }
    assert!(failures.is_empty(), "{} rows fail:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn the_query_of_a_git_context_says_what_to_take() {
    each_query(|env, url, words| (Made::of(env, words, url), "out"));
}

#[test]
fn the_query_of_an_added_repository_says_what_to_take() {
    let Some(scenario) = Scenario::read("addgit/testGitQueryString") else { return };
    let dockerfile = scenario.dockerfiles()[1].to_owned();
    each_query(move |env, url, words| {
        env.file("Dockerfile", dockerfile.replace("«tc.url»", url));
        (Made::new(env, words), "repo/foo")
    });
}

/// Builds the first and the second commit of `testDockerfileFromGit` as contexts.
fn from_git(format: &str) {
    let Some(scenario) = Scenario::read("git_http/testDockerfileFromGit") else { return };
    let (env, web) = (TestEnv::new(), Web::start());
    env.busybox();
    let repository = Repository::new(env.path("repository"), [&*format!("--object-format={format}")]);
    web.folder("/main", repository.dir().to_owned());
    let dockerfiles = scenario.dockerfiles();
    repository.commit(&[("Dockerfile", dockerfiles[0])]);
    repository.git(["branch", "first"]);
    repository.commit(&[("Dockerfile", dockerfiles[1])]);

    let first = Made::of(&env, &[], &web.url("/main/.git#first"));
    assert_eq!(first.content("bar"), "fromgit");
    assert!(!first.has("bar2"));
    let second = Made::of(&env, &[], &web.url("/main/.git"));
    assert_eq!((second.content("bar"), second.content("bar2")), ("fromgit".to_owned(), "fromgit".to_owned()));
}

#[test]
fn a_git_context_is_built_from_the_branch_in_its_url() {
    from_git("sha1");
}

#[test]
fn a_repository_may_name_its_commits_by_sha256() {
    from_git("sha256");
}

#[test]
fn add_takes_a_repository_by_branch_tag_and_commit_with_its_git_directory_if_asked() {
    let (env, web) = (TestEnv::new(), Web::start());
    let repository = Repository::new(env.path("repository"), []);
    web.folder("/main", repository.dir().to_owned());
    let first = repository.commit(&[("foo", "one"), ("sub/bar", "bar")]);
    repository.git(["tag", "-a", "v1", "-m", "annotated"]);
    repository.git(["branch", "old"]);
    repository.commit(&[("foo", "two")]);
    let url = web.url("/main/.git");
    env.file(
        "Dockerfile",
        format!(
            "FROM scratch\nARG TAG=v1\nADD {url} /head\nADD {url}#${{TAG}} /tag\nADD {url}#old:sub /sub\n\
             ADD --keep-git-dir=true {url}#{first} /commit\nADD --chown=3:4 --chmod=600 {url}#refs/heads/old /owned\n"
        ),
    );
    let image = env.image([]);
    for (path, content) in
        [("head/foo", "two"), ("tag/foo", "one"), ("sub/bar", "bar"), ("commit/foo", "one")]
    {
        assert_eq!(image.content(path), content, "{path}");
    }
    assert!(image.has("commit/.git/HEAD") && !image.has("head/.git") && !image.has("sub/.git"));
    assert!(image.listing().contains("f 0600 /owned/foo 3 3:4\n"), "{}", image.listing());
}

#[test]
fn the_checksum_of_an_added_repository_is_the_commit_it_must_be() {
    let (env, web) = (TestEnv::new(), Web::start());
    let repository = Repository::new(env.path("repository"), []);
    web.folder("/main", repository.dir().to_owned());
    let first = repository.commit(&[("foo", "one")]);
    repository.git(["tag", "v1"]);
    let second = repository.commit(&[("foo", "two")]);
    let url = web.url("/main/.git#v1");
    for checksum in [&first[..], &first[..9]] {
        env.file("Dockerfile", format!("FROM scratch\nADD --checksum={checksum} {url} /\n"));
        assert_eq!(Made::new(&env, &[]).content("foo"), "one");
    }
    env.file("Dockerfile", format!("FROM scratch\nADD --checksum={second} {url} /\n"));
    Made::new(&env, &[]).fails("expected checksum to match");
}

#[test]
fn a_checksum_that_fits_runs_no_step_again() {
    let (env, web) = (TestEnv::new(), Web::start());
    env.busybox();
    let repository = Repository::new(env.path("repository"), []);
    web.folder("/main", repository.dir().to_owned());
    let commit = repository.commit(&[("foo", "one")]);
    repository.git(["tag", "v1"]);
    repository.git(["update-server-info"]);
    let mut unique = ["".to_owned(), format!("--checksum={commit} ")].into_iter().map(|flag| {
        let url = web.url("/main/.git#v1");
        let run = "RUN head -c 100 /dev/urandom | sha256sum > /repo/unique";
        env.file(
            "Dockerfile",
            format!("FROM busybox AS a\nADD {flag}{url} /repo\n{run}\nFROM scratch\nCOPY --from=a /repo /\n"),
        );
        Made::new(&env, &[]).content("unique")
    });
    assert_eq!(unique.next(), unique.next());
}

#[test]
fn a_file_on_this_machine_is_no_remote() {
    let env = TestEnv::new();
    let repository = Repository::new(env.path("repository"), []);
    repository.commit(&[("foo", "secret")]);
    for url in
        [format!("file://{}/.git", repository.dir().display()), "ext::sh -c touch% /pwned.git".to_owned()]
    {
        env.file("Dockerfile", format!("FROM scratch\nADD {url} /\n"));
        env.build([]).failure(1);
    }
}
