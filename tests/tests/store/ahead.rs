//! Layers are packed while later steps run, if the image goes somewhere.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kiln_tests::{Image, TestEnv};

/// The second step waits for the test.
const DOCKERFILE: &str = "\
FROM busybox
RUN head -c 3000000 /dev/urandom > /first
RUN --mount=type=cache,target=/door until [ -f /door/open ]; do sleep 0.05; done; echo second > /second
";

/// Waits for `what`, which an event that this test has caused will bring.
#[track_caller]
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Large blobs of the store.
fn blobs(env: &TestEnv) -> usize {
    let blobs = fs::read_dir(env.store().join("blobs/sha256")).expect("a store");
    blobs
        .filter(|blob| {
            blob.as_ref().is_ok_and(|blob| blob.metadata().is_ok_and(|about| about.len() > 2_900_000))
        })
        .count()
}

/// The cache mount of the step that waits.
fn door(env: &TestEnv) -> Option<PathBuf> {
    let mount = fs::read_dir(env.store().join("mounts")).ok()?.next()?.ok()?;
    Some(mount.path().join("data")).filter(|data| data.is_dir())
}

#[test]
fn the_first_layer_is_packed_while_the_second_step_runs() {
    let env = TestEnv::new();
    env.busybox().file("Dockerfile", DOCKERFILE);
    let out = env.path("image.tar").display().to_string();
    let context = env.path("context").display().to_string();
    let mut build = env.kiln(["build", "-q", "--output", &format!("type=oci,dest={out}"), &context]).start();
    let door = until("the second step", || door(&env));
    until("the first layer's blob", || (blobs(&env) == 1).then_some(()));
    assert!(build.try_wait().expect("a child").is_none(), "the second step waits");
    fs::write(door.join("open"), "").expect("a file in the cache");
    assert!(build.wait().expect("a child").success());
    let image = Image::tar(std::path::Path::new(&out));
    assert_eq!(image.layers.len(), 3);
    assert_eq!(blobs(&env), 1, "it was packed once");
}

#[test]
fn an_image_that_stays_in_the_store_is_not_packed() {
    let env = TestEnv::new();
    env.busybox()
        .file("Dockerfile", "FROM busybox\nRUN head -c 3000000 /dev/urandom > /first\nRUN echo > /second\n");
    let context = env.path("context").display().to_string();
    env.kiln(["build", "-q", &context]).run().success();
    assert_eq!(blobs(&env), 0);
}

#[test]
fn a_build_that_fails_while_a_layer_is_packed_leaves_nothing_half_made() {
    let env = TestEnv::new();
    env.busybox()
        .file("Dockerfile", "FROM busybox\nRUN head -c 60000000 /dev/urandom > /first\nRUN exit 3\n");
    let out = format!("type=oci,dest={}", env.path("image.tar").display());
    let context = env.path("context").display().to_string();
    env.kiln(["build", "-q", "--output", &out, &context]).run().failure(1);
    let left = fs::read_dir(env.store().join("tmp")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "a packing that nobody wants is given up");
}
