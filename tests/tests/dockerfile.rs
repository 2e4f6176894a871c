//! What Dockerfiles mean: instructions, heredocs, stages, arguments, contexts.

use std::io::Write;

use kiln_tests::{Image, TestEnv};

/// Builds a Dockerfile on busybox and reads the image back.
#[track_caller]
fn build(env: &TestEnv, dockerfile: &str) -> Image {
    env.busybox().file("Dockerfile", dockerfile);
    env.image([])
}

#[test]
fn a_scratch_image_holds_what_was_copied_and_nothing_else() {
    let env = TestEnv::new();
    env.file("hello", "hello\n").file("Dockerfile", "FROM scratch\nCOPY hello /out\n");
    assert_eq!(env.image([]).listing(), "f 0644 /out 6\n");
}

#[test]
fn a_run_step_leaves_its_changes_in_one_layer() {
    let env = TestEnv::new();
    let image = build(&env, "FROM busybox\nRUN echo hi > /tmp/hi && mkdir -p /a/b && rm /bin/yes\n");
    assert_eq!(image.layers.len(), 2);
    let added = image.added(1);
    for line in ["f 0644 /tmp/hi 3\n", "d 0755 /a/\n", "d 0755 /a/b/\n", "/bin/.wh.yes"] {
        assert!(added.contains(line), "{line} in {added}");
    }
    assert!(!image.has("bin/yes"));
}

#[test]
fn run_takes_shell_form_exec_form_and_another_shell() {
    let env = TestEnv::new();
    let image = build(
        &env,
        r#"FROM busybox
RUN echo "$0 $((1+1))" > /shell
RUN ["/bin/busybox", "touch", "/$HOME exec"]
SHELL ["/bin/sh", "-euc"]
RUN echo $- > /flags
"#,
    );
    assert_eq!(image.content("shell"), "/bin/sh 2\n");
    assert!(image.has("$HOME exec"), "exec form is not expanded");
    let flags = image.content("flags");
    assert!(flags.contains('e') && flags.contains('u'), "{flags}");
}

#[test]
fn heredocs_are_scripts_and_files() {
    let env = TestEnv::new();
    let image = build(
        &env,
        r#"FROM busybox
ARG WHO=world
RUN <<EOF
  echo first > /script
  echo second >> /script
EOF
RUN <<EOF
#!/bin/awk -f
BEGIN { print "from awk" > "/awk" }
EOF
COPY <<one <<-"two" /etc/h/
hello $WHO
one
	hello $WHO
	two
"#,
    );
    assert_eq!(image.content("script"), "first\nsecond\n");
    assert_eq!(image.content("awk"), "from awk\n");
    assert_eq!(image.content("etc/h/one"), "hello world\n");
    assert_eq!(image.content("etc/h/two"), "hello $WHO\n");
}

#[test]
fn a_later_stage_copies_from_earlier_ones_by_name_number_and_image() {
    let env = TestEnv::new();
    let image = build(
        &env,
        "FROM busybox AS first\nRUN echo 1 > /one\n\
         FROM busybox AS Second\nRUN echo 2 > /two\n\
         FROM scratch\nCOPY --from=first /one /\nCOPY --from=1 /two /\nCOPY --from=busybox /etc/passwd /\n",
    );
    assert_eq!(image.listing(), "f 0644 /one 2\nf 0644 /passwd 30\nf 0644 /two 2\n");
}

#[test]
fn a_stage_builds_on_an_earlier_stage_and_inherits_its_configuration() {
    let env = TestEnv::new();
    let image = build(
        &env,
        "FROM busybox AS base\nENV A=1\nWORKDIR /w\nRUN echo x > f\nFROM base\nENV B=$A$A\nRUN cat f > g\n",
    );
    assert_eq!(image.content("w/g"), "x\n");
    assert_eq!(image.container()["WorkingDir"], "/w");
    let env = image.container()["Env"].to_string();
    assert!(env.contains("A=1") && env.contains("B=11"), "{env}");
}

#[test]
fn the_target_decides_which_stages_run() {
    let env = TestEnv::new();
    env.busybox().file(
        "Dockerfile",
        "FROM busybox AS a\nRUN echo a > /a\nFROM busybox AS broken\nRUN exit 1\nFROM a AS c\nRUN echo c > /c\n",
    );
    let image = env.image(["--target=c"]);
    assert!(image.has("a") && image.has("c"));
    env.build(["--target=broken"]).failure(1);
}

#[test]
fn arguments_have_scopes_defaults_and_values_from_the_command_line() {
    let env = TestEnv::new();
    env.busybox().file(
        "Dockerfile",
        "ARG BASE=nowhere\nARG GLOBAL=g\nFROM ${BASE}\nARG GLOBAL\nARG HERE=default\nARG UNSET\n\
         ENV KEPT=${HERE}-${UNSET:-none}\nRUN echo \"$GLOBAL $HERE $KEPT\" > /args\n",
    );
    let image = env.image(["--build-arg=BASE=busybox", "--build-arg=HERE=given"]);
    assert_eq!(image.content("args"), "g given given-none\n");
    let env = image.container()["Env"].to_string();
    assert!(env.contains("KEPT=given-none") && !env.contains("HERE="), "{env}");
}

#[test]
fn copy_sets_owners_and_modes_also_of_the_parents_it_makes() {
    let env = TestEnv::new();
    env.file("f", "x").file("script", "x").mode("script", 0o755);
    let image = build(
        &env,
        "FROM busybox\nRUN echo 'app:x:7:8::/:' >> /etc/passwd && echo 'staff:x:9:' >> /etc/group\n\
         COPY --chown=app:staff f /named\nCOPY --chown=5:6 --chmod=640 f /made/f\nCOPY script /bin/script\n",
    );
    let listing = image.listing();
    for line in
        ["f 0644 /named 1 7:9\n", "f 0640 /made/f 1 5:6\n", "d 0640 /made/ 5:6\n", "f 0755 /bin/script 1\n"]
    {
        assert!(listing.contains(line), "{line} in {listing}");
    }
}

#[test]
fn copy_of_a_directory_copies_what_is_in_it() {
    let env = TestEnv::new();
    env.file("dir/a", "1")
        .file("dir/sub/b", "2")
        .symlink("dir/link", "a")
        .file("other.txt", "3")
        .file("x.txt", "4");
    env.file("Dockerfile", "FROM scratch\nCOPY dir /d\nCOPY *.txt /t/\nCOPY dir/sub dir/a /both/\n");
    let expected = "d 0755 /both/\nf 0644 /both/a 1\nf 0644 /both/b 1\nd 0755 /d/\nf 0644 /d/a 1\n\
                    l 0777 /d/link -> a\nd 0755 /d/sub/\nf 0644 /d/sub/b 1\n\
                    d 0755 /t/\nf 0644 /t/other.txt 1\nf 0644 /t/x.txt 1\n";
    assert_eq!(env.image([]).listing(), expected);
}

#[test]
fn dockerignore_keeps_files_out_and_lets_exceptions_in() {
    let env = TestEnv::new();
    env.file("a.log", "").file("keep.log", "").file("src/b.log", "").file("src/main.c", "");
    env.file(".dockerignore", "**/*.log\n!keep.log\nDockerfile\n.dockerignore\n");
    env.file("Dockerfile", "FROM scratch\nCOPY . /\n");
    assert_eq!(env.image([]).listing(), "f 0644 /keep.log 0\nd 0755 /src/\nf 0644 /src/main.c 0\n");
}

#[test]
fn a_dockerignore_beside_the_dockerfile_goes_before_the_general_one() {
    let env = TestEnv::new();
    env.file("a", "")
        .file("b", "")
        .file(".dockerignore", "a\n")
        .file("other.Dockerfile.dockerignore", "*\n!a\n");
    env.file("other.Dockerfile", "FROM scratch\nCOPY . /\n");
    let file = format!("--file={}", env.path("context/other.Dockerfile").display());
    assert_eq!(env.image([&file]).listing(), "f 0644 /a 0\n");
}

/// A tar with one directory, one file owned by 3:4, and a link.
fn small_tar() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o640);
    header.set_uid(3);
    header.set_gid(4);
    header.set_size(2);
    header.set_mtime(1_000_000_000);
    tar.append_data(&mut header, "in/file", &b"hi"[..]).expect("append");
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    tar.append_link(&mut header, "in/link", "file").expect("append");
    tar.into_inner().expect("finish")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("compress");
    encoder.finish().expect("compress")
}

#[test]
fn add_unpacks_local_tars_whatever_their_compression() {
    let env = TestEnv::new();
    env.file("plain.tar", small_tar()).file("a.tgz", gzip(&small_tar()));
    env.file("b.zst", zstd::encode_all(&*small_tar(), 3).expect("compress"));
    env.file(
        "Dockerfile",
        "FROM scratch\nADD plain.tar /p/\nADD a.tgz /g/\nADD b.zst /z/\nCOPY plain.tar /copied\n",
    );
    let listing = env.image([]).listing();
    for dir in ["p", "g", "z"] {
        assert!(listing.contains(&format!("f 0640 /{dir}/in/file 2 3:4\n")), "{listing}");
        assert!(listing.contains(&format!("/{dir}/in/link -> file 3:4\n")), "{listing}");
    }
    assert!(listing.contains("f 0644 /copied "), "{listing}");
}

#[test]
fn add_fetches_a_url_and_runs_again_only_when_it_changed() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = server.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in server.incoming().flatten() {
            let mut request = std::io::BufReader::new(stream.try_clone().expect("clone"));
            let mut line = String::from("-");
            while !line.trim().is_empty() {
                line.clear();
                if std::io::BufRead::read_line(&mut request, &mut line).unwrap_or(0) == 0 {
                    break;
                }
            }
            let head = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nLast-Modified: Sun, 09 Sep 2001 01:46:40 GMT\r\n\
                        Connection: close\r\n\r\nfetched";
            let _ = (&stream).write_all(head.as_bytes());
        }
    });
    let env = TestEnv::new();
    env.file("Dockerfile", format!("FROM scratch\nADD http://{address}/dir/name?x=1 /d/\n"));
    let image = env.image([]);
    assert_eq!(image.listing(), "d 0755 /d/\nf 0600 /d/name 7\n");
    let file = image.layers[0].iter().find(|entry| entry.path == "d/name").expect("the file");
    assert_eq!(file.mtime, 1_000_000_000);
}

#[test]
fn onbuild_instructions_run_in_the_image_built_on_it() {
    let env = TestEnv::new();
    env.busybox()
        .file("app", "app")
        .file("Dockerfile", "FROM busybox\nONBUILD COPY app /app\nONBUILD RUN cp app ran\n");
    env.build(["--tag=parent"]).success();
    env.file("Dockerfile", "FROM parent\nRUN echo own > /own\n");
    let image = env.image([]);
    assert_eq!(image.content("ran"), "app");
    assert!(image.has("own"));
    assert!(image.container()["OnBuild"].as_array().is_none_or(Vec::is_empty), "triggers are used up");
}

#[test]
fn the_configuration_has_what_the_instructions_say() {
    let env = TestEnv::new();
    let image = build(
        &env,
        r#"FROM busybox
MAINTAINER someone
LABEL a=1 b="two words"
EXPOSE 80 53/udp
VOLUME ["/data"]
USER 5:6
WORKDIR /w
WORKDIR sub
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --retries=2 CMD ["true"]
ENTRYPOINT ["/bin/echo"]
CMD ["hi"]
"#,
    );
    let config = image.container();
    assert_eq!(image.config["author"], "someone");
    assert_eq!(config["Labels"], serde_json::json!({"a": "1", "b": "two words"}));
    assert_eq!(config["ExposedPorts"], serde_json::json!({"80/tcp": {}, "53/udp": {}}));
    assert_eq!(config["Volumes"], serde_json::json!({"/data": {}}));
    assert_eq!(config["User"], "5:6");
    assert_eq!(config["WorkingDir"], "/w/sub");
    assert_eq!(config["StopSignal"], "SIGTERM");
    assert_eq!(config["Healthcheck"]["Interval"], 5_000_000_000_u64);
    assert_eq!(config["Healthcheck"]["Test"], serde_json::json!(["CMD", "true"]));
    assert_eq!(config["Entrypoint"], serde_json::json!(["/bin/echo"]));
    assert_eq!(config["Cmd"], serde_json::json!(["hi"]));
}

#[test]
fn labels_of_the_command_line_go_over_those_of_the_file() {
    let env = TestEnv::new();
    env.file("Dockerfile", "FROM scratch\nLABEL a=file b=file\n");
    let image = env.image(["--label=a=typed"]);
    assert_eq!(image.container()["Labels"], serde_json::json!({"a": "typed", "b": "file"}));
}

#[test]
fn user_and_workdir_hold_for_the_steps_after_them() {
    let env = TestEnv::new();
    let image = build(
        &env,
        "FROM busybox\nRUN echo 'app:x:7:8::/home/app:/bin/sh' >> /etc/passwd && mkdir /w && chown 7:8 /w\n\
         USER app\nWORKDIR /w\nRUN echo \"$(id -u):$(id -g) $PWD $HOME\" > out\n",
    );
    assert_eq!(image.content("w/out"), "7:8 /w /home/app\n");
    assert!(
        image.listing().contains("/w/out 17 7:8") || image.listing().contains(" 7:8"),
        "{}",
        image.listing()
    );
}

#[test]
fn the_escape_directive_and_continuation_lines_are_obeyed() {
    let env = TestEnv::new();
    let image = build(
        &env,
        "# escape=`\nFROM busybox\nRUN echo one `\n  # a comment in between\n  two > /out `\n  && true\n",
    );
    assert_eq!(image.content("out"), "one two\n");
}

#[test]
fn standard_input_is_a_tar_a_compressed_tar_or_a_lone_dockerfile() {
    let env = TestEnv::new();
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in [("Dockerfile", "FROM scratch\nCOPY f /\n"), ("f", "from the tar")] {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, content.as_bytes()).expect("append");
    }
    let tar = tar.into_inner().expect("finish");
    for (input, file) in
        [(tar.clone(), true), (gzip(&tar), true), (b"FROM scratch\nLABEL lone=1\n".to_vec(), false)]
    {
        let dest = env.path(if file { "file.tar" } else { "lone.tar" });
        let output = format!("--output=type=oci,dest={}", dest.display());
        env.kiln(["build", &output, "-"]).stdin(input).run().success();
        let image = Image::tar(&dest);
        assert_eq!(image.has("f"), file);
    }
}

#[test]
fn the_dockerfile_may_come_from_standard_input_with_a_context_beside_it() {
    let env = TestEnv::new();
    env.file("f", "x");
    let dest = env.path("out.tar");
    let output = format!("--output=type=oci,dest={}", dest.display());
    let context = env.path("context").display().to_string();
    env.kiln(["build", "--file=-", &output, &context]).stdin("FROM scratch\nCOPY f /g\n").run().success();
    assert_eq!(Image::tar(&dest).listing(), "f 0644 /g 1\n");
}

#[test]
fn named_contexts_are_directories_layouts_and_images() {
    let env = TestEnv::new();
    env.busybox()
        .write("other/file", "from a directory")
        .file("Dockerfile", "FROM busybox\nRUN echo base > /made\n");
    let layout = env.path("layout").display().to_string();
    env.build([&format!("--output=type=oci,tar=false,dest={layout}")]).success();
    env.file("Dockerfile", "FROM base\nCOPY --from=dir file /\nCOPY --from=img /etc/group /g\n");
    let image = env.image([
        &format!("--build-context=base=oci-layout://{layout}"),
        &format!("--build-context=dir={}", env.path("other").display()),
        "--build-context=img=docker-image://busybox",
    ]);
    assert_eq!(image.content("made"), "base\n");
    assert_eq!(image.content("file"), "from a directory");
    assert_eq!(image.content("g"), "root:x:0:\n");
}

#[test]
fn run_mounts_lend_files_caches_and_secrets_without_keeping_them() {
    let env = TestEnv::new();
    env.busybox().file("lent", "lent").write("secret", "s3cret").file(
        "Dockerfile",
        "FROM busybox AS other\nRUN echo other > /o\nFROM busybox\n\
         RUN --mount=type=bind,target=/ctx --mount=type=bind,from=other,source=/o,target=/mnt/o cat /ctx/lent /mnt/o > /got\n\
         RUN --mount=type=cache,target=/cache echo x >> /cache/n && wc -l < /cache/n > /count\n\
         RUN --mount=type=secret,id=key cat /run/secrets/key | wc -c > /length\n\
         RUN --mount=type=tmpfs,target=/t echo gone > /t/f\n",
    );
    let secret = format!("--secret=id=key,src={}", env.path("secret").display());
    let image = env.image([&secret]);
    assert_eq!(image.content("got"), "lentother\n");
    assert_eq!(image.content("length").trim(), "6");
    assert_eq!(image.content("count").trim(), "1");
    for path in ["cache", "ctx", "mnt", "run", "t"] {
        assert!(!image.has(path), "/{path} is left in the image:\n{}", image.added(1));
    }
    let again = env.image([&*secret, "--no-cache"]);
    assert_eq!(again.content("count").trim(), "2", "a cache mount is kept from build to build");
}

#[test]
fn the_network_of_a_step_is_the_hosts_or_none() {
    let env = TestEnv::new();
    env.busybox().file(
        "Dockerfile",
        "FROM busybox\nRUN ls /sys/class/net > /host\nRUN --network=none ls /sys/class/net > /none\n",
    );
    let image = env.image(["--network=host"]);
    assert_eq!(image.content("none"), "lo\n");
}

#[test]
fn links_devices_and_special_bits_reach_the_layer() {
    let env = TestEnv::new();
    let image = build(
        &env,
        "FROM busybox\nRUN mkdir /d && echo x > /d/a && ln /d/a /d/b && ln -s a /d/c && mkfifo /d/p \
         && touch /d/suid && chmod 6755 /d/suid && chmod 1777 /d && touch -d @1000000000 /d/old\n",
    );
    let listing = image.listing();
    for line in
        ["h 0644 /d/b -> d/a\n", "l 0777 /d/c -> a\n", "p 0644 /d/p\n", "f 6755 /d/suid 0\n", "d 1777 /d/\n"]
    {
        assert!(listing.contains(line), "{line} in {listing}");
    }
    let old = image.layers[1].iter().find(|entry| entry.path == "d/old").expect("the file");
    assert_eq!(old.mtime, 1_000_000_000);
}
