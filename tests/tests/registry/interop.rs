//! Images with everything that a tar can say, handed from tool to tool: what comes back is what went.

use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use kiln_tests::{Docker, Entry, Login, Peer, Registry, TestEnv, is_root, read_layer};

/// Makes a tree of the odd, and of much, in `context/tree.tar`.
pub(crate) fn odd_tree(env: &TestEnv) {
    let script = "mkdir -p tree/many tree/hard && cd tree \
        && for n in $(seq 10000); do echo $n > many/$n; done \
        && echo one > hard/a && ln hard/a hard/b && ln -s a hard/c && mkfifo fifo \
        && truncate -s 5000000 sparse && printf end >> sparse \
        && long=$(printf 'd%.0s' $(seq 120)) && mkdir -p $long/$long/$long && echo x > $long/$long/$long/$long \
        && chmod 4755 hard/a && touch 'a name with spaces' 'caf\u{e9}' server \
        && { [ $(id -u) != 0 ] || python3 -c \"$CAPABLE\"; } && cd .. \
        && tar --sparse --xattrs --xattrs-include='*' --numeric-owner -C tree -cf context/tree.tar . && rm -r tree";
    // CAP_NET_BIND_SERVICE, effective, as `setcap` writes it (linux/capability.h, revision 2).
    let capable =
        "import os; os.setxattr('server', 'security.capability', bytes([1,0,0,2, 0,4]) + bytes(14))";
    env.write("make.sh", script);
    let mut make = Command::new("sh");
    let made = make.arg(env.path("make.sh")).current_dir(env.path("")).env("CAPABLE", capable).status();
    assert!(made.expect("run sh").success());
}

/// All that an image says of its files, its layers laid upon each other.
#[track_caller]
pub(crate) fn entries(env: &TestEnv, image: &str) -> Vec<Entry> {
    env.write("from/Dockerfile", format!("FROM {image}\n"));
    let from = env.path("from").display().to_string();
    let tar = env.kiln(["build", "--progress=plain", "--output=-", &from]).run().success().stdout;
    read_layer(tar.as_slice()).expect("a tar")
}

/// Pulls an image as somebody who has nothing of it, and compares it with what it was.
#[track_caller]
fn check_back(name: &str, wanted: &[Entry], by: &str) {
    let env = TestEnv::new();
    env.kiln(["pull", name]).run().success();
    let back = entries(&env, name);
    let told = |entries: &[Entry]| entries.iter().map(|entry| format!("{entry} {:?}", entry.pax)).collect();
    let (is, was): (Vec<String>, Vec<String>) = (told(&back), told(wanted));
    let differ: Vec<_> = is.iter().zip(&was).filter(|(is, was)| is != was).take(10).collect();
    assert!(differ.is_empty() && is.len() == was.len(), "{by}: {differ:#?}");
    assert!(back == wanted, "{by}: times or content");
    env.kiln(["fsck"]).run().success();
}

/// The image in a registry, in gzip and zstd, and what it holds.
fn published(env: &TestEnv) -> Option<(Registry, Vec<Entry>)> {
    let registry = Registry::start(Login::Open)?;
    odd_tree(env);
    env.file("more", "more");
    env.file("Dockerfile", "FROM scratch\nADD tree.tar /\nCOPY more /many/1\nCOPY more /hard/\n");
    for compression in ["gzip", "zstd"] {
        let name = registry.name(&format!("odd:{compression}"));
        env.build([&format!("--output=type=registry,name={name},compression={compression}")]).success();
    }
    let wanted = entries(env, &registry.name("odd:gzip"));
    // Of attributes, layers carry capabilities alone, as BuildKit's do; who is not root could not give any.
    let carries = |entry: &Entry| entry.pax.contains_key("SCHILY.xattr.security.capability");
    assert_eq!(wanted.iter().any(carries), is_root());
    Some((registry, wanted))
}

#[test]
fn skopeo_and_umoci_hand_on_what_they_were_given() {
    let (Some(skopeo), Some(umoci)) = (Peer::find("skopeo"), Peer::find("umoci")) else { return };
    let env = TestEnv::new();
    let Some((registry, wanted)) = published(&env) else { return };
    let at = |name: &str| format!("docker://{}", registry.name(name));
    let copy = |words: &[&str], from: &str, to: &str| {
        let flags = ["copy", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false"];
        skopeo.run(flags.iter().chain(words).chain(&[from, to])).success();
    };
    for (words, from, to) in [
        (&["--format=v2s2"][..], "odd:gzip", "skopeo:docker"),
        (&["--dest-compress-format=zstd", "--format=oci"], "odd:gzip", "skopeo:zstd"),
        (&["--format=oci"], "odd:zstd", "skopeo:same"),
    ] {
        copy(words, &at(from), &at(to));
        check_back(&registry.name(to), &wanted, to);
    }
    // umoci reads layouts of gzip layers, and adds a layer of its own.
    let layout = env.path("layout").display().to_string();
    copy(&[], &at("odd:gzip"), &format!("oci:{layout}:odd"));
    let bundle = env.path("bundle");
    let mut unpack = vec!["unpack".to_owned(), "--image".to_owned(), format!("{layout}:odd")];
    unpack.extend((!is_root()).then(|| "--rootless".to_owned()));
    unpack.push(bundle.display().to_string());
    umoci.run(&unpack).success();
    let root = bundle.join("rootfs");
    let stat = |path: &str| std::fs::symlink_metadata(root.join(path)).expect("a file");
    assert_eq!(stat("hard/a").ino(), stat("hard/b").ino());
    assert_eq!((stat("sparse").len(), stat("hard/a").mode() & 0o7777), (5_000_003, 0o4755));
    assert_eq!(std::fs::read_dir(root.join("many")).expect("it").count(), 10_000);
    std::fs::write(env.path("added"), "by umoci").expect("write");
    let mut insert = vec!["insert".to_owned(), "--image".to_owned(), format!("{layout}:odd")];
    insert.extend((!is_root()).then(|| "--rootless".to_owned()));
    insert.extend([env.path("added").display().to_string(), "/added".to_owned()]);
    umoci.run(&insert).success();
    copy(&[], &format!("oci:{layout}:odd"), &at("umoci:1"));
    let other = TestEnv::new();
    let all = entries(&other, &registry.name("umoci:1"));
    assert_eq!(all.len(), wanted.len() + 1);
    assert!(all.iter().any(|entry| entry.path.ends_with("added") && entry.content == b"by umoci"));
}

#[test]
fn podman_and_buildah_hand_on_what_they_were_given() {
    let env = TestEnv::new();
    let (Some(podman), Some(buildah)) = (Peer::podman(&env.path("podman-home")), Peer::find("buildah"))
    else {
        return;
    };
    let Some((registry, wanted)) = published(&env) else { return };
    for (compression, back) in [("gzip", "podman:gzip"), ("zstd", "podman:zstd")] {
        let (name, back) = (registry.name(&format!("odd:{compression}")), registry.name(back));
        podman.run(["pull", "--quiet", "--tls-verify=false", &name]).success();
        let format = format!("--compression-format={compression}");
        podman.run(["push", "--quiet", "--tls-verify=false", &format, &name, &back]).success();
        podman.run(["rmi", "--all", "--force"]).success();
        check_back(&back, &wanted, &back);
    }
    let place = |name: &str| env.path("buildah").join(name).display().to_string();
    let (root, run) = (place("root"), place("run"));
    let buildah = buildah.with(["--root", &root, "--runroot", &run, "--storage-driver", "overlay"]);
    std::fs::write(env.path("added"), "by buildah").expect("write");
    for compression in ["gzip", "zstd"] {
        let from = registry.name(&format!("odd:{compression}"));
        let made = buildah.run(["from", "--quiet", "--tls-verify=false", &from]).success();
        let container = made.stdout().trim().to_owned();
        let back = registry.name(&format!("buildah:{compression}"));
        buildah.run(["copy", "--quiet", &container, &env.path("added").display().to_string(), "/"]).success();
        let to = format!("docker://{back}");
        buildah.run(["commit", "--quiet", "--tls-verify=false", &container, &to]).success();
        buildah.run(["rm", &container]).success();
        let other = TestEnv::new();
        let all = entries(&other, &back);
        assert_eq!(all.len(), wanted.len() + 1, "{compression}");
        assert!(all.iter().any(|entry| entry.path.ends_with("added") && entry.content == b"by buildah"));
        for entry in &wanted {
            assert!(entry.path.ends_with('/') || all.contains(entry), "{compression}: {entry}");
        }
    }
    buildah.run(["rmi", "--all", "--force"]).success();
}

#[test]
fn docker_hands_on_what_it_was_given() {
    if !is_root() {
        return kiln_tests::skipped("dockerd needs root");
    }
    let env = TestEnv::new();
    let Some(docker) = Docker::start(&env) else { return };
    let Some((registry, wanted)) = published(&env) else { return };
    let (name, back) = (registry.name("odd:gzip"), registry.name("docker:1"));
    docker.client.run(["pull", "--quiet", &name]).success();
    docker.client.run(["tag", &name, &back]).success();
    docker.client.run(["push", "--quiet", &back]).success();
    check_back(&back, &wanted, "docker");
}
