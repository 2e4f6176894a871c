//! Images of many layers and in every compression, there and back.

use kiln_tests::{Login, Peer, Registry, TestEnv};

use crate::interop::{entries, odd_tree};

#[test]
fn odd_images_come_back_the_same_and_others_read_them() {
    let (Some(registry), Some(skopeo)) = (Registry::start(Login::Open), Peer::find("skopeo")) else { return };
    let env = TestEnv::new();
    odd_tree(&env);
    let layers: String = (0..126).map(|n| format!("COPY n{n} /n/{n}\n")).collect();
    for n in 0..126 {
        env.file(&format!("n{n}"), n.to_string());
    }
    env.file("Dockerfile", format!("FROM scratch\nADD tree.tar /\n{layers}"));
    for compression in ["gzip", "zstd", "uncompressed"] {
        let name = registry.name(&format!("odd/{compression}:1"));
        let output = format!("--output=type=registry,compression={compression},force-compression=true");
        env.build([&output, "--tag", &name]).success();
        let wanted = entries(&env, &name);
        let other = TestEnv::new();
        other.kiln(["pull", &name]).run().success();
        assert!(entries(&other, &name) == wanted, "{compression}");
        let source = format!("docker://{name}");
        let dir = format!("dir:{}", env.path(compression).display());
        skopeo.run(["copy", "--src-tls-verify=false", &source, &dir]).success();
    }
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
