//! What Dockerfiles become: graphs as text, errors as sentences.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod named;
mod world;

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use kiln_core::{Diagnostics, ImageConfig, SourceFile};
use kiln_frontend::{GraphFormat, Lowered, NamedContext, Options, lower, parse, plan, resolve, show_graph};
use named::add;
use world::{Images, amd64, ready};

fn build(text: &str, change: impl FnOnce(&mut Options, &mut Images)) -> Result<Lowered, Diagnostics> {
    let file = SourceFile::new("Dockerfile", text);
    let parsed = parse(&file);
    if !parsed.is_sound() {
        return Err(Diagnostics { file, items: parsed.diagnostics });
    }
    let mut images = Images::default();
    let mut options = Options::for_platform(amd64());
    let mut base = ImageConfig::for_platform(&amd64());
    base.config.env = vec!["PATH=/bin".to_owned()];
    options.contexts.insert("base".to_owned(), NamedContext::Image(add(&mut images, "base", base)));
    change(&mut options, &mut images);
    let stages = plan(&parsed.dockerfile, &options)?;
    let bases = ready(resolve(&stages, &images))?;
    lower(&stages, &bases)
}

fn check(text: &str, expected: Expect) {
    check_with(text, |_, _| {}, expected);
}

#[expect(clippy::needless_pass_by_value, reason = "an expectation is written in place")]
fn check_with(text: &str, change: impl FnOnce(&mut Options, &mut Images), expected: Expect) {
    match build(text, change) {
        Ok(lowered) => {
            expected.assert_eq(&show_graph(&lowered.graph, lowered.root, GraphFormat::Text));
        }
        Err(errors) => {
            let lines = errors.items.iter().map(|item| {
                let (line, column) = errors.file.position(item.span.start);
                let help = item.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
                format!("{line}:{column}: {}{help}\n", item.message)
            });
            expected.assert_eq(&lines.collect::<String>());
        }
    }
}

#[test]
fn copy_keeps_workdir() {
    check(
        "FROM scratch\nWORKDIR /a\nCOPY x y* b/\n",
        expect![[r#"
        0 scratch
        1 file on 0  # [1/2] WORKDIR /a
            mkdir /a root 755
        2 local context /x /y*  # [internal] load build context
        3 file on 1  # [2/2] COPY x y* b/
            copy 2:/x -> /a/b/
            copy 2:/y* if any -> /a/b/
    "#]],
    );
}

#[test]
fn only_what_the_target_needs_is_lowered() {
    check(
        "FROM base AS a\nRUN a\nFROM base AS b\nRUN b\nFROM a\nCOPY --from=base /x /\n",
        expect![[r#"
        0 image golden.test/base:latest linux/amd64  # [context base] golden.test/base:latest
        1 exec on 0  # [a 1/2] RUN a
            args ["/bin/sh","-c","a"]
            env ["PATH=/bin"]
            in / as root
        2 file on 1  # [stage-2 1/1] COPY --from=base /x /
            copy 0:/x -> /
    "#]],
    );
}

#[test]
fn mounts_read_stages_contexts_and_caches() {
    check_with(
        "FROM base AS tools\nFROM base\nARG D=dir\nWORKDIR /w\nRUN --mount=target=/src,source=$D --mount=from=tools,target=t \
         --mount=type=cache,target=/c,uid=5 --mount=type=secret,id=s,env=S --mount=type=ssh --mount=type=tmpfs,target=/t,size=1m \
         echo ${S} \"$D\"\n",
        |options, _| {
            options.build_args = BTreeMap::from([
                ("HTTP_PROXY".to_owned(), "http://p".to_owned()),
                ("BUILDKIT_CACHE_MOUNT_NS".to_owned(), "ns".to_owned()),
            ]);
        },
        expect![[r#"
            0 image golden.test/base:latest linux/amd64  # [context base] golden.test/base:latest
            1 file on 0  # [stage-1 1/3] WORKDIR /w
                mkdir /w root 755
            2 local context /dir  # [internal] load build context
            3 scratch
            4 file on 3  # [internal] take /dir from the context
                copy 2:/dir -> /dir
            5 exec on 1  # [stage-1 2/3] RUN --mount=target=/src,source=dir --mount=from=tools,target=t --mount=type=cache,target=/c,uid=5 --mount=type=secret,id=s,env=S --mount=type=ssh --mount=type=tmpfs,target=/t,size=1m echo **** "dir"
                args ["/bin/sh","-c","echo ${S} \"$D\""]
                env ["PATH=/bin","D=dir","SSH_AUTH_SOCK=/run/buildkit/ssh_agent.0"]
                proxies HTTP_PROXY http_proxy
                in /w as root
                mount bind 4:/dir at /src
                mount bind 0:/ at /w/t
                mount cache ns//c Shared/ 5:0 755 at /c
                mount ssh default 0:0 600 at /run/buildkit/ssh_agent.0
                mount tmpfs 1048576 at /t
                secret s as $S
        "#]],
    );
}

#[test]
fn heredocs_are_scripts_files_and_text_for_the_shell() {
    check(
        "FROM base\nRUN <<EOF\n#!/bin/x\nhi\nEOF\nRUN <<EOF python\nprint()\nEOF\nCOPY --chmod=u+x <<-A <<\"B\" plain /d/\n\t$X\nA\n$X\nB\n",
        expect![[r#"
            0 image golden.test/base:latest linux/amd64  # [context base] golden.test/base:latest
            1 exec on 0  # [1/4] RUN <<EOF (#!/bin/x...)
                args ["/bin/sh","-c","/dev/pipes/EOF"]
                env ["PATH=/bin"]
                in / as root
                file /dev/pipes/EOF mode 755, 12 bytes
            2 exec on 1  # [2/4] RUN <<EOF python
                args ["/bin/sh","-c","<<EOF python\nprint()\nEOF"]
                env ["PATH=/bin"]
                in / as root
            3 local context /plain  # [internal] load build context
            4 file on 2  # [3/4] COPY --chmod=u+x <<-A <<B plain /d/
                copy 3:/plain -> /d/ chmod u+x
                copy <<A mode 644, 1 bytes -> /d/ chmod u+x
                copy <<B mode 644, 3 bytes -> /d/ chmod u+x
        "#]],
    );
}

#[test]
fn remote_sources_are_fetched_and_copied() {
    check(
        "FROM scratch\nADD --unpack=true http://h/a/b.tgz?x=1 https://h/r.git?subdir=/s#v1 local.tar /d/\n\
         ADD --keep-git-dir=false https://h/r /e/\nADD --link --chown=1:2 http://h /f\n",
        expect![[r#"
            0 scratch
            1 http http://h/a/b.tgz?x=1 as b.tgz mode 600  # [1/3] ADD --unpack=true http://h/a/b.tgz?x=1 https://h/r.git?subdir=/s#v1 local.tar /d/
            2 git https://h/r.git#v1:s  # [1/3] ADD --unpack=true http://h/a/b.tgz?x=1 https://h/r.git?subdir=/s#v1 local.tar /d/
            3 local context /local.tar  # [internal] load build context
            4 file on 0  # [1/3] ADD --unpack=true http://h/a/b.tgz?x=1 https://h/r.git?subdir=/s#v1 local.tar /d/
                copy 1:/b.tgz -> /d/ unpack
                copy 2:/ -> /d/
                copy 3:/local.tar -> /d/ unpack
            5 git https://h/r  # [2/3] ADD --keep-git-dir=false https://h/r /e/
            6 file on 4  # [2/3] ADD --keep-git-dir=false https://h/r /e/
                copy 5:/ -> /e/
            7 http http://h as __unnamed__ mode 600  # [3/3] ADD --link --chown=1:2 http://h /f
            8 file on 6 linked  # [3/3] ADD --link --chown=1:2 http://h /f
                copy 7:/__unnamed__ -> /f chown 1:2
        "#]],
    );
}

#[test]
fn parents_pivots_and_excludes_stay_with_the_copy() {
    check(
        "FROM scratch\nARG E=md\nCOPY --parents --exclude=*.$E a/./b/*.c /x ../d/ ./\n",
        expect![[r#"
        0 scratch
        1 local context /a/b/*.c /d /x  # [internal] load build context
        2 file on 0  # [1/1] COPY --parents --exclude=*.md a/./b/*.c /x ../d/ ./
            copy 1:/a/./b/*.c if any -> / parents exclude *.md
            copy 1:/./x -> / parents exclude *.md
            copy 1:/./d -> / parents exclude *.md
    "#]],
    );
}

#[test]
fn contexts_replace_stages_and_bases() {
    check_with(
        "FROM other:latest AS dev\nRUN a\nFROM replaced AS whole\nRUN b\nFROM dev\nCOPY --from=whole /x /\nRUN --mount=from=dir,target=/m c\n",
        |options, images| {
            let special = add(images, "special", ImageConfig::for_platform(&amd64()));
            options.contexts.extend([
                ("other".to_owned(), NamedContext::Directory("nothing".to_owned())),
                ("other::linux/amd64".to_owned(), NamedContext::Image(special)),
                ("whole".to_owned(), NamedContext::Directory("whole".to_owned())),
                ("dir".to_owned(), NamedContext::Directory("dir".to_owned())),
            ]);
        },
        expect![[r#"
            0 local dir all  # [context dir] load from client
            1 image golden.test/special:latest linux/amd64  # [context other::linux/amd64] golden.test/special:latest
            2 exec on 1  # [dev 1/2] RUN a
                args ["/bin/sh","-c","a"]
                env ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
                in / as root
            3 local whole /x  # [context whole] load from client
            4 file on 2  # [stage-2 1/2] COPY --from=whole /x /
                copy 3:/x -> /
            5 scratch
            6 file on 5  # [internal] take / from the context
                copy 0:/ -> /
            7 exec on 4  # [stage-2 2/2] RUN --mount=from=dir,target=/m c
                args ["/bin/sh","-c","c"]
                env ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
                in / as root
                mount bind 6:/ at /m
        "#]],
    );
}

#[test]
fn triggers_run_before_and_may_name_images() {
    check_with(
        "FROM parent\nRUN last\n",
        |options, images| {
            let mut parent = ImageConfig::for_platform(&amd64());
            parent.config.on_build =
                vec!["COPY --from=base /x /y".to_owned(), "RUN first  $A".to_owned(), "ENV A=1".to_owned()];
            options.contexts.insert("parent".to_owned(), NamedContext::Image(add(images, "parent", parent)));
        },
        expect![[r#"
            0 image golden.test/base:latest linux/amd64  # [context base] golden.test/base:latest
            1 image golden.test/parent:latest linux/amd64  # [context parent] golden.test/parent:latest
            2 file on 1  # [1/5] ONBUILD COPY --from=base /x /y
                copy 0:/x -> /y
            3 exec on 2  # [2/5] ONBUILD RUN first  $A
                args ["/bin/sh","-c","first  $A"]
                env ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
                in / as root
            4 exec on 3  # [3/5] RUN last
                args ["/bin/sh","-c","last"]
                env ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","A=1"]
                in / as root
        "#]],
    );
}

#[test]
fn problems_are_told_all_at_once_with_advice() {
    check(
        "FROM base AS build\nSTOPSIGNAL NOPE\nCOPY --chmod=9 a b\nEXPOSE 1/x\nADD --checksum=sha256:00 a b\nVOLUME $none\nRUN --security=insecure x\n",
        expect![[r#"
            2:12: invalid signal: NOPE (use a name such as SIGTERM or a number such as 15)
            3:14: invalid chmod parameter: '9'. it should be octal string and between 0 and 07777
            4:8: invalid port: "1/x": invalid proto: x
            5:16: checksum requires HTTP(S) or Git sources
            6:8: VOLUME specified can not be an empty string
            7:16: security.insecure is not allowed (allow it with `--allow security.insecure`)
        "#]],
    );
    check(
        "FROM Build\nFROM base AS build\nFROM $undefined\n",
        expect![[r#"
        1:6: failed to parse stage name "Build": invalid reference format: repository name (library/Build) must be lowercase
        3:6: base name ($undefined) should not be blank
    "#]],
    );
    check(
        "FROM base AS a\nCOPY --from=b x y\nFROM a AS b\n",
        expect![[r#"
            2:13: cannot copy from stage "b", it needs to be defined before current stage "a"
        "#]],
    );
    check(
        "FROM base\nCOPY --from=7 x y\nCOPY --from=$X x y\nRUN --mount=from=Nope,target=/x true\n",
        expect![[r#"
            2:13: invalid stage index 7
            3:13: variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround (write `FROM $IMAGE AS name` above and use `--from=name`)
            4:18: failed to parse stage name "Nope": invalid reference format: repository name (library/Nope) must be lowercase
        "#]],
    );
    check(
        "FROM nothing-there\n",
        expect![[r#"
            1:6: nothing-there: not found
        "#]],
    );
    check_with(
        "FROM base AS build\n",
        |o, _| o.target = Some("biuld".to_owned()),
        expect![[r#"
        1:1: target stage "biuld" could not be found (did you mean build?)
    "#]],
    );
}

#[test]
fn a_remote_context_is_fetched_once() {
    check_with(
        "FROM scratch\nCOPY a /\nCOPY b /\n",
        |options, _| {
            let url = kiln_frontend::git_url::parse("https://h/r.git#main:sub").unwrap().unwrap();
            options.context = NamedContext::Git(url.into_source());
        },
        expect![[r#"
            0 scratch
            1 git https://h/r.git#main:sub  # [internal] load build context
            2 file on 0  # [1/2] COPY a /
                copy 1:/a -> /
            3 file on 2  # [2/2] COPY b /
                copy 1:/b -> /
        "#]],
    );
}

#[test]
fn new_history_stands_after_that_of_the_base_image() {
    let mut base = ImageConfig::for_platform(&amd64());
    base.history = vec![kiln_core::History { created_by: "base".to_owned(), ..Default::default() }];
    let lowered = build("FROM old AS a\nRUN x\nFROM a\nENV A=1\nRUN y\n", |options, images| {
        options.contexts.insert("old".to_owned(), NamedContext::Image(add(images, "old", base)));
    });
    let lowered = lowered.unwrap();
    let added = &lowered.config.history[lowered.base_history..];
    let texts: Vec<&str> = added.iter().map(|entry| entry.created_by.as_str()).collect();
    assert_eq!(texts, ["RUN /bin/sh -c x # buildkit", "ENV A=1", "RUN /bin/sh -c y # buildkit"]);
}
