//! `--cache-to` and `--cache-from`: what one store made, another need not make again.

use std::fs;
use std::path::Path;

use kiln_tests::{Login, Machines, Progress, Registry, steps_ran};

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

fn two() -> Machines {
    let two = Machines::new(DOCKERFILE);
    two.env.file("a", "1").file("b", "1");
    two
}

fn directory(two: &Machines) -> String {
    two.place("cache")
}

/// The file that an output `type=local` of a machine has at `path`.
fn content(two: &Machines, machine: &str, path: &str, arguments: &str) -> String {
    let out = two.place(&format!("out-{machine}"));
    two.build(machine, [arguments, "--output", &format!("type=local,dest={out}")]).success();
    fs::read_to_string(Path::new(&out).join(path)).expect("a file of the image")
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
    let two = two();
    let to = format!("type=local,dest={},mode=max", directory(&two));
    let from = format!("--cache-from=type=local,src={}", directory(&two));
    assert_eq!(steps_ran(&two.build("a", ["--cache-to", &to]).success()).len(), 6);
    assert_eq!(steps_ran(&two.build("b", [&from]).success()), [""; 0]);
    assert_eq!(content(&two, "c", "from-b", &from), "1");
    // What was used is in the machine's own store now.
    fs::remove_dir_all(directory(&two)).unwrap();
    assert_eq!(steps_ran(&two.build("b", []).success()), [""; 0]);
}

#[test]
fn a_changed_file_costs_the_steps_that_read_it_and_no_more() {
    let two = two();
    let to = format!("type=local,dest={},mode=max", directory(&two));
    let from = format!("--cache-from=type=local,src={}", directory(&two));
    two.build("a", ["--cache-to", &to]).success();
    two.env.file("b", "2");
    let again = steps_ran(&two.build("b", [&from]).success());
    assert_eq!(again.len(), 2, "{again:?}");
    assert!(again[0].contains("COPY b") && again[1].contains("RUN cat /b"), "{again:?}");
    assert_eq!(content(&two, "b", "from-b", "--pull=missing"), "2");
}

#[test]
fn what_is_not_used_is_not_fetched() {
    let two = two();
    let to = format!("type=local,dest={},mode=max", directory(&two));
    let from = format!("--cache-from=type=local,src={}", directory(&two));
    two.build("a", ["--cache-to", &to]).success();
    let bytes = |name: &str| {
        let folder = Path::new(&two.store(name)).join("blobs/sha256");
        let entries = fs::read_dir(folder).expect("blobs").map(|entry| entry.expect("an entry"));
        entries.map(|entry| entry.metadata().expect("metadata").len()).sum::<u64>()
    };
    let (b, c) = (bytes("b"), bytes("c"));
    // Nothing is asked of the image's files.
    assert_eq!(steps_ran(&two.build("b", [&from, "--output=type=cacheonly"]).success()), [""; 0]);
    assert!(bytes("b") <= b, "blobs were fetched for nothing");
    // The stage that only gave a small file is 300,000 random bytes, which no image needs.
    two.build("c", [&from]).success();
    assert!(bytes("c") < c + 300_000, "{} bytes, {c} before", bytes("c"));
}

#[test]
fn a_second_export_writes_only_what_is_new() {
    let two = two();
    let to = format!("type=local,dest={},mode=max", directory(&two));
    two.build("a", ["--cache-to", &to]).success();
    let first = blobs(&directory(&two));
    two.build("a", ["--cache-to", &to]).success();
    assert_eq!(blobs(&directory(&two)), first);
    two.env.file("b", "2");
    two.build("a", ["--cache-to", &to]).success();
    let third = blobs(&directory(&two));
    assert!(first.iter().all(|blob| third.contains(blob)), "a blob was written again");
    // Two layers, the document and its manifest.
    assert_eq!(third.len(), first.len() + 4);
}

#[test]
fn the_smaller_mode_leaves_out_other_stages() {
    let two = two();
    let to = format!("type=local,dest={}", directory(&two));
    two.build("a", ["--cache-to", &to]).success();
    let bytes: u64 = blobs(&directory(&two))
        .iter()
        .map(|(name, _)| {
            fs::metadata(Path::new(&directory(&two)).join("blobs/sha256").join(name)).unwrap().len()
        })
        .sum();
    let base = fs::metadata(two.env.path("busybox.tar")).unwrap().len();
    assert!(bytes < base + 200_000, "{bytes} bytes");
    let from = format!("--cache-from=type=local,src={}", directory(&two));
    assert_eq!(steps_ran(&two.build("b", [&from]).success()), [""; 0]);
}

#[test]
fn a_registry_keeps_a_cache_and_an_image_with_its_own() {
    let two = two();
    let Some(registry) = Registry::start(Login::Open) else { return };
    let name = registry.name("cached");
    let to = format!("type=registry,ref={name}:cache,mode=max,compression=zstd");
    two.build("a", ["--cache-to", &to]).success();
    let from = format!("--cache-from=type=registry,ref={name}:cache");
    assert_eq!(steps_ran(&two.build("b", [&from]).success()), [""; 0]);
    assert_eq!(content(&two, "b", "from-b", &from), "1");

    let image = format!("{name}:image");
    two.build("a", ["--cache-to=type=inline", "--push", "--tag", &image]).success();
    let from = format!("--cache-from={image}");
    let outcome = two.build("c", [&from]).success();
    assert_eq!(steps_ran(&outcome), [""; 0], "{outcome}");
}

#[test]
fn a_cache_that_fails_is_a_warning() {
    let two = two();
    let outcome = two.build(
        "a",
        [
            "--cache-from=type=registry,ref=localhost:1/none:cache",
            "--cache-from=type=local,src=/nowhere",
            "--cache-to=type=registry,ref=localhost:1/none:cache",
        ],
    );
    let outcome = outcome.success();
    assert_eq!(steps_ran(&outcome).len(), 6);
    let warnings = Progress::read(&outcome.stderr).warnings;
    assert!(warnings.len() >= 3, "{warnings:?}");
    let quiet = two.build("a", ["--cache-to=type=registry,ref=localhost:1/none:cache,ignore-error=true"]);
    assert!(Progress::read(&quiet.success().stderr).warnings.is_empty());
}

#[test]
fn a_damaged_cache_is_a_miss() {
    let two = two();
    let to = format!("type=local,dest={},mode=max", directory(&two));
    two.build("a", ["--cache-to", &to]).success();
    for (name, _) in blobs(&directory(&two)) {
        let path = Path::new(&directory(&two)).join("blobs/sha256").join(name);
        let text = fs::read(&path).unwrap();
        // The document and its manifest stay whole.
        if !text.starts_with(b"{") {
            fs::write(&path, b"damaged").unwrap();
        }
    }
    let from = format!("--cache-from=type=local,src={}", directory(&two));
    let outcome = two.build("b", [&from]).success();
    assert_eq!(steps_ran(&outcome).len(), 6, "{outcome}");
}
