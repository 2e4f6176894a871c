//! A case as kiln performed it.

use std::fs;
use std::path::Path;

use kiln_tests::{Image, Outcome, Progress, TestEnv};

use crate::case::{Case, Cases};
use crate::set_up;

/// What came of a build.
pub(crate) struct Performed {
    pub(crate) outcome: Outcome,
    pub(crate) progress: Progress,
    /// The image, if the build succeeded and a reader takes it.
    pub(crate) image: Option<Image>,
}

impl Performed {
    /// Sets a case up, builds it, reads the result back and clears up.
    pub(crate) fn of(case: &Case, cases: &Cases, env: &TestEnv, corpus: &Path) -> Self {
        for parent in case.options.parents.values() {
            tag_parent(cases.get(parent), cases, env, corpus);
        }
        let dir = tempfile::tempdir_in(env.path(".")).expect("mkdir");
        set_up::context(case, corpus, &dir.path().join("context"));
        let out = dir.path().join("out");
        let mut words = arguments(case, dir.path());
        if case.is_lint() {
            words.push("--call=check,format=json".to_owned());
        } else {
            words.push(format!("--output=type=oci,tar=false,dest={}", out.display()));
        }
        words.push(dir.path().join("context").display().to_string());
        let outcome = env.kiln(&words).through(["timeout", "--kill-after=5", "120"]).run();
        // A layout that the reader refuses is a fault of that case alone.
        let image = (outcome.code == 0 && !case.is_lint())
            .then(|| std::panic::catch_unwind(|| Image::layout(&out)).ok())
            .flatten();
        let progress = Progress::read(&outcome.stderr);
        Self { outcome, progress, image }
    }
}

/// The name in the local store of the image that a case makes.
fn parent_name(id: &str) -> String {
    let plain: String =
        id.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    format!("golden.test/{}:latest", plain.trim_matches('-').replace("--", "-"))
}

/// Builds a case once more, as an image of the local store, for another that stands on it.
fn tag_parent(case: &Case, cases: &Cases, env: &TestEnv, corpus: &Path) {
    for parent in case.options.parents.values() {
        tag_parent(cases.get(parent), cases, env, corpus);
    }
    let dir = tempfile::tempdir_in(env.path(".")).expect("mkdir");
    set_up::context(case, corpus, &dir.path().join("context"));
    let mut words = arguments(case, dir.path());
    words.push(format!("--tag={}", parent_name(&case.id)));
    words.push(dir.path().join("context").display().to_string());
    env.kiln(&words).run(); // if it fails, so does the child, and says so
}

fn arguments(case: &Case, dir: &Path) -> Vec<String> {
    let options = &case.options;
    let context = dir.join("context");
    let mut words: Vec<String> =
        ["build", "--progress=rawjson", "--no-cache", "--network=host"].map(str::to_owned).into();
    // Left out where it is the default, for then other spellings are looked for too.
    if case.dockerfile != "Dockerfile" {
        words.push(format!("--file={}", context.join(&case.dockerfile).display()));
    }
    words.push(format!("--build-arg=BUILDKIT_CACHE_MOUNT_NS={}", dir.display()));
    let mut option = |flag: &str, name: &str, value: &str| words.push(format!("--{flag}={name}={value}"));
    for (name, value) in &options.build_args {
        option("build-arg", name, value);
    }
    for (name, value) in &options.labels {
        option("label", name, value);
    }
    for (name, base) in &options.bases {
        option("build-context", name, &format!("docker-image://{base}"));
    }
    for (name, context) in &options.named_contexts {
        option("build-context", name, &format!("docker-image://{}", context.image));
    }
    for (name, id) in &options.parents {
        option("build-context", name, &format!("docker-image://{}", parent_name(id)));
    }
    for (id, value) in &options.secrets {
        let file = dir.join(format!("secret-{id}"));
        fs::write(&file, value).expect("write a secret");
        option("secret", "id", &format!("{id},src={}", file.display()));
    }
    for (name, value) in &options.frontend {
        match name.as_str() {
            "shm-size" => words.push(format!("--shm-size={value}")),
            // The build argument goes before the frontend's option, for which kiln has no flag.
            "hostname" if case.options.build_args.contains_key("BUILDKIT_SANDBOX_HOSTNAME") => {}
            "hostname" => words.push(format!("--build-arg=BUILDKIT_SANDBOX_HOSTNAME={value}")),
            other => panic!("frontend option {other}"),
        }
    }
    words.extend(options.target.iter().map(|target| format!("--target={target}")));
    words
}
