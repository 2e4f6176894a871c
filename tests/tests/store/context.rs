//! A context that changes while it is read, and caches that two builds write.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use kiln_tests::{TestEnv, settle};

use super::is_sound;

#[test]
fn a_context_that_is_edited_during_builds_leaves_nothing_stale() {
    let env = TestEnv::new();
    env.busybox();
    for n in 0..100 {
        env.file(&format!("files/{n}"), format!("{n}"));
    }
    env.file("Dockerfile", "FROM busybox\nCOPY files /files\nRUN cat /files/* | sha256sum > /sum\n");
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0_u64.. {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                let file = env.path(&format!("context/files/{}", round % 100));
                match round % 3 {
                    // The same size, in place; another size; away and back.
                    0 => fs::write(&file, format!("{}", round % 10)).expect("write"),
                    1 => fs::write(&file, "longer ".repeat(usize::try_from(round % 9).expect("small")))
                        .expect("write"),
                    _ => {
                        let _ = fs::remove_file(&file);
                        fs::write(&file, format!("new {round}")).expect("write");
                    }
                }
            }
        });
        for _ in 0..15 {
            let outcome = env.build([]);
            assert!(outcome.code == 0 || outcome.stderr.contains("files"), "{outcome}");
        }
        ended.store(true, Ordering::Relaxed);
    });
    let image = env.image([]);
    for n in 0..100 {
        let there = fs::read_to_string(env.path(&format!("context/files/{n}"))).expect("read");
        assert_eq!(image.content(&format!("files/{n}")), there, "{n}");
    }
    settle(&env.store());
    is_sound(&env);
}

/// Two builds at once whose RUN steps use the cache `c`.
fn two(env: &TestEnv, sharing: &str, script: &str) -> Vec<String> {
    let start = |name: &str| {
        let other = if name == "a" { "b" } else { "a" };
        let text = format!(
            "FROM busybox\nRUN --mount=type=cache,id=c,target=/c,sharing={sharing} set -e; me={name}; other={other}; {script}\n"
        );
        env.write(&format!("{name}/Dockerfile"), text);
        env.kiln(["build", "--progress=plain", "--no-cache", &*env.path(name).display().to_string()]).start()
    };
    let builds = [start("a"), start("b")];
    builds
        .into_iter()
        .map(|build| {
            let output = build.wait_with_output().expect("wait");
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{text}");
            text
        })
        .collect()
}

#[test]
fn a_shared_cache_is_written_by_both_at_the_same_time() {
    for env in TestEnv::each() {
        env.busybox();
        // Each waits for the other's file: who is alone waits in vain.
        let meet = "echo $me > /c/$me; i=0; while ! test -e /c/$other; do i=$((i+1)); test $i -lt 600; usleep 50000; done";
        two(&env, "shared", meet);
        is_sound(&env);
    }
}

#[test]
fn a_locked_cache_is_written_by_one_after_the_other() {
    for env in TestEnv::each() {
        env.busybox();
        let alone = "mkdir /c/busy; usleep 300000; echo $me >> /c/log; rmdir /c/busy; echo log: $(cat /c/log | wc -l)";
        let texts = two(&env, "locked", alone).concat();
        assert!(texts.contains("log: 1") && texts.contains("log: 2"), "{texts}");
    }
}

#[test]
fn private_caches_are_apart_while_both_are_used() {
    for env in TestEnv::each() {
        env.busybox();
        // Long enough that the two meet; if they do not, the second finds the first one's cache, as it should.
        let apart = "touch /c/in-$me; usleep 700000; ! test -e /c/in-$other; rm /c/in-$me; echo was alone";
        two(&env, "private", apart);
        settle(&env.store());
        is_sound(&env);
    }
}
