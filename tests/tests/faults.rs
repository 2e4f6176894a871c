//! Disks that are full, broken or not to be written, too few open files, clocks that jump: a clear message, and nothing lost.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_tests::{Image, Login, Outcome, Random, Registry, TestEnv, amount, is_root, settle, skipped};

/// A memory file system of its own at the place of a world's store.
struct Disk {
    at: PathBuf,
}

impl Disk {
    /// A disk of so many megabytes; `None`, and the test is skipped, where none can be mounted.
    fn new(env: &TestEnv, megabytes: u64) -> Option<Self> {
        let at = env.store();
        fs::create_dir(&at).expect("mkdir");
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &*size, "tmpfs"]).arg(&at).status();
        if !is_root() || !mounted.is_ok_and(|status| status.success()) {
            skipped("no file system can be mounted here");
            return None;
        }
        Some(Self { at })
    }

    /// Leaves no more than `kilobytes`.
    fn fill(&self, kilobytes: u64) {
        let free = || {
            let disk = rustix::fs::statvfs(&self.at).expect("statvfs");
            disk.f_bavail * disk.f_frsize / 1024
        };
        let mut filler = fs::File::create(self.at.join("filler")).expect("begin the filler");
        let mut block = vec![1_u8; 1 << 20];
        while free() > kilobytes && !block.is_empty() {
            block.truncate(usize::try_from((free() - kilobytes) << 10).expect("small").min(1 << 20));
            if filler.write_all(&block).and_then(|()| filler.sync_all()).is_err() {
                block.truncate(block.len() / 2);
            }
        }
    }

    fn free(&self) {
        fs::remove_file(self.at.join("filler")).expect("remove the filler");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        settle(&self.at);
        // Nobody else has it open; what still looks at it lets go by itself.
        let _ = Command::new("umount").args(["--lazy"]).arg(&self.at).status();
    }
}

const DOCKERFILE: &str = "\
FROM busybox
RUN echo before > /before
COPY big /big
RUN head -c 9000000 /big > /part
";

fn furnished() -> TestEnv {
    let env = TestEnv::new();
    let big: Vec<u8> = (0..12_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    env.file("big", big).file("Dockerfile", DOCKERFILE);
    env
}

fn build(env: &TestEnv, layout: &Path) -> Outcome {
    let _ = fs::remove_dir_all(layout);
    let output = format!("--output=type=oci,tar=false,rewrite-timestamp=true,dest={}", layout.display());
    let context = env.path("context").display().to_string();
    env.kiln(["build", "--progress=plain", &*output, &*context]).env("SOURCE_DATE_EPOCH", "1700000000").run()
}

#[track_caller]
fn says_full(outcome: Outcome) {
    outcome.failure(1).says(["No space left on device", "help: ", "kiln prune"]);
}

#[test]
fn a_disk_that_fills_up_at_any_phase_costs_the_build_and_nothing_else() {
    let env = furnished();
    let Some(disk) = Disk::new(&env, 64) else { return };
    env.busybox();
    build(&env, &env.path("layout")).success();
    let whole = Image::layout(&env.path("layout")).digest;
    env.kiln(["prune", "-a", "-f"]).run().success();
    settle(&env.store());
    // What is left when the build begins: too little for COPY, for RUN, for packing, for a row.
    for kilobytes in [20_000, 30_000, 24_000, 12_500, 6_000, 600, 100, 0] {
        disk.fill(kilobytes);
        let outcome = build(&env, &env.path("layout"));
        // A step's own process tells it in its own words.
        if outcome.code != 0 && !outcome.stderr.contains("did not complete successfully: exit code") {
            says_full(outcome);
        }
        settle(&env.store());
        disk.free();
        env.kiln(["fsck"]).run().success().says(["all is well"]);
        build(&env, &env.path("layout")).success();
        assert_eq!(Image::layout(&env.path("layout")).digest, whole, "{kilobytes}");
        env.kiln(["prune", "-a", "-f"]).run().success();
        settle(&env.store());
    }
    disk.fill(0);
    says_full(build(&env, &env.path("layout")));
    // On a full disk, prune makes room.
    env.kiln(["prune", "-a", "-f"]).run().success();
    settle(&env.store());
}

#[test]
fn an_import_on_a_full_disk_leaves_no_half_image() {
    let env = furnished();
    let Some(disk) = Disk::new(&env, 24) else { return };
    env.kiln(["images"]).run().success();
    disk.fill(500);
    kiln_tests::busybox_tar(&env.path("base.tar"));
    let import = || env.kiln(["import", "base.tar", "busybox"]).run();
    says_full(import());
    env.kiln(["images"]).run().success().says_not(["busybox"]);
    settle(&env.store());
    disk.free();
    import().success();
    env.kiln(["run", "--rm", "busybox", "/bin/busybox", "true"]).run().success();
    env.kiln(["fsck"]).run().success();
    settle(&env.store());
}

#[test]
fn a_pull_on_a_full_disk_says_what_it_could_not_keep() {
    let Some(registry) = Registry::start(Login::Open) else { return };
    let (maker, env, name) = (furnished(), TestEnv::new(), registry.name("team/app:1"));
    maker.file("Dockerfile", "FROM scratch\nCOPY big /big\n").build(["--push", "--tag", &name]).success();
    let Some(disk) = Disk::new(&env, 64) else { return };
    env.kiln(["images"]).run().success();
    for kilobytes in [16_000, 6_000, 100] {
        disk.fill(kilobytes);
        let failed = env.kiln(["pull", &name]).run();
        assert!(failed.stderr.contains(&registry.name("team/app")), "{failed}");
        says_full(failed);
        settle(&env.store());
        disk.free();
        assert_eq!(env.kiln(["images", "--quiet"]).run().success().stdout(), "");
        env.kiln(["fsck"]).run().success().says(["all is well"]);
    }
    env.kiln(["pull", &name]).run().success();
    settle(&env.store());
}

#[test]
fn too_few_open_files_are_told_and_nothing_is_lost() {
    let env = TestEnv::new();
    env.busybox();
    for n in 0..300 {
        env.file(&format!("d{}/{n}", n % 20), "x");
    }
    env.file("Dockerfile", "FROM busybox\nCOPY . /files\nRUN find /files -type f | wc -l > /count\n");
    let mut failed = 0;
    for limit in [8, 12, 16, 20, 24, 32, 48, 64, 96] {
        let files = format!("--nofile={limit}:{limit}");
        let outcome = env.build_command(["--no-cache"]).through(["prlimit", &files, "--"]).run();
        if outcome.code != 0 {
            failed += 1;
            let outcome = outcome.failure(1);
            let is_told = outcome.stderr.contains("Too many open files")
                || outcome.stderr.contains("unable to open database");
            assert!(is_told && outcome.stderr.contains("ulimit -n"), "limit {limit}: {outcome}");
        }
    }
    assert_ne!(failed, 0, "eight files were enough");
    settle(&env.store());
    env.kiln(["fsck"]).run().success().says(["all is well"]);
    assert!(env.image([]).content("count").starts_with("300") || !env.image([]).content("count").is_empty());
}

#[test]
fn a_store_that_may_only_be_read_is_told_and_left_alone() {
    if !is_root() {
        skipped("mounting read-only takes root");
        return;
    }
    let env = TestEnv::new();
    env.busybox();
    env.file("Dockerfile", "FROM busybox\nRUN echo x\n").build(["--tag=app"]).success();
    settle(&env.store());
    let script = "mount --bind \"$KILN_ROOT\" \"$KILN_ROOT\" && mount -o remount,bind,ro \"$KILN_ROOT\" && exec \"$@\"";
    let through = ["unshare", "--mount", "sh", "-c", script, "sh"];
    let build = env.build_command(["--no-cache"]).through(through).run();
    build.failure(1).says(["Read-only file system", "help: ", "--root"]);
    env.kiln(["prune", "-f"]).through(through).run().failure(1).says(["Read-only file system", "--root"]);
    env.build([]).success().says(["CACHED"]);
    env.kiln(["fsck"]).run().success().says(["all is well"]);
    settle(&env.store());
}

#[test]
fn files_from_the_future_and_the_past_are_read_as_they_are() {
    let env = TestEnv::new();
    env.busybox();
    env.file("Dockerfile", "FROM busybox\nCOPY file /\n");
    let times = ["2099-01-01T00:00:00Z", "1971-01-01T00:00:00Z", "2099-01-01T00:00:00Z"];
    for (time, content) in times.iter().zip(["one", "two", "six"]) {
        env.file("file", content);
        let touched = Command::new("touch").args(["-d", time]).arg(env.path("context/file")).status();
        assert!(touched.expect("touch").success());
        assert_eq!(env.image([]).content("file"), content);
        // And once more, from the stat index if it trusts it.
        assert_eq!(env.image([]).content("file"), content);
    }
}

#[test]
fn a_collection_after_the_clock_was_set_back_takes_no_more_than_before() {
    let env = TestEnv::new();
    env.busybox();
    env.file("Dockerfile", "FROM busybox\nRUN echo x\n").build([]).success();
    settle(&env.store());
    // Rows and stamps from a time when the clock was years ahead.
    let script = "import sqlite3, sys\n\
                  c = sqlite3.connect(sys.argv[1])\n\
                  for t in ('asked', 'made', 'chains', 'images', 'mounts'): c.execute(f'UPDATE {t} SET used = used + 400000000')\n\
                  c.commit()\n";
    let edited = Command::new("python3").args(["-c", script]).arg(env.store().join("db/2.sqlite")).status();
    assert!(edited.expect("python3").success());
    env.kiln(["prune", "-f", "--filter", "until=1h"]).run().success().says(["Total reclaimed space: 0B"]);
    env.build([]).success().says(["CACHED"]);
    env.kiln(["du", "-v"]).run().success();
    env.kiln(["prune", "-f"]).run().success();
    env.build([]).success();
    env.kiln(["fsck"]).run().success().says(["all is well"]);
    settle(&env.store());
}

/// System calls with what a dying disk, a full one and a full table of files make of them.
const CALLS: [(&str, &str); 13] = [
    ("write", "EIO"),
    ("write", "ENOSPC"),
    ("pwrite64", "EIO"),
    ("pwrite64", "ENOSPC"),
    ("read", "EIO"),
    ("pread64", "EIO"),
    ("openat", "EMFILE"),
    ("openat", "EIO"),
    ("renameat2", "EIO"),
    ("rename", "ENOSPC"),
    ("mkdir", "ENOSPC"),
    ("linkat", "EIO"),
    ("syncfs", "EIO"),
];

#[test]
fn a_system_call_that_fails_anywhere_costs_the_build_at_most() {
    if Command::new("strace").arg("-V").output().is_err() {
        skipped("no strace, which makes system calls fail");
        return;
    }
    let env = TestEnv::new();
    env.busybox();
    for n in 0..20 {
        env.file(&format!("files/{n}"), "x".repeat(n * 500));
    }
    env.file(
        "Dockerfile",
        "FROM busybox AS one\nCOPY files /files\nRUN cat /files/* > /all\n\
         FROM busybox\nCOPY --from=one /files /all /d/\nRUN rm /d/3 && echo end > /end\n",
    );
    build(&env, &env.path("layout")).success();
    let whole = Image::layout(&env.path("layout")).digest;
    let mut random = Random::new();
    for round in 0..amount("KILN_FAULTS", 40) {
        env.kiln(["prune", "-a", "-f"]).run().success();
        settle(&env.store());
        let (call, error) = *random.one_of(&CALLS);
        // Early ones more often: there are thousands of reads, and one syncfs.
        let most = 1 << random.below(10);
        let at = 1 + random.below(most);
        let (trace, inject) = (format!("trace={call}"), format!("inject={call}:error={error}:when={at}"));
        let words =
            ["strace", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", &*trace, "-e", &*inject];
        let outcome = env.build_command([]).through(words).run();
        let fault = format!("round {round}: {call} {at} fails with {error}");
        assert!(!outcome.stderr.contains("panicked"), "{fault}: {outcome}");
        if outcome.code != 0 {
            assert!(outcome.stderr.contains("rror"), "{fault}: {outcome}");
        }
        settle(&env.store());
        let checked = env.kiln(["fsck"]).run();
        assert!(checked.code == 0, "{fault}: {checked}");
        let again = build(&env, &env.path("layout"));
        assert!(again.code == 0, "{fault}: {again}");
        assert_eq!(Image::layout(&env.path("layout")).digest, whole, "{fault}");
    }
    settle(&env.store());
}
