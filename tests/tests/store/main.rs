//! The store as people meet it: what it takes of the disk, many processes at once, damage, power cuts, tall images.

mod ahead;
mod context;
mod damage;
mod disk;
mod many;
mod power;
mod tall;

use std::fs;
use std::path::{Path, PathBuf};

use kiln_tests::TestEnv;

/// A build whose image has the same digest whenever and wherever it is made: into a layout of its own.
#[track_caller]
fn digest<const N: usize>(env: &TestEnv, arguments: [&str; N]) -> String {
    let layout = env.path("layout");
    let _ = fs::remove_dir_all(&layout);
    let output = format!("--output=type=oci,tar=false,rewrite-timestamp=true,dest={}", layout.display());
    let context = env.path("context").display().to_string();
    let words = ["build", "--progress=plain"].into_iter().chain(arguments).chain([&*output, &*context]);
    env.kiln(words).env("SOURCE_DATE_EPOCH", "1700000000").run().success();
    kiln_tests::Image::layout(&layout).digest
}

/// The layers whose tree has this file.
fn layers_with(store: &Path, file: &str) -> Vec<PathBuf> {
    // Who has one id alone keeps layers of another kind apart.
    let own = store.join("single-id/layers");
    let directory = if own.exists() { own } else { store.join("layers") };
    let layers = fs::read_dir(directory).expect("list the layers");
    layers
        .map(|entry| entry.expect("an entry").path())
        .filter(|dir| dir.join("tree").join(file).exists())
        .collect()
}

#[track_caller]
fn is_sound(env: &TestEnv) {
    env.kiln(["fsck"]).run().success().says(["all is well"]);
}
