//! The same input gives the same digest: another directory, another store, another user, another number of processors.

use std::process::Command;

use kiln_tests::{Entry, Image, TestEnv, is_root, workspace};

const EPOCH: &str = "1700000000";

/// Who builds, and how.
struct Builder {
    env: TestEnv,
    /// On one processor alone.
    alone: bool,
    /// Whether the time comes as a build argument, not from the environment.
    argument: bool,
}

impl Builder {
    /// One with all processors, and one who has another place, another store, one processor, and no privileges.
    fn both() -> [Self; 2] {
        let other = if is_root() { TestEnv::rootless() } else { None };
        [
            Self { env: TestEnv::new(), alone: false, argument: false },
            Self { env: other.unwrap_or_else(TestEnv::new), alone: true, argument: true },
        ]
    }

    /// Builds `context` into an OCI layout.
    #[track_caller]
    fn build(&self, context: &str, output: &str, words: &[&str]) -> Image {
        let layout = self.env.path("layout");
        let _ = std::fs::remove_dir_all(&layout);
        let output = format!("--output=type=oci,tar=false,{output},dest={}", layout.display());
        let argument = format!("--build-arg=SOURCE_DATE_EPOCH={EPOCH}");
        let mut all = vec!["build", "--progress=plain", "--network=host", &output];
        if self.argument {
            all.push(&argument);
        }
        all.extend(words);
        all.push(context);
        let mut command = self.env.kiln(all);
        if !self.argument {
            command = command.env("SOURCE_DATE_EPOCH", EPOCH);
        }
        if self.alone {
            command = command.through(["taskset", "--cpu-list", "0"]);
        }
        command.run().success();
        Image::layout(&layout)
    }

    /// Copies a directory of the workspace into this world: its files are as new as the copy.
    fn copy(&self, from: &str, to: &str) -> String {
        let target = self.env.path(to);
        let copied = Command::new("cp").arg("-R").arg(workspace().join(from)).arg(&target).status();
        assert!(copied.expect("run cp").success());
        target.display().to_string()
    }
}

/// The same image under the same name for both, which an import of the same archive is not: that has its time.
fn share(builders: &[Builder; 2], name: &str) {
    let [one, other] = builders;
    let saved = one.env.kiln(["save", name]).run().success().stdout;
    other.env.kiln(["load"]).stdin(saved).run().success();
}

/// Compares what differs first and tells most.
#[track_caller]
fn assert_same(one: &Image, other: &Image, what: &str) {
    for (number, (one, other)) in one.layers.iter().zip(&other.layers).enumerate() {
        let told = |entry: &Entry| format!("{entry} of {}, {:?}", entry.mtime, entry.sha256);
        let differ = one.iter().zip(other.iter()).filter(|(one, other)| one != other);
        let differ: Vec<_> = differ.map(|(one, other)| [told(one), told(other)]).take(20).collect();
        assert!(differ.is_empty() && one.len() == other.len(), "{what}, layer {number}: {differ:#?}");
    }
    assert_eq!(one.config, other.config, "{what}");
    assert_eq!(one.digest, other.digest, "{what}: {:#} {:#}", one.manifest, other.manifest);
}

#[test]
fn every_example_has_one_digest() {
    let builders = Builder::both();
    builders[0].env.busybox();
    share(&builders, "busybox");
    let Some(_) = builders[0].env.debian() else { return };
    share(&builders, "debian");
    let examples = std::fs::read_dir(workspace().join("examples")).expect("list examples").flatten();
    let mut names: Vec<_> =
        examples.filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name()).collect();
    names.sort();
    for name in names {
        let name = name.to_str().expect("a name");
        let (from, to) = (format!("examples/{name}"), ["a/b", "elsewhere"]);
        let images: Vec<Image> = builders
            .iter()
            .zip(to)
            .map(|(builder, to)| {
                builder.env.write(&format!("{to}/about"), name);
                let context = builder.copy(&from, &format!("{to}/{name}"));
                builder.build(&context, "rewrite-timestamp=true", &[])
            })
            .collect();
        assert_same(&images[0], &images[1], name);
    }
}

/// Whatever the compression: what many processors compress is what one does.
#[test]
fn every_compression_has_one_digest() {
    let builders = Builder::both();
    let long: Vec<u8> = (0..6_000_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
    for compression in ["gzip", "zstd", "estargz", "uncompressed", "gzip,compression-level=9"] {
        let images: Vec<Image> = builders
            .iter()
            .map(|builder| {
                builder.env.file("Dockerfile", "FROM scratch\nCOPY long /\n").file("long", &long);
                let context = builder.env.path("context").display().to_string();
                builder.build(&context, &format!("rewrite-timestamp=true,compression={compression}"), &[])
            })
            .collect();
        assert_same(&images[0], &images[1], compression);
    }
}

/// Files of the base keep their times and its layers their digests; those of new layers are no newer than the epoch, and a
/// layer that was clamped is not clamped again.
#[test]
fn times_are_clamped_once_and_never_in_the_base() {
    let [builder, _] = Builder::both();
    let env = &builder.env;
    env.busybox();
    env.file(
        "Dockerfile",
        "FROM busybox\nARG SOURCE_DATE_EPOCH\nRUN echo new > /new && touch -d @1000000000 /old\nCOPY f /f\n",
    );
    env.file("f", "f");
    let context = env.path("context").display().to_string();
    let plain = builder.build(&context, "rewrite-timestamp=false", &[]);
    let clamped = builder.build(&context, "rewrite-timestamp=true", &[]);
    let epoch: i64 = EPOCH.parse().expect("a number");
    let layer = |image: &Image, n: usize| image.manifest["layers"][n]["digest"].clone();
    assert_eq!(layer(&plain, 0), layer(&clamped, 0));
    assert!(clamped.layers[0].iter().any(|entry| entry.mtime > epoch), "the base is newer than the epoch");
    for (was, is) in plain.layers.iter().zip(&clamped.layers).skip(1) {
        assert_ne!(was, is);
        for (was, is) in was.iter().zip(is.iter()) {
            assert_eq!(is.mtime, was.mtime.min(epoch), "{}", is.path);
        }
    }
    // Remembered: a layer whose files are gone could not be packed again.
    let layers = std::fs::read_dir(env.store().join("layers")).expect("list layers").flatten();
    let file = layers.map(|layer| layer.path().join("tree/new")).find(|path| path.exists());
    let file = file.expect("the layer that was made");
    std::fs::remove_file(&file).expect("remove a file");
    assert_same(&clamped, &builder.build(&context, "rewrite-timestamp=true", &[]), "once more");
    assert!(!file.exists(), "nothing was made again");
}
