//! What a push sends, and what it does not.

use kiln_tests::{Login, Peer, Registry, TestEnv};
use serde_json::Value;

use crate::line::{Faults, Line};
use crate::modern::modern;

/// Bytes that do not compress, of which no two places are alike.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[test]
fn layers_that_the_registry_has_are_neither_sent_nor_fetched_again() {
    let (Some(registry), Some(skopeo)) = (Registry::start(Login::Open), Peer::find("skopeo")) else { return };
    let line = Line::to(registry.address(), Faults::default());
    let env = TestEnv::new();
    const SIZE: usize = 3_000_000;
    env.file("Dockerfile", "FROM scratch\nCOPY a /\n").file("a", noise(SIZE, 1));
    let name = |repository: &str| format!("{}/{repository}", line.address);
    env.build(["--push", "--tag", &name("one:1"), "--tag", &name("two/of/them:1")]).success();
    let first = line.bytes();
    assert!(first < SIZE as u64 * 6 / 5, "{first} bytes for one layer of {SIZE}");
    // Another image with the layer, in a third repository: the registry takes it over from the first.
    env.file("Dockerfile", "FROM scratch\nCOPY a /\nCOPY b /\n").file("b", "b");
    env.build(["--push", "--tag", &name("three:1")]).success();
    assert!(line.bytes() - first < 100_000, "{} bytes for a layer that is there", line.bytes() - first);
    for tag in ["one:1", "two/of/them:1", "three:1"] {
        let image = format!("docker://{}", registry.name(tag));
        let layers = skopeo.run(["inspect", "--tls-verify=false", &image]).success().json()["Layers"].clone();
        assert_eq!(layers.as_array().map(Vec::len), Some(if tag == "three:1" { 2 } else { 1 }));
    }
    // What the store has is not fetched: a new tag of the image costs its manifest.
    let before = line.bytes();
    env.kiln(["pull", &name("one:1")]).run().success();
    assert!(line.bytes() - before < 100_000, "{} bytes for what is there", line.bytes() - before);
}

#[test]
fn an_image_knows_the_digest_that_a_registry_has_it_under() {
    let (Some(registry), Some(skopeo)) = (Registry::start(Login::Open), Peer::find("skopeo")) else { return };
    let env = TestEnv::new();
    env.file("Dockerfile", "FROM scratch\nCOPY a /\n").file("a", "a");
    let [built, pushed, second] = ["built:1", "pushed:1", "pushed:2"].map(|name| registry.name(name));
    let at = |env: &TestEnv, name: &str| {
        let shown = env.kiln(["inspect", "--format", "{{index .RepoDigests 0}}", name]).run().success();
        shown.stdout().trim().to_owned()
    };
    let there = |name: &str| {
        let image = format!("docker://{name}");
        let digest = skopeo.run(["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &image]);
        format!("{}@{}", name.rsplit_once(':').expect("a tag").0, digest.success().stdout().trim())
    };
    // With a build, with a push of all tags, and with a pull.
    env.build(["--push", "--tag", &built]).success();
    assert_eq!(at(&env, &built), there(&built));
    for name in [&pushed, &second] {
        env.kiln(["tag", &built, name]).run().success();
    }
    let repository = registry.name("pushed");
    env.kiln(["push", "--all-tags", &repository]).run().success().says(["pushed:1", "pushed:2"]);
    env.kiln(["rmi", &built]).run().success();
    assert_eq!(at(&env, &second), there(&second));
    env.kiln(["push", "--all-tags", &pushed]).run().failure(1).says(["--all-tags", "pushed:1"]);
    let other = TestEnv::new();
    other.kiln(["pull", &second]).run().success();
    assert_eq!(at(&other, &second), there(&second));
    let listed = other.kiln(["images", "--digests", "--format", "{{.Digest}}"]).run().success().stdout();
    assert!(there(&second).ends_with(listed.trim()), "{listed}");
    // Nobody else has what was only built.
    env.file("a", "b").build(["--tag=mine"]).success();
    assert_eq!(
        env.kiln(["inspect", "--format", "{{len .RepoDigests}}", "mine"]).run().success().stdout(),
        "0\n"
    );
}

#[test]
fn a_push_tells_how_many_bytes_went() {
    let Some(registry) = Registry::start(Login::Open) else { return };
    let env = TestEnv::new();
    env.file("Dockerfile", "FROM scratch\nCOPY a /\n").file("a", noise(5_000_000, 1));
    let name = registry.name("app:1");
    let context = env.path("context").display().to_string();
    let built = env.kiln(["build", "--progress=rawjson", "--push", "--tag", &name, &context]).run().success();
    // A layer that was packed by then goes by its digest, one that is packed on the way by its number.
    let lines = built.stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let told = lines.flat_map(|line| line["statuses"].as_array().cloned().unwrap_or_default());
    let of_layer = told.filter(|status| {
        let id = status["id"].as_str().unwrap_or_default();
        id.starts_with("pushing sha256:") || id == "pushing layer 1 of 1"
    });
    let most = of_layer.filter_map(|status| status["current"].as_u64()).max();
    assert!(most.is_some_and(|most| most > 5_000_000), "{most:?} bytes of a layer went: {built}");
}

#[test]
fn a_refused_push_says_who_refused_what_and_leaves_nothing_behind() {
    let Some(registry) = Registry::start(Login::Basic) else { return };
    let env = TestEnv::new();
    env.file("Dockerfile", "FROM scratch\nCOPY a /\n").file("a", noise(5_000_000, 1));
    let name = registry.name("app:1");
    let refused = env.build(["--push", "--tag", &name]).failure(1);
    refused.says([&registry.name("app"), "wants a login", "kiln login"]);
    let left = std::fs::read_dir(env.store().join("tmp")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "the store's scratch directory is not empty");
}

/// As much as CI can afford, or a gigabyte with KILN_BIG=1: bytes, layers, where connections break.
fn big() -> (usize, usize, u64) {
    if std::env::var_os("KILN_BIG").is_some() {
        (1_000_000_000, 4, 50_000_000)
    } else {
        (200_000_000, 1, 10_000_000)
    }
}

/// Through a line that breaks every so many bytes and refuses every tenth request, an image arrives, and a tenth more is sent
/// than without faults at most. docker-registry 2 loses an upload whose connection breaks, so that a push must not let it.
#[test]
fn a_bad_line_delays_a_push_and_a_pull_but_costs_little() {
    let Some(registry) = Registry::start(Login::Open) else { return };
    let (size, layers, cut_after) = big();
    let env = TestEnv::new();
    let mut dockerfile = "FROM scratch\n".to_owned();
    for n in 0..layers {
        env.file(&format!("f{n}"), noise(size / layers, n as u64 + 1));
        dockerfile += &format!("COPY f{n} /\n");
    }
    env.file("Dockerfile", dockerfile);
    let line = Line::to(registry.address(), Faults { cut_after, refuse_every: 10 });
    let name = format!("{}/app:1", line.address);
    env.build(["--push", "--tag", &name]).success();
    let pushed = line.bytes();
    let (cuts, refused) = (line.cuts(), line.refused());
    println!("push: {pushed} bytes for {size}, {cuts} cuts, {refused} refused");
    assert!(pushed < size as u64 * 11 / 10, "{pushed} bytes for {size}, {cuts} cuts, {refused} refused");
    let other = TestEnv::new();
    other.kiln(["pull", &name]).run().success();
    let pulled = line.bytes() - pushed;
    println!(
        "pull: {pulled} bytes for {size}, {} cuts, {} refused",
        line.cuts() - cuts,
        line.refused() - refused
    );
    assert!(line.cuts() > cuts, "no cut");
    assert!(pulled < size as u64 * 11 / 10, "{pulled} bytes for {size}");
}

/// Other registries keep an upload whose connection breaks, but nothing of the request that it broke in: the next one has to be
/// smaller, or none would ever get through.
#[test]
fn a_registry_that_keeps_whole_requests_only_gets_smaller_ones() {
    const SIZE: usize = 60_000_000;
    const CUT: u64 = 12_000_000;
    let registry = modern();
    let line = Line::to(&registry, Faults { cut_after: CUT, refuse_every: 10 });
    let env = TestEnv::new();
    env.file("Dockerfile", "FROM scratch\nCOPY f /\n").file("f", noise(SIZE, 1));
    let name = format!("{}/app:1", line.address);
    env.build(["--push", "--tag", &name]).success();
    assert!(line.cuts() > 0, "no cut");
    assert!(line.bytes() < SIZE as u64 + 2 * CUT, "{} bytes for {SIZE}, {} cuts", line.bytes(), line.cuts());
    TestEnv::new().kiln(["pull", &format!("{registry}/app:1")]).run().success();
}
