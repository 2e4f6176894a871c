//! Damage is found, is a miss, and costs no more than what was damaged.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use kiln_tests::{TestEnv, settle};

use super::{digest, is_sound, layers_with};

const DOCKERFILE: &str = "\
FROM busybox AS one
RUN mkdir /made && echo made > /made/file && ln -s file /made/link
FROM busybox
COPY context-file /
COPY --from=one /made /copied
RUN cat /copied/file > /result
";

fn furnished() -> (TestEnv, String) {
    let env = TestEnv::new();
    env.busybox();
    env.file("context-file", "content").file("Dockerfile", DOCKERFILE);
    let whole = digest(&env, []);
    env.build(["--tag=app"]).success();
    settle(&env.store());
    (env, whole)
}

type Harm = fn(&Path) -> std::io::Result<()>;

/// The layer of `RUN mkdir /made`, of which all later ones are made.
fn made(store: &Path) -> PathBuf {
    layers_with(store, "made/file").pop().expect("the layer of RUN")
}

fn each_blob(store: &Path, harm: impl Fn(&Path) -> std::io::Result<()>) -> std::io::Result<()> {
    for entry in fs::read_dir(store.join("blobs/sha256"))? {
        harm(&entry?.path())?;
    }
    Ok(())
}

fn truncate(path: &Path) -> std::io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    let length = file.metadata()?.len();
    file.set_len(length / 2)
}

/// Damage that a build comes across by itself.
const SEEN: [(&str, Harm); 15] = [
    ("a layer is gone", |store| fs::remove_dir_all(made(store))),
    ("a layer has no manifest", |store| fs::remove_file(made(store).join("manifest"))),
    ("a manifest is empty", |store| File::create(made(store).join("manifest")).map(drop)),
    ("a manifest is truncated", |store| truncate(&made(store).join("manifest"))),
    ("a manifest is garbage", |store| fs::write(made(store).join("manifest"), [0xa5; 5000])),
    ("a tree is gone", |store| fs::remove_dir_all(made(store).join("tree"))),
    ("a file is gone", |store| fs::remove_file(made(store).join("tree/made/file"))),
    ("a file is empty", |store| File::create(made(store).join("tree/made/file")).map(drop)),
    ("a directory became a file", |store| {
        let made = made(store).join("tree/made");
        fs::remove_dir_all(&made).and_then(|()| fs::write(made, ""))
    }),
    ("blobs are truncated", |store| each_blob(store, truncate)),
    ("blobs are gone", |store| each_blob(store, |blob| fs::remove_file(blob))),
    ("all manifests are empty but the base's", |store| {
        for file in ["made/file", "copied/file", "result", "context-file"] {
            for layer in layers_with(store, file) {
                File::create(layer.join("manifest"))?;
            }
        }
        Ok(())
    }),
    ("the stat index is garbage", |store| {
        for entry in fs::read_dir(store.join("stat/1"))? {
            fs::write(entry?.path(), "garbage")?;
        }
        Ok(())
    }),
    ("locks and leases are strange", |store| {
        fs::write(store.join("leases/0123"), "what is this\nlayer\nblob x")?;
        fs::write(store.join("locks/stray"), "")?;
        fs::create_dir_all(store.join("tmp/0123/4/layer"))?;
        fs::create_dir(store.join("layers/no-id"))?;
        fs::write(store.join("blobs/sha256/no-digest"), "")
    }),
    ("there is rubbish in the trash", |store| fs::create_dir_all(store.join("trash/deep/er"))),
];

#[test]
fn a_build_over_a_damaged_store_makes_the_same_image() {
    for (name, harm) in SEEN {
        let (env, whole) = furnished();
        harm(&env.store()).unwrap_or_else(|error| panic!("{name}: {error}"));
        // A step that was not run before, on what was damaged.
        let with_more = format!("{DOCKERFILE}RUN cat /copied/file /result > /more\n");
        env.file("Dockerfile", with_more).build([]).success();
        env.file("Dockerfile", DOCKERFILE);
        assert_eq!(digest(&env, []), whole, "{name}");
        env.kiln(["fsck", "--repair"]).run().success();
        assert_eq!(digest(&env, []), whole, "{name}, repaired");
        is_sound(&env);
        settle(&env.store());
        println!("{name}: well");
    }
}

/// Damage that only reading every byte finds: `fsck` does.
const UNSEEN: [(&str, Harm); 3] = [
    ("a file's bytes changed and nothing else", |store| flip(&made(store).join("tree/made/file"))),
    ("a blob's bytes changed", |store| each_blob(store, flip)),
    ("a file was added", |store| fs::write(made(store).join("tree/made/stranger"), "")),
];

fn flip(path: &Path) -> std::io::Result<()> {
    let modified = fs::metadata(path)?.modified()?;
    let mut bytes = fs::read(path)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.write_all(&bytes)?;
    file.set_modified(modified)
}

#[test]
fn fsck_finds_what_nobody_sees_and_the_next_build_makes_that_again() {
    for (name, harm) in UNSEEN {
        let (env, whole) = furnished();
        harm(&env.store()).unwrap_or_else(|error| panic!("{name}: {error}"));
        env.kiln(["fsck"]).run().failure(1).says(["--repair"]);
        env.kiln(["fsck", "--repair"]).run().success().says(["the next build"]);
        is_sound(&env);
        assert_eq!(digest(&env, []), whole, "{name}");
        is_sound(&env);
        println!("{name}: well");
    }
}

/// What can happen to the database.
const INDEX: [(&str, Harm); 4] = [
    ("garbage", |db| fs::write(db.join("2.sqlite"), b"no database".repeat(1000))),
    ("empty", |db| File::create(db.join("2.sqlite")).map(drop)),
    ("a log of garbage", |db| fs::write(db.join("2.sqlite-wal"), b"no log".repeat(1000))),
    ("damaged from its second page on", |db| {
        let mut file = OpenOptions::new().write(true).open(db.join("2.sqlite"))?;
        let length = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(4096))?;
        let rest = usize::try_from(length.saturating_sub(4096)).expect("small");
        file.write_all(&vec![0xa5; rest])
    }),
];

#[test]
fn without_its_index_a_store_begins_anew() {
    for (name, harm) in INDEX {
        let (env, whole) = furnished();
        harm(&env.store().join("db")).unwrap_or_else(|error| panic!("{name}: {error}"));
        // The base has no other home than the store: it is imported again, as it would be pulled.
        env.busybox();
        assert_eq!(digest(&env, []), whole, "{name}");
        settle(&env.store());
        is_sound(&env);
        println!("{name}: well");
    }
}

#[test]
fn a_row_that_cannot_be_read_is_no_row() {
    let (env, whole) = furnished();
    let script = "import sqlite3, sys\n\
                  c = sqlite3.connect(sys.argv[1])\n\
                  c.execute(\"UPDATE images SET record = x'7b' WHERE id IN (SELECT image FROM names WHERE name LIKE '%app%')\")\n\
                  c.execute('UPDATE made SET layers = zeroblob(32)')\n\
                  c.execute('UPDATE asked SET layers = zeroblob(64)')\n\
                  c.execute('UPDATE diffs SET diff_id = zeroblob(32) WHERE 0')\n\
                  c.commit()\n";
    let edited = std::process::Command::new("python3")
        .args(["-c", script])
        .arg(env.store().join("db/2.sqlite"))
        .status();
    assert!(edited.expect("python3").success());
    env.kiln(["images"]).run().success().says_not(["app"]);
    assert_eq!(digest(&env, []), whole);
    env.kiln(["fsck", "--repair"]).run().success();
    env.build(["--tag=app"]).success();
    env.kiln(["run", "--rm", "app", "cat", "/result"]).run().success().says(["made"]);
    is_sound(&env);
}
