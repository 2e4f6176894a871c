//! Dockerfiles of real projects parse and lower, and their shape is what their authors wrote.

use std::fs;
use std::path::{Path, PathBuf};

use kiln_tests::{TestEnv, shared};

/// Dockerfiles that are not for this platform, or are no Dockerfiles.
fn is_left_out(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.contains("windows") || text.ends_with(".template")
}

fn dockerfiles(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("list the corpus").flatten() {
        let path = entry.path();
        if path.is_dir() {
            dockerfiles(&path, found);
        } else if entry.file_name().to_string_lossy().starts_with("Dockerfile") && !is_left_out(&path) {
            found.push(path);
        }
    }
}

/// The image references of FROM lines and of COPY --from, as far as they are written out.
fn images(dockerfile: &str) -> Vec<String> {
    let mut stages = Vec::new();
    let mut images = Vec::new();
    for line in dockerfile.lines() {
        let words: Vec<_> = line.split_whitespace().filter(|word| !word.starts_with("--platform")).collect();
        if words.first().is_some_and(|word| word.eq_ignore_ascii_case("from")) {
            images.extend(words.get(1).map(ToString::to_string));
            stages.extend(words.get(3).map(ToString::to_string));
        }
    }
    images.retain(|image| !stages.contains(image) && image != "scratch" && !image.contains('$'));
    images
}

#[test]
fn every_real_dockerfile_parses_and_lowers() {
    let Some(shared) = shared() else { return };
    let mut all = Vec::new();
    dockerfiles(&shared.join("corpus/real-dockerfiles"), &mut all);
    assert!(all.len() > 30, "the corpus has {} Dockerfiles", all.len());
    let env = TestEnv::new();
    env.busybox();
    let mut failed = String::new();
    for path in all {
        let text = fs::read_to_string(&path).expect("read a Dockerfile");
        let directory = path.parent().expect("a file is in a directory").display().to_string();
        let mut words =
            vec!["build".to_owned(), "--call=check".to_owned(), format!("--file={}", path.display())];
        words.extend(
            images(&text).iter().map(|image| format!("--build-context={image}=docker-image://busybox")),
        );
        words.push(directory);
        let outcome = env.kiln(&words).run();
        // Findings are no failure here: only what cannot be parsed or lowered ends without a report.
        if !outcome.stdout().starts_with("Check complete") {
            failed += &format!("{outcome}\n");
        }
    }
    assert!(failed.is_empty(), "{failed}");
}
