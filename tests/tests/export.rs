//! Everything that kiln writes, read back by the tools that people use.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use kiln_tests::{Image, Login, Peer, Registry, TestEnv, is_root};

const DOCKERFILE: &str = "\
FROM busybox
RUN mkdir -p /d && echo one > /d/one && ln /d/one /d/two && ln -s one /d/link && chmod 4711 /d/one
RUN rm /bin/yes && chown 3:4 /d
COPY f /f
ENV GREETING=hello
CMD [\"sh\", \"-c\", \"echo $GREETING; cat /d/two\"]
";

fn env() -> TestEnv {
    let env = TestEnv::new();
    env.busybox().file("f", "copied").file("Dockerfile", DOCKERFILE);
    env
}

#[track_caller]
fn check_unpacked(root: &std::path::Path) {
    let stat =
        |path: &str| fs::symlink_metadata(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(fs::read_to_string(root.join("d/two")).expect("read"), "one\n");
    assert_eq!(stat("d/one").ino(), stat("d/two").ino(), "hard links are kept");
    assert_eq!(stat("d/one").permissions().mode() & 0o7777, 0o4711);
    assert!(stat("d/link").is_symlink());
    assert!(!root.join("bin/yes").exists(), "whiteouts are obeyed");
}

/// The owners of the image, which a tar and umoci keep; a directory export belongs to who made it, as BuildKit's does.
#[track_caller]
fn check_owners(root: &std::path::Path) {
    let dir = fs::symlink_metadata(root.join("d")).expect("stat");
    assert!(!is_root() || (dir.uid(), dir.gid()) == (3, 4), "{}:{}", dir.uid(), dir.gid());
}

#[test]
fn skopeo_inspects_and_copies_every_compression() {
    let Some(skopeo) = Peer::find("skopeo") else { return };
    let env = env();
    for compression in ["gzip", "zstd", "uncompressed"] {
        let dest = env.path(&format!("{compression}.tar"));
        env.build([&format!("--output=type=oci,dest={},compression={compression}", dest.display())])
            .success();
        let image = Image::tar(&dest);
        let source = format!("oci-archive:{}", dest.display());
        let inspected = skopeo.run(["inspect", &source]).success().json();
        assert_eq!(inspected["Digest"], image.digest.as_str());
        assert_eq!(inspected["Layers"].as_array().map(Vec::len), Some(image.layers.len()));
        let copy = env.path(&format!("{compression}-copy"));
        skopeo
            .run(["copy", "--insecure-policy", &source, &format!("oci:{}:latest", copy.display())])
            .success();
        assert_eq!(Image::layout(&copy).listing(), image.listing());
    }
}

#[test]
fn umoci_unpacks_an_oci_layout() {
    let Some(umoci) = Peer::find("umoci") else { return };
    let env = env();
    let layout = env.path("layout");
    env.build(["--tag=app:v1", &format!("--output=type=oci,tar=false,dest={}", layout.display())]).success();
    let index: serde_json::Value =
        serde_json::from_slice(&fs::read(layout.join("index.json")).expect("read index.json")).expect("JSON");
    let tag =
        index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"].as_str().expect("a tag");
    assert_eq!(tag, "v1");
    let bundle = env.path("bundle");
    let image = format!("{}:{tag}", layout.display());
    let mut words = vec!["unpack", "--image", &image];
    if !is_root() {
        words.push("--rootless");
    }
    let bundle_word = bundle.display().to_string();
    words.push(&bundle_word);
    umoci.run(words).success();
    check_unpacked(&bundle.join("rootfs"));
    check_owners(&bundle.join("rootfs"));
}

#[test]
fn podman_loads_and_runs_what_docker_load_reads() {
    let env = env();
    let Some(podman) = Peer::podman(&env.path(".")) else { return };
    let dest = env.path("docker.tar");
    env.build(["--tag=app:v1", &format!("--output=type=docker,dest={}", dest.display())]).success();
    podman.run(["load", "--input", &dest.display().to_string()]).success().says(["app:v1"]);
    let run = Peer::PODMAN_RUN.into_iter().chain(["app:v1"]);
    assert_eq!(podman.run(run).success().stdout(), "hello\none\n");
}

#[test]
fn podman_pulls_and_runs_an_oci_tar() {
    let env = env();
    let Some(podman) = Peer::podman(&env.path(".")) else { return };
    let dest = env.path("oci.tar");
    env.build(["--tag=app:v1", &format!("--output=type=oci,dest={}", dest.display())]).success();
    let pulled = podman.run(["pull", "--quiet", &format!("oci-archive:{}", dest.display())]).success();
    let id = pulled.stdout().trim().to_owned();
    let run = Peer::PODMAN_RUN.into_iter().chain([&*id]);
    assert_eq!(podman.run(run).success().stdout(), "hello\none\n");
}

#[test]
fn a_local_export_is_the_root_directory() {
    let env = env();
    let dest = env.path("root");
    env.build([&format!("--output=type=local,dest={}", dest.display())]).success();
    check_unpacked(&dest);
    let short = env.path("short");
    env.build([&format!("--output={}", short.display())]).success();
    check_unpacked(&short);
}

#[test]
fn a_tar_export_is_the_root_directory_in_a_tar() {
    let env = env();
    let dest = env.path("root.tar");
    env.build([&format!("--output=type=tar,dest={}", dest.display())]).success();
    let root = env.path("unpacked");
    let mut archive = tar::Archive::new(fs::File::open(&dest).expect("open the tar"));
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(is_root());
    archive.unpack(&root).expect("unpack");
    check_unpacked(&root);
    check_owners(&root);
}

#[test]
fn a_dash_writes_to_standard_output() {
    let env = TestEnv::new();
    env.file("f", "x").file("Dockerfile", "FROM scratch\nCOPY f /\n");
    let outcome = env.build(["--output=type=oci,dest=-"]).success();
    fs::write(env.path("got.tar"), outcome.stdout).expect("write");
    assert_eq!(Image::tar(&env.path("got.tar")).listing(), "f 0644 /f 1\n");
    let outcome = env.build(["--output=-"]).success();
    let entries = kiln_tests::read_layer(&*outcome.stdout).expect("a tar");
    assert!(entries.iter().any(|entry| entry.path.trim_start_matches("./") == "f"), "{entries:?}");
}

#[test]
fn several_outputs_come_from_one_build() {
    let env = env();
    let (oci, root) = (env.path("oci.tar"), env.path("root"));
    let outputs = [
        format!("--output=type=oci,dest={}", oci.display()),
        format!("--output=type=local,dest={}", root.display()),
    ];
    env.build([&outputs[0], &outputs[1]]).success();
    check_unpacked(&root);
    assert!(Image::tar(&oci).has("d/one"));
}

#[test]
fn an_image_goes_to_a_registry_and_comes_back_the_same() {
    let Some(registry) = Registry::start(Login::Open) else { return };
    let env = env();
    let name = registry.name("team/app:v1");
    env.build([&format!("--tag={name}"), "--push"]).success();
    if let Some(skopeo) = Peer::find("skopeo") {
        let inspected =
            skopeo.run(["inspect", "--tls-verify=false", &format!("docker://{name}")]).success().json();
        assert_eq!(inspected["Architecture"], env.image([]).config["architecture"]);
    }
    let other = TestEnv::new();
    other.kiln(["pull", &name]).run().success();
    let output = other.kiln(["run", "--rm", &name]).run().success();
    assert_eq!(output.stdout(), "hello\none\n");
    other.file("Dockerfile", format!("FROM {name}\nRUN cat /d/one > /again\n"));
    assert_eq!(other.image([]).content("again"), "one\n");
}

#[test]
fn skopeo_pushes_and_kiln_builds_from_it() {
    let (Some(registry), Some(skopeo)) = (Registry::start(Login::Open), Peer::find("skopeo")) else { return };
    let env = env();
    let dest = env.path("oci.tar");
    env.build([&format!("--output=type=oci,dest={}", dest.display())]).success();
    let name = registry.name("base");
    let source = format!("oci-archive:{}", dest.display());
    // In Docker's own media types, as most images of registries are.
    let to = format!("docker://{name}:1");
    skopeo
        .run(["copy", "--insecure-policy", "--dest-tls-verify=false", "--format=v2s2", &source, &to])
        .success();
    let other = TestEnv::new();
    other.file("Dockerfile", format!("FROM {name}:1\nRUN cat /d/two > /made\n"));
    assert_eq!(other.image([]).content("made"), "one\n");
}

#[test]
fn a_registry_with_a_password_takes_what_login_kept() {
    let Some(registry) = Registry::start(Login::Basic) else { return };
    let env = env();
    let name = registry.name("app:v1");
    env.build([&format!("--tag={name}"), "--push"]).failure(1).says([registry.address()]);
    let login = |password: &str| {
        let words = ["login", "--username", registry.user(), "--password-stdin", registry.address()];
        env.kiln(words).stdin(password).run()
    };
    login("wrong").failure(1);
    login(registry.password()).success();
    env.build([&format!("--tag={name}"), "--push"]).success();
    env.kiln(["logout", registry.address()]).run().success();
    env.kiln(["push", &name]).run().failure(1);
}

#[test]
fn the_second_push_sends_only_what_is_new() {
    let Some(registry) = Registry::start(Login::Open) else { return };
    let env = env();
    let name = registry.name("app");
    env.build([&format!("--tag={name}:1"), "--push"]).success();
    env.file("f", "changed");
    env.build([&format!("--tag={name}:2"), "--push"]).success();
    let other = TestEnv::new();
    other.kiln(["pull", &format!("{name}:2")]).run().success();
    let out = other.kiln(["run", "--rm", &format!("{name}:2"), "cat", "/f"]).run().success();
    assert_eq!(out.stdout(), "changed");
}

#[test]
fn the_same_input_gives_the_same_digest_in_another_store() {
    let dockerfile = "FROM busybox\nRUN echo x > /x && touch -d @1000000000 /x\nCOPY f /f\n";
    let base = TestEnv::new();
    kiln_tests::busybox_tar(&base.path("base.tar"));
    let [one, two] = [(); 2].map(|()| {
        let env = TestEnv::new();
        env.kiln(["import", &base.path("base.tar").display().to_string(), "busybox"]).run().success();
        env.file("f", "x").file("Dockerfile", dockerfile);
        let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_500_000_000);
        fs::File::open(env.path("context/f")).and_then(|file| file.set_modified(old)).expect("set the time");
        env.image(["--build-arg=SOURCE_DATE_EPOCH=1600000000", "--no-cache"]).layers
    });
    assert_eq!(one[2], two[2]);
    assert_eq!(one[0], two[0]);
}

#[test]
fn metadata_and_image_id_are_written_to_files_and_quiet_prints_the_digest() {
    let env = env();
    let [iid, metadata] = ["iid", "metadata.json"].map(|name| env.path(name).display().to_string());
    let quiet =
        env.build(["--quiet", "--tag=app", "--iidfile", &iid, "--metadata-file", &metadata]).success();
    let id = fs::read_to_string(iid).expect("the image id");
    assert_eq!(quiet.stdout().trim(), id.trim());
    assert!(id.starts_with("sha256:") && id.trim().len() == 71, "{id}");
    let metadata: serde_json::Value =
        serde_json::from_slice(&fs::read(metadata).expect("the metadata")).expect("JSON");
    assert!(metadata.is_object());
}

#[test]
fn load_hands_the_image_to_docker_without_the_layers_that_it_has() {
    if !is_root() {
        return kiln_tests::skipped("dockerd needs root");
    }
    let env = env();
    let Some(docker) = kiln_tests::Docker::start(&env) else { return };
    let layers = |name: &str| {
        let template = ["image", "inspect", "--format", "{{json .RootFS.Layers}}", name];
        docker.client.run(template).success().json().as_array().map(Vec::len)
    };
    let build = |tag: &str| {
        env.build_command(["--load", tag]).env("DOCKER_HOST", &docker.host).run().success();
    };
    env.file("Dockerfile", "FROM busybox\nRUN echo one > /one\n");
    build("--tag=loaded:one");
    assert_eq!(layers("loaded:one"), Some(2));
    // Nothing of the base is sent again: what is written then is a small archive that docker takes all the same.
    env.file(
        "Dockerfile",
        "FROM busybox\nRUN echo one > /one\nRUN echo two > /two\nCMD [\"cat\", \"/two\"]\n",
    );
    build("--tag=loaded:two");
    assert_eq!(layers("loaded:two"), Some(3));
    assert_eq!(
        docker.client.run(["run", "--rm", "--network=none", "loaded:two"]).success().stdout(),
        "two\n"
    );
    // The same image is kiln's too.
    assert_eq!(env.kiln(["run", "--rm", "loaded:two"]).run().success().stdout(), "two\n");
}
