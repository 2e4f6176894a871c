//! A power cut: what was not synced is lost in part, the machine starts again, and nobody believes what is left of it.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_tests::{Invocation, Random, TestEnv, is_root, settle, skipped};

use super::is_sound;

/// The command in a machine that was started again: its boot id is another.
fn rebooted(invocation: Invocation<'_>) -> Invocation<'_> {
    let script = "echo 11111111-2222-3333-4444-555555555555 > boot && mount --bind boot /proc/sys/kernel/random/boot_id && exec \"$@\"";
    invocation.through(["unshare", "--mount", "sh", "-c", script, "sh"])
}

fn dockerfile(env: &TestEnv, what: &str) {
    env.file(
        "Dockerfile",
        format!(
            "FROM busybox AS one\nRUN echo {what} > /made && head -c 20000 /dev/zero > /zeros\n\
             FROM busybox\nCOPY --from=one /made /zeros /{what}/\nRUN --mount=type=cache,target=/c cp /{what}/made /c/\n"
        ),
    );
}

fn build(env: &TestEnv, after_reboot: bool) -> String {
    let layout = env.path("layout");
    let _ = fs::remove_dir_all(&layout);
    let output = format!("--output=type=oci,tar=false,rewrite-timestamp=true,dest={}", layout.display());
    let context = env.path("context").display().to_string();
    let command =
        env.kiln(["build", "--progress=plain", &*output, &*context]).env("SOURCE_DATE_EPOCH", "1700000000");
    let command = if after_reboot { rebooted(command) } else { command };
    command.run().success();
    settle(&env.store());
    kiln_tests::Image::layout(&layout).digest
}

fn files(below: &Path, into: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(below).expect("list") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a type").is_dir() {
            files(&entry.path(), into);
        } else {
            into.insert(entry.path());
        }
    }
}

fn data(env: &TestEnv) -> BTreeSet<PathBuf> {
    let mut all = BTreeSet::new();
    for directory in ["blobs", "layers", "stat", "mounts"] {
        files(&env.store().join(directory), &mut all);
    }
    all
}

/// Files that came since the last sync: gone, empty, short, or full of zeros.
fn lose(file: &Path, random: &mut Random) {
    if !fs::symlink_metadata(file).expect("stat").is_file() {
        return;
    }
    let open = || OpenOptions::new().write(true).open(file).expect("open");
    let length = fs::metadata(file).expect("stat").len();
    match random.below(5) {
        0 => fs::remove_file(file).expect("remove"),
        1 => open().set_len(0).expect("truncate"),
        2 => open().set_len(length / 2).expect("truncate"),
        3 => fs::write(file, vec![0; usize::try_from(length).expect("small")]).expect("write"),
        _ => {}
    }
}

#[test]
fn after_a_power_cut_only_what_was_synced_is_believed() {
    if !is_root() {
        skipped("giving a process another boot id takes a mount");
        return;
    }
    let mut random = Random::new();
    // The rows of the second build reached the disk although its files did not; or neither did.
    for rows_survive in [true, false] {
        let env = TestEnv::new();
        env.busybox();
        dockerfile(&env, "first");
        let first = build(&env, false);
        settle(&env.store());
        let synced = data(&env);
        let (db, saved) = (env.store().join("db"), env.path("saved-db"));
        let copy = |from: &Path, to: &Path| {
            let _ = fs::remove_dir_all(to);
            assert!(Command::new("cp").args(["-a"]).args([from, to]).status().expect("cp").success());
        };
        copy(&db, &saved);

        dockerfile(&env, "second");
        let second = build(&env, false);
        if rows_survive {
            let script = "import sqlite3, sys\n\
                          old = sqlite3.connect(sys.argv[2]).execute('SELECT max(id) FROM generations').fetchone()[0]\n\
                          c = sqlite3.connect(sys.argv[1])\n\
                          c.execute('UPDATE generations SET state = abs(random() % 2) WHERE id > ?', [old])\n\
                          c.commit()\n";
            let edited = Command::new("python3")
                .args(["-c", script])
                .args([db.join("2.sqlite"), saved.join("2.sqlite")])
                .status();
            assert!(edited.expect("python3").success());
        } else {
            copy(&saved, &db);
        }
        for file in data(&env).difference(&synced) {
            lose(file, &mut random);
        }

        let again = rebooted(env.build_command([])).run().success();
        again.says_not(["CACHED [stage-1 2/3]"]);
        assert_eq!(build(&env, true), second);
        dockerfile(&env, "first");
        rebooted(env.build_command([])).run().success().says(["CACHED"]);
        settle(&env.store());
        assert_eq!(build(&env, true), first);
        rebooted(env.kiln(["fsck"])).run().success().says(["all is well"]);
        settle(&env.store());
        // A store that goes back and forth between two machines loses nothing that was synced.
        is_sound(&env);
    }
}

#[test]
fn a_store_that_was_never_synced_begins_anew() {
    let env = TestEnv::new();
    env.busybox();
    settle(&env.store());
    fs::write(env.store().join("kind"), "").expect("truncate");
    for file in ["db/2.sqlite", "db/2.sqlite-wal", "db/2.sqlite-shm"] {
        let _ = fs::remove_file(env.store().join(file));
    }
    env.busybox();
    env.file("Dockerfile", "FROM busybox\nRUN echo fine\n").build([]).success();
    is_sound(&env);
}
