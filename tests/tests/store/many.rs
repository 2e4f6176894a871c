//! Many processes on one store.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use kiln_tests::{Progress, Random, TestEnv, amount, settle};

#[test]
fn ten_builds_at_once_run_each_step_once() {
    for env in TestEnv::each() {
        env.busybox();
        env.file("a", "a").file(
            "Dockerfile",
            "FROM busybox AS one\n\
             COPY a /a\n\
             RUN head -c 100000 /dev/urandom > /random\n\
             FROM busybox\n\
             RUN date > /date\n\
             COPY --from=one /random /\n\
             RUN cat /random /date | sha256sum > /sum\n",
        );
        let context = env.path("context").display().to_string();
        let start = || env.kiln(["build", "--progress=rawjson", "--tag=app", &*context]).start();
        let builds: Vec<Child> = (0..10).map(|_| start()).collect();
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for build in builds {
            let output = build.wait_with_output().expect("wait for a build");
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{stderr}");
            for name in Progress::read(&stderr).ran() {
                if ["RUN ", "COPY "].iter().any(|word| name.contains(word)) {
                    *times.entry(name.to_owned()).or_default() += 1;
                }
            }
        }
        assert_eq!((times.len(), times.values().sum::<usize>()), (5, 5), "{times:?}");
        super::is_sound(&env);
    }
}

/// What one of the processes of the next test does.
const OPERATIONS: [&[&str]; 8] = [
    &["build"],
    &["build"],
    &["build", "--no-cache"],
    &["prune", "-f"],
    &["prune", "-a", "-f"],
    &["du", "-v"],
    &["images"],
    &["run", "--rm", "busybox", "true"],
];

#[test]
fn a_store_that_ten_processes_share_serves_all_of_them() {
    let env = TestEnv::new();
    env.busybox();
    for n in 0..50 {
        env.file(&format!("files/{n}"), format!("{n}"));
    }
    env.file(
        "Dockerfile",
        "FROM busybox AS one\n\
         ARG N\n\
         COPY files /files\n\
         RUN echo $N > /n && cat /files/* >> /n\n\
         FROM busybox\n\
         ARG N\n\
         RUN --mount=type=cache,target=/cache echo $N >> /cache/log && mkdir /d && echo $N > /d/n\n\
         COPY --from=one /n /files/ /d/\n\
         RUN rm /d/3 && ls /d > /list\n",
    );
    let until = Instant::now() + Duration::from_secs(amount("KILN_STRESS_SECONDS", 20));
    let digests: Mutex<BTreeMap<u64, String>> = Mutex::default();
    let seed = Random::new().below(1 << 40);
    std::thread::scope(|scope| {
        for worker in 0..10 {
            let (env, digests) = (&env, &digests);
            scope.spawn(move || {
                let mut random = Random::with_seed(seed + worker);
                while Instant::now() < until {
                    let operation = random.one_of(&OPERATIONS);
                    if operation[0] != "build" {
                        env.kiln(operation.iter()).run().success();
                        continue;
                    }
                    let n = random.below(6);
                    let digest = build(env, worker, n, operation);
                    let mut digests = digests.lock().expect("no other failed");
                    let first = digests.entry(n).or_insert_with(|| digest.clone());
                    assert_eq!(*first, digest, "N={n}");
                }
            });
        }
    });
    settle(&env.store());
    super::is_sound(&env);
    let left = |dir: &str| fs::read_dir(env.store().join(dir)).expect("list").count();
    assert_eq!((left("tmp"), left("leases")), (0, 0));
}

/// Builds into a layout, and gives the digest of the image.
fn build(env: &TestEnv, worker: u64, n: u64, words: &[&str]) -> String {
    let layout = env.path(&format!("layout-{worker}"));
    let _ = fs::remove_dir_all(&layout);
    let output = format!("--output=type=oci,tar=false,rewrite-timestamp=true,dest={}", layout.display());
    let argument = format!("--build-arg=N={n}");
    let context = env.path("context").display().to_string();
    let words = words.iter().copied().chain(["--progress=plain", &*argument, &*output, &*context]);
    env.kiln(words).env("SOURCE_DATE_EPOCH", "1700000000").run().success();
    kiln_tests::Image::layout(&layout).digest
}

#[test]
fn who_only_reads_waits_for_nobody() {
    let env = TestEnv::new();
    env.busybox();
    env.file("Dockerfile", "FROM busybox\nRUN echo x\n").build(["--tag=app"]).success();
    settle(&env.store());
    // Somebody who writes to the index, and does not end before the readers have.
    let script = "import sqlite3, sys\n\
                  c = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
                  c.execute('BEGIN IMMEDIATE')\n\
                  print('writing', flush=True)\n\
                  sys.stdin.read()\n";
    let mut writer = Command::new("python3");
    writer.args(["-c", script]).arg(env.store().join("db/2.sqlite"));
    let mut writer = writer
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("python3");
    let mut line = String::new();
    let mut out = std::io::BufReader::new(writer.stdout.take().expect("a pipe"));
    std::io::BufRead::read_line(&mut out, &mut line).expect("read");
    assert_eq!(line, "writing\n");
    env.build([]).success().says(["CACHED"]);
    env.kiln(["images"]).run().success().says(["app"]);
    env.kiln(["du"]).run().success();
    drop(writer.stdin.take());
    writer.wait().expect("wait");
}
