//! `--cache-to` and `--cache-from`: what one store made, another need not make again.

use std::fs;
use std::path::Path;

use kiln_tests::{Login, Outcome, Progress, Registry, TestEnv};

/// A build file with something to download lazily: two stages, one of which the image does not contain.
const DOCKERFILE: &str = "\
FROM busybox AS tools
RUN head -c 300000 /dev/urandom > /big; echo tools > /tools
FROM busybox
COPY a /a
RUN cat /a > /from-a
COPY --from=tools /tools /tools
COPY b /b
RUN cat /b > /from-b
";

/// The same context and base, seen by two machines.
struct Two {
    env: TestEnv,
}

impl Two {
    fn new() -> Self {
        let env = TestEnv::new();
        env.busybox().file("a", "1").file("b", "1").file("Dockerfile", DOCKERFILE);
        Self { env }
    }

    /// The store of the machine `name`, with the base image.
    #[track_caller]
    fn machine(&self, name: &str) -> String {
        let root = self.env.path(&format!("store-{name}")).display().to_string();
        if !Path::new(&root).exists() {
            // One image for all machines: each import would have a time, and thereby a digest, of its own.
            let image = self.env.path("base.tar").display().to_string();
            if !Path::new(&image).exists() {
                self.env.kiln(["save", "-o", &*image, "busybox"]).run().success();
            }
            self.env.kiln(["--root", &*root, "load", "-i", &*image]).run().success();
        }
        root
    }

    /// A build on the machine `name`, each with a store of its own.
    #[track_caller]
    fn build<const N: usize>(&self, name: &str, arguments: [&str; N]) -> Outcome {
        let root = self.machine(name);
        let context = self.env.path("context").display().to_string();
        let words = ["--root", &*root, "build", "--progress=rawjson"];
        self.env.kiln(words.into_iter().chain(arguments).chain([&*context])).run()
    }

    fn directory(&self) -> String {
        self.env.path("cache").display().to_string()
    }

    /// The file that an output `type=tar` of machine `name` has at `path`.
    fn content(&self, name: &str, path: &str, arguments: &str) -> String {
        let out = self.env.path(&format!("out-{name}")).display().to_string();
        self.build(name, [arguments, "--output", &format!("type=local,dest={out}")]).success();
        fs::read_to_string(Path::new(&out).join(path)).expect("a file of the image")
    }
}

/// The steps of the Dockerfile that were performed.
fn ran(outcome: &Outcome) -> Vec<String> {
    let progress = Progress::read(&outcome.stderr);
    assert!(!progress.steps.is_empty(), "no status lines in {outcome}");
    let runs = |name: &&str| ["RUN ", "COPY "].iter().any(|word| name.contains(word));
    progress.ran().into_iter().filter(runs).map(str::to_owned).collect()
}

/// The names and times of a directory's blobs.
fn blobs(directory: &str) -> Vec<(String, std::time::SystemTime)> {
    let entries = fs::read_dir(Path::new(directory).join("blobs/sha256")).expect("a layout");
    let mut blobs: Vec<_> = entries
        .map(|entry| {
            let entry = entry.expect("an entry");
            let time = entry.metadata().and_then(|metadata| metadata.modified()).expect("a time");
            (entry.file_name().to_string_lossy().into_owned(), time)
        })
        .collect();
    blobs.sort();
    blobs
}

#[test]
fn a_directory_spares_another_machine_all_steps() {
    let two = Two::new();
    let to = format!("type=local,dest={},mode=max", two.directory());
    let from = format!("--cache-from=type=local,src={}", two.directory());
    assert_eq!(ran(&two.build("a", ["--cache-to", &to]).success()).len(), 6);
    assert_eq!(ran(&two.build("b", [&from]).success()), [""; 0]);
    assert_eq!(two.content("c", "from-b", &from), "1");
    // What was used is in the machine's own store now.
    fs::remove_dir_all(two.directory()).unwrap();
    assert_eq!(ran(&two.build("b", []).success()), [""; 0]);
}

#[test]
fn a_changed_file_costs_the_steps_that_read_it_and_no_more() {
    let two = Two::new();
    let to = format!("type=local,dest={},mode=max", two.directory());
    let from = format!("--cache-from=type=local,src={}", two.directory());
    two.build("a", ["--cache-to", &to]).success();
    two.env.file("b", "2");
    let again = ran(&two.build("b", [&from]).success());
    assert_eq!(again.len(), 2, "{again:?}");
    assert!(again[0].contains("COPY b") && again[1].contains("RUN cat /b"), "{again:?}");
    assert_eq!(two.content("b", "from-b", "--pull=missing"), "2");
}

#[test]
fn what_is_not_used_is_not_fetched() {
    let two = Two::new();
    let to = format!("type=local,dest={},mode=max", two.directory());
    let from = format!("--cache-from=type=local,src={}", two.directory());
    two.build("a", ["--cache-to", &to]).success();
    let bytes = |name: &str| {
        let folder = Path::new(&two.machine(name)).join("blobs/sha256");
        let entries = fs::read_dir(folder).expect("blobs").map(|entry| entry.expect("an entry"));
        entries.map(|entry| entry.metadata().expect("metadata").len()).sum::<u64>()
    };
    let (b, c) = (bytes("b"), bytes("c"));
    // Nothing is asked of the image's files.
    assert_eq!(ran(&two.build("b", [&from, "--output=type=cacheonly"]).success()), [""; 0]);
    assert!(bytes("b") <= b, "blobs were fetched for nothing");
    // The stage that only gave a small file is 300,000 random bytes, which no image needs.
    two.build("c", [&from]).success();
    assert!(bytes("c") < c + 300_000, "{} bytes, {c} before", bytes("c"));
}

#[test]
fn a_second_export_writes_only_what_is_new() {
    let two = Two::new();
    let to = format!("type=local,dest={},mode=max", two.directory());
    two.build("a", ["--cache-to", &to]).success();
    let first = blobs(&two.directory());
    two.build("a", ["--cache-to", &to]).success();
    assert_eq!(blobs(&two.directory()), first);
    two.env.file("b", "2");
    two.build("a", ["--cache-to", &to]).success();
    let third = blobs(&two.directory());
    assert!(first.iter().all(|blob| third.contains(blob)), "a blob was written again");
    // Two layers, the document and its manifest.
    assert_eq!(third.len(), first.len() + 4);
}

#[test]
fn the_smaller_mode_leaves_out_other_stages() {
    let two = Two::new();
    let to = format!("type=local,dest={}", two.directory());
    two.build("a", ["--cache-to", &to]).success();
    let bytes: u64 = blobs(&two.directory())
        .iter()
        .map(|(name, _)| {
            fs::metadata(Path::new(&two.directory()).join("blobs/sha256").join(name)).unwrap().len()
        })
        .sum();
    let base = fs::metadata(two.env.path("busybox.tar")).unwrap().len();
    assert!(bytes < base + 200_000, "{bytes} bytes");
    let from = format!("--cache-from=type=local,src={}", two.directory());
    assert_eq!(ran(&two.build("b", [&from]).success()), [""; 0]);
}

#[test]
fn a_registry_keeps_a_cache_and_an_image_with_its_own() {
    let two = Two::new();
    let Some(registry) = Registry::start(Login::Open) else { return };
    let name = registry.name("cached");
    let to = format!("type=registry,ref={name}:cache,mode=max,compression=zstd");
    two.build("a", ["--cache-to", &to]).success();
    let from = format!("--cache-from=type=registry,ref={name}:cache");
    assert_eq!(ran(&two.build("b", [&from]).success()), [""; 0]);
    assert_eq!(two.content("b", "from-b", &from), "1");

    let image = format!("{name}:image");
    two.build("a", ["--cache-to=type=inline", "--push", "--tag", &image]).success();
    let from = format!("--cache-from={image}");
    let outcome = two.build("c", [&from]).success();
    assert_eq!(ran(&outcome), [""; 0], "{outcome}");
}

#[test]
fn a_cache_that_fails_is_a_warning() {
    let two = Two::new();
    let outcome = two.build(
        "a",
        [
            "--cache-from=type=registry,ref=localhost:1/none:cache",
            "--cache-from=type=local,src=/nowhere",
            "--cache-to=type=registry,ref=localhost:1/none:cache",
        ],
    );
    let outcome = outcome.success();
    assert_eq!(ran(&outcome).len(), 6);
    let warnings = Progress::read(&outcome.stderr).warnings;
    assert!(warnings.len() >= 3, "{warnings:?}");
    let quiet = two.build("a", ["--cache-to=type=registry,ref=localhost:1/none:cache,ignore-error=true"]);
    assert!(Progress::read(&quiet.success().stderr).warnings.is_empty());
}

#[test]
fn a_damaged_cache_is_a_miss() {
    let two = Two::new();
    let to = format!("type=local,dest={},mode=max", two.directory());
    two.build("a", ["--cache-to", &to]).success();
    for (name, _) in blobs(&two.directory()) {
        let path = Path::new(&two.directory()).join("blobs/sha256").join(name);
        let text = fs::read(&path).unwrap();
        // The document and its manifest stay whole.
        if !text.starts_with(b"{") {
            fs::write(&path, b"damaged").unwrap();
        }
    }
    let from = format!("--cache-from=type=local,src={}", two.directory());
    let outcome = two.build("b", [&from]).success();
    assert_eq!(ran(&outcome).len(), 6, "{outcome}");
}
