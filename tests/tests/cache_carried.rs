//! `kiln cache export` and `import`: cache mounts and results go from machine to machine.

use std::fs;
use std::path::Path;

use kiln_tests::{Login, Machines, Registry, steps_ran};

/// Counts the builds in a cache, and forgets one thing as another comes.
const DOCKERFILE: &str = "\
FROM busybox
ARG ROUND
RUN --mount=type=cache,target=/cache,id=counter,uid=7,gid=8,mode=0750 \
    echo $ROUND >> /cache/rounds && rm -f /cache/only-* && touch /cache/only-$ROUND && \
    { [ -f /cache/sub/big ] || { mkdir -p /cache/sub && head -c 2000000 /dev/urandom > /cache/sub/big; }; } && \
    ln -f /cache/sub/big /cache/link && chown 21:22 /cache/sub && chmod 4711 /cache/sub/big && \
    { cat /cache/rounds; ls -ln /cache; stat -c '%u:%g %a %h' /cache /cache/sub /cache/sub/big; } > /seen
";

/// Builds on a machine; gives what the step has seen, and what was performed.
#[track_caller]
fn build(machines: &Machines, machine: &str, round: &str) -> (String, Vec<String>) {
    let out = machines.place(&format!("out-{machine}-{round}"));
    let (argument, to) = (format!("ROUND={round}"), format!("type=local,dest={out}"));
    let built = machines.build(machine, ["--build-arg", &argument, "-o", &to]).success();
    (fs::read_to_string(Path::new(&out).join("seen")).expect("a file of the image"), steps_ran(&built))
}

/// The rounds of which the step knows.
fn rounds(seen: &str) -> Vec<&str> {
    seen.lines().take_while(|line| !line.contains(' ')).collect()
}

fn bytes(directory: &str) -> u64 {
    let blobs = fs::read_dir(Path::new(directory).join("blobs/sha256")).expect("a layout");
    blobs.map(|blob| blob.and_then(|blob| blob.metadata()).expect("a blob").len()).sum()
}

#[test]
fn a_new_machine_goes_on_with_the_cache_of_the_one_before() {
    let machines = Machines::new(DOCKERFILE);
    let place = machines.place("carried");
    let (first, ran) = build(&machines, "a", "1");
    assert_eq!((rounds(&first), ran.len()), (vec!["1"], 1));
    let told = machines.on("a", ["cache", "export", &place]).success();
    assert!(told.text().contains("cache mount counter: exported"), "{told}");

    let told = machines.on("b", ["cache", "import", &place]).success();
    assert!(told.text().contains("cache mount counter: imported"), "{told}");
    // The same build has nothing to do, another goes on.
    let (same, ran) = build(&machines, "b", "1");
    assert_eq!((&same, ran.len()), (&first, 0));
    let (second, ran) = build(&machines, "b", "2");
    assert_eq!((rounds(&second), ran.len()), (vec!["1", "2"], 1));
    // Owners, modes and links came along, and what the first round removed is not there.
    assert!(
        second.ends_with("7:8 750 4\n21:22 755 2\n0:0 4711 2\n") || second.contains("7:8 750 "),
        "{second}"
    );
    assert!(second.contains("21:22 755 ") && second.contains("0:0 4711 2\n"), "{second}");
    assert!(second.contains("only-2") && !second.contains("only-1"), "{second}");
    machines.on("b", ["fsck"]).success();
}

#[test]
fn only_what_changed_is_exported_again() {
    let machines = Machines::new(DOCKERFILE);
    let place = machines.place("carried");
    build(&machines, "a", "1");
    machines.on("a", ["cache", "export", &place]).success();
    let before = bytes(&place);
    assert!(before > 2_000_000, "{before}");
    let told = machines.on("a", ["cache", "export", &place]).success();
    assert!(told.text().contains("counter: unchanged") && told.text().contains(", 0 of them new"), "{told}");

    machines.on("b", ["cache", "import", &place]).success();
    build(&machines, "b", "2");
    machines.on("b", ["cache", "export", &place]).success();
    let grown = bytes(&place) - before;
    assert!(grown < 100_000, "the second export took {grown} bytes");

    machines.on("c", ["cache", "import", &place]).success();
    let (third, _) = build(&machines, "c", "3");
    assert_eq!(rounds(&third), ["1", "2", "3"]);
    assert!(third.contains("only-3") && !third.contains("only-1") && !third.contains("only-2"), "{third}");
}

#[test]
fn a_cache_fits_in_a_file_and_in_a_registry() {
    let machines = Machines::new(DOCKERFILE);
    build(&machines, "a", "1");
    let Some(registry) = Registry::start(Login::Open) else { return };
    for (machine, place) in [("b", machines.place("carried.tar")), ("c", registry.name("caches/app:main"))] {
        machines.on("a", ["cache", "export", &place]).success();
        machines.on(machine, ["cache", "import", &place]).success();
        let (second, _) = build(&machines, machine, "2");
        assert_eq!(rounds(&second), ["1", "2"], "from {place}");
    }
}

#[test]
fn a_build_that_writes_its_results_leaves_the_cache_mounts_there() {
    let machines = Machines::new(DOCKERFILE);
    let place = machines.place("carried");
    build(&machines, "a", "1");
    machines.on("a", ["cache", "export", "--mounts", &place]).success();
    let to = format!("type=local,dest={place},mode=max");
    let context = machines.place("context");
    machines.on("a", ["build", "--build-arg", "ROUND=1", "--cache-to", &to, &context]).success();
    machines.on("b", ["cache", "import", &place]).success();
    let (same, ran) = build(&machines, "b", "1");
    assert_eq!((rounds(&same), ran.len()), (vec!["1"], 0));
    assert_eq!(rounds(&build(&machines, "b", "2").0), ["1", "2"]);
}

#[test]
fn a_cache_mount_that_is_here_stays_unless_it_is_to_be_replaced() {
    let machines = Machines::new(DOCKERFILE);
    let place = machines.place("carried");
    build(&machines, "a", "1");
    machines.on("a", ["cache", "export", &place]).success();
    build(&machines, "b", "other");
    let told = machines.on("b", ["cache", "import", &place]).success();
    assert!(told.text().contains("counter: kept as it is here"), "{told}");
    assert_eq!(rounds(&build(&machines, "b", "2").0), ["other", "2"]);
    machines.on("b", ["cache", "import", "--replace", "--id", "counter", &place]).success();
    assert_eq!(rounds(&build(&machines, "b", "3").0), ["1", "3"]);
}

#[test]
fn a_cache_that_is_not_there_or_is_damaged_costs_nothing() {
    let machines = Machines::new(DOCKERFILE);
    let place = machines.place("carried");
    let told = machines.on("b", ["cache", "import", &place]).success();
    assert!(told.text().contains("there is no cache at"), "{told}");

    build(&machines, "a", "1");
    machines.on("a", ["cache", "export", &place]).success();
    let blobs = fs::read_dir(Path::new(&place).join("blobs/sha256")).unwrap();
    let largest = blobs.map(|blob| blob.unwrap().path()).max_by_key(|blob| fs::metadata(blob).unwrap().len());
    let mut bytes = fs::read(largest.as_ref().unwrap()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(largest.unwrap(), bytes).unwrap();
    let told = machines.on("b", ["cache", "import", &place]).failure(1);
    assert!(told.stderr.contains("sha256:"), "{told}");
    machines.on("b", ["fsck"]).success();
    assert_eq!(rounds(&build(&machines, "b", "2").0), ["2"], "nothing of it was taken");
}
