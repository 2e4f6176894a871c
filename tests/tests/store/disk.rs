//! What the store takes, what is taken away, and that both are what `du` says.

use std::process::Command;

use kiln_tests::{TestEnv, settle};

/// Bytes on the disk, without the database: rows that go leave its file as it is.
fn measured(env: &TestEnv) -> u64 {
    let out = Command::new("du").args(["-s", "--block-size=1", "--exclude=db"]).arg(env.store()).output();
    let text = String::from_utf8(out.expect("run du").stdout).expect("text");
    text.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}

fn measured_whole(env: &TestEnv) -> u64 {
    let out = Command::new("du").args(["-s", "--block-size=1"]).arg(env.store()).output();
    let text = String::from_utf8(out.expect("run du").stdout).expect("text");
    text.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}

/// `12.3MB` in bytes.
fn bytes(text: &str) -> f64 {
    let at = text.find(|c: char| c.is_ascii_alphabetic()).expect("a unit");
    let power = ["B", "kB", "MB", "GB"].iter().position(|unit| *unit == &text[at..]).expect("a known unit");
    text[..at].parse::<f64>().expect("a number") * 1000_f64.powi(i32::try_from(power).expect("small"))
}

#[track_caller]
fn same(one: f64, other: f64, within: f64) {
    assert!((one - other).abs() <= within * one.max(other), "{one} and {other}");
}

/// Layers that share files, sparse and small files, a cache mount, blobs.
fn furnish(env: &TestEnv) {
    env.busybox();
    for n in 0..200 {
        env.file(&format!("small/{n}"), format!("{n}"));
    }
    env.file("big", vec![7_u8; 3 << 20]);
    env.file(
        "Dockerfile",
        "FROM busybox AS one\n\
         COPY . /files\n\
         RUN truncate -s 100M /sparse && echo end >> /sparse\n\
         RUN --mount=type=cache,id=stuff,target=/cache dd if=/dev/zero of=/cache/filled bs=1k count=700\n\
         FROM busybox\n\
         COPY --from=one /files /linked\n\
         COPY --from=one /files/big /again\n\
         RUN echo end > /end\n",
    );
    env.build(["--output=type=oci,dest=out.tar"]).success();
    env.file("small/7", "changed").build(["--tag=app"]).success();
    settle(&env.store());
}

#[test]
fn du_and_prune_say_what_du_says() {
    for env in TestEnv::each() {
        furnish(&env);
        let said = env.kiln(["du", "--format=json"]).run().success().json();
        let total = said["Total"].as_f64().expect("a number");
        same(total, f64::from(u32::try_from(measured_whole(&env)).expect("small")), 0.01);

        let before = measured(&env);
        let promised = env.kiln(["prune", "-a", "--dry-run"]).run().success().stdout();
        assert_eq!(measured(&env), before, "a dry run takes nothing away");
        let freed = env.kiln(["prune", "-a", "-f"]).run().success().stdout();
        let number = |text: &str| bytes(text.rsplit_once(": ").expect("a sum").1.trim());
        same(number(&promised), number(&freed), 0.0);
        settle(&env.store());
        let gone = before - measured(&env);
        // Three digits are printed.
        same(number(&freed), f64::from(u32::try_from(gone).expect("small")), 0.015);
        assert!(gone > 3 << 20, "{freed}");
        env.kiln(["run", "--rm", "app", "cat", "/again"]).run().success();
    }
}

#[test]
fn filters_choose_what_is_shown_and_what_goes() {
    let env = TestEnv::new();
    furnish(&env);
    let shown = |filter: &str| {
        let said = env.kiln(["du", "--format=json", "--filter", filter]).run().success().json();
        said["Records"].as_array().expect("a list").len()
    };
    let (mounts, others) = (shown("type=exec.cachemount"), shown("type!=exec.cachemount"));
    assert_eq!(mounts, 1);
    assert_eq!(shown("description=stuff"), 1);
    assert_eq!(shown("shared") + shown("private"), mounts + others);
    assert_eq!(shown("mutable") + shown("immutable"), mounts + others);
    assert_eq!((shown("inuse"), shown("until=24h")), (0, 0));

    let prune = |filter: &str| env.kiln(["prune", "-f", "--filter", filter]).run().success();
    prune("until=24h").says(["Total reclaimed space: 0B"]);
    prune("shared").says(["Total reclaimed space: 0B"]);
    prune("type!=exec.cachemount");
    assert_eq!(shown("type=exec.cachemount"), 1);
    assert_eq!((shown("type=internal"), shown("type=regular") > 0), (0, true), "the layers of images stay");
    prune("type=exec.cachemount");
    assert_eq!(shown("type=exec.cachemount"), 0);
}

/// The variables of a policy under which nothing stays that no image has.
const STRICT: [(&str, &str); 4] = [
    ("KILN_GC_INTERVAL", "0s"),
    ("KILN_GC_MAX_USED_SPACE", "1b"),
    ("KILN_GC_RESERVED_SPACE", "0b"),
    ("KILN_GC_MIN_FREE_SPACE", "0%"),
];

#[test]
fn what_a_policy_does_not_keep_goes_after_a_build_by_itself() {
    for env in TestEnv::each() {
        furnish(&env);
        let kept = || super::layers_with(&env.store(), "files/big").len();
        assert_ne!(kept(), 0);
        // The process that collects may come before the build that started it has let go of its layers.
        for round in 0..20 {
            env.file("Dockerfile", format!("FROM busybox\nRUN echo {round}\n"));
            let mut build = env.build_command([]);
            for (name, value) in STRICT {
                build = build.env(name, value);
            }
            build.run().success();
            settle(&env.store());
            if kept() == 0 {
                break;
            }
        }
        assert_eq!(kept(), 0);
        env.kiln(["run", "--rm", "app", "cat", "/end"]).run().success().says(["end"]);
        super::is_sound(&env);
    }
}

#[test]
fn the_configuration_file_decides_what_goes() {
    let env = TestEnv::new();
    furnish(&env);
    let prune = |text: &str| {
        env.write("home/.config/kiln/config.toml", text);
        env.kiln(["prune", "--auto"]).run()
    };
    prune("[gc]\nkeep-duration = '1d'\n").success().says(["Total reclaimed space: 0B"]);
    let rule = "[[gc.policy]]\nall = true\nfilters = ['type=exec.cachemount']\nmax-used-space = '0b'\n";
    prune(&format!("[gc]\nkeep-cache-mounts = true\n{rule}")).success().says(["Total reclaimed space: 0B"]);
    prune(rule).success().says(["exec.cachemount"]).says_not(["regular"]);
    prune("[gc]\nmax-used-space = 'plenty'\n").failure(1).says(["max-used-space", "plenty"]);
    prune("[gc]\nmax-usedspace = '1GB'\n").failure(1).says(["config.toml", "max-usedspace"]);
}

#[test]
fn an_unknown_filter_is_refused() {
    let env = TestEnv::new();
    env.kiln(["prune", "-f", "--filter", "colour=red"]).run().failure(1).says(["until=AGE", "colour"]);
    env.kiln(["du", "--filter", "type=nothing"]).run().failure(1).says(["exec.cachemount"]);
}
