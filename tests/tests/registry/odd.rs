//! Images with everything that a tar can say, there and back.

use std::process::Command;

use kiln_tests::{Login, Peer, Registry, TestEnv, is_root};

#[test]
fn odd_images_come_back_the_same_and_others_read_them() {
    let (Some(registry), Some(skopeo)) = (Registry::start(Login::Open), Peer::find("skopeo")) else { return };
    let env = TestEnv::new();
    let make = env.path("make.sh");
    let script = "mkdir -p tree/many tree/hard && cd tree \
        && for n in $(seq 2000); do echo $n > many/$n; done \
        && echo one > hard/a && ln hard/a hard/b && ln -s a hard/c && mkfifo fifo \
        && truncate -s 5000000 sparse && printf end >> sparse \
        && long=$(printf 'd%.0s' $(seq 120)) && mkdir -p $long/$long/$long && echo x > $long/$long/$long/$long \
        && chmod 4755 hard/a && touch 'a name with spaces' 'caf\u{e9}' && cd .. \
        && tar --sparse --numeric-owner -C tree -cf context/tree.tar . && rm -r tree";
    env.write("make.sh", script);
    let made = Command::new("sh").arg(&make).current_dir(env.path("")).status().expect("run sh");
    assert!(made.success());
    let layers: String = (0..126).map(|n| format!("COPY n{n} /n/{n}\n")).collect();
    for n in 0..126 {
        env.file(&format!("n{n}"), n.to_string());
    }
    env.file("Dockerfile", format!("FROM scratch\nADD tree.tar /\n{layers}"));
    let listing = |env: &TestEnv, base: &str| {
        env.write("from/Dockerfile", format!("FROM {base}\n"));
        let (tar, from) = (env.path("out.tar"), env.path("from").display().to_string());
        let output = format!("--output=type=tar,dest={}", tar.display());
        env.kiln(["build", "--progress=plain", &output, &from]).run().success();
        // Without the fractions of seconds, which layers do not have.
        let words = ["-tvf", &*tar.display().to_string()].map(str::to_owned);
        let listed = Command::new("tar").args(words).output().expect("run tar");
        assert!(listed.status.success());
        listed.stdout
    };
    for compression in ["gzip", "zstd", "uncompressed"] {
        let name = registry.name(&format!("odd/{compression}:1"));
        let output = format!("--output=type=registry,compression={compression},force-compression=true");
        env.build([&output, "--tag", &name]).success();
        let wanted = listing(&env, &name);
        let other = TestEnv::new();
        other.kiln(["pull", &name]).run().success();
        assert!(listing(&other, &name) == wanted, "{compression}");
        let source = format!("docker://{name}");
        let dir = format!("dir:{}", env.path(compression).display());
        skopeo.run(["copy", "--src-tls-verify=false", &source, &dir]).success();
    }
    if !is_root() {
        return;
    }
    // And the other way: what buildah or podman made of it, kiln reads.
    let podman_home = env.path("podman-home");
    let Some(podman) = Peer::podman(&podman_home) else { return };
    let (name, back) = (registry.name("odd/gzip:1"), registry.name("odd/back:1"));
    podman.run(["pull", "--quiet", "--tls-verify=false", &name]).success();
    podman.run(["push", "--quiet", "--tls-verify=false", &name, &back]).success();
    let other = TestEnv::new();
    other.kiln(["pull", &back]).run().success();
    assert!(listing(&other, &back) == listing(&env, &name), "what podman sent back");
    podman.run(["rmi", "--all", "--force"]);
}

/// eStargz is gzip to those who do not know it, and says by annotations where its table of contents is.
#[test]
fn estargz_layers_are_annotated_and_read_by_anyone() {
    let (Some(registry), Some(skopeo)) = (Registry::start(Login::Open), Peer::find("skopeo")) else { return };
    let env = TestEnv::new();
    env.file("Dockerfile", "FROM scratch\nCOPY a /d/\n").file("a", "content");
    let name = registry.name("lazy:1");
    let output = format!("--output=type=registry,compression=estargz,name={name}");
    env.build([&output]).success();
    let image = format!("docker://{name}");
    let raw = skopeo.run(["inspect", "--raw", "--tls-verify=false", &image]).success().json();
    let layer = &raw["layers"][0];
    let toc = layer["annotations"]["containerd.io/snapshot/stargz/toc.digest"].as_str();
    assert!(toc.is_some_and(|toc| toc.starts_with("sha256:")), "{raw}");
    assert!(layer["mediaType"].as_str().is_some_and(|kind| kind.ends_with("tar+gzip")), "{raw}");
    let again = env.build([&output]).success();
    again.says_not(["error"]);
    let other = TestEnv::new();
    other.kiln(["pull", &name]).run().success();
    let dir = format!("dir:{}", env.path("copy").display());
    skopeo.run(["copy", "--src-tls-verify=false", &image, &dir]).success();
}
