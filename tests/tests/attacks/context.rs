//! Contexts whose links lead out of them, and images whose links lead COPY out of them.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::outside::{Attacked, SECRET};

/// CVE-2018-15664: between the check of a path and its use, a link is put into it.
#[test]
fn links_that_are_swapped_in_while_files_are_copied_lead_nowhere() {
    for attacked in Attacked::each() {
        let (env, stop) = (&attacked.env, AtomicBool::new(false));
        env.file("dir/secret", "harmless").file("dir/sub/target/kept", "harmless");
        let (dir, aside) = (env.path("context/dir"), env.path("context-aside"));
        let outside = env.path("outside");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    fs::rename(&dir, &aside).expect("move the directory away");
                    symlink(&outside, &dir).expect("put a link there");
                    fs::remove_file(&dir).expect("take the link away");
                    fs::rename(&aside, &dir).expect("move the directory back");
                }
            });
            for _ in 0..25 {
                env.file("Dockerfile", "FROM scratch\nCOPY dir /dir\nCOPY dir/secret /secret\nCOPY . /all\n");
                let dest = env.path("home/out");
                let output = format!("--output=type=tar,dest={}", dest.display());
                let outcome = env.build(["--no-cache", &output]);
                assert!(!outcome.text().contains(SECRET), "{outcome}");
                let bytes = fs::read(&dest).unwrap_or_default();
                let found = bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
                if found {
                    stop.store(true, Ordering::Relaxed);
                }
                assert!(!found, "the secret is in the image");
                let _ = fs::remove_file(dest);
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}

/// A Dockerfile or an ignore file that is a link out of the context is not read for the author of the context.
#[test]
fn a_dockerfile_or_ignore_file_that_leads_out_of_the_context_is_not_read() {
    for attacked in Attacked::each() {
        let env = &attacked.env;
        env.write("outside-too", format!("{SECRET}\nFROM busybox\n"));
        let context = env.path("context").display().to_string();
        for (name, target) in [
            ("evil.Dockerfile", "../outside/secret"),
            ("absolute.Dockerfile", &*format!("{}/secret", attacked.outside())),
        ] {
            env.symlink(name, target);
            let file = format!("{context}/{name}");
            attacked.kiln(&["build", "--progress=plain", "-f", &file, &context]).failure(1);
        }
        env.symlink(".dockerignore", "../outside/secret").file("f", "x");
        attacked.build("FROM scratch\nCOPY . /\n");
        fs::remove_file(env.path("context/.dockerignore")).expect("remove the link");
        env.symlink("Dockerfile.dockerignore", &format!("{}/secret", attacked.outside()));
        attacked.build("FROM scratch\nCOPY . /\n");
    }
}

/// A link of the context is copied as a link, and never followed out.
#[test]
fn a_file_of_the_context_that_leads_out_is_not_copied() {
    for attacked in Attacked::each() {
        let (env, outside) = (&attacked.env, attacked.outside());
        env.symlink("absolute", &format!("{outside}/secret"))
            .symlink("dir", &outside)
            .symlink("climbing", "../outside/secret");
        env.symlink("magic", "/proc/self/root").symlink("sub/up", "../..");
        for copy in [
            "COPY absolute /x",
            "COPY climbing /x",
            "COPY dir/secret /x",
            "COPY dir /x/",
            "COPY sub/up/outside/secret /x",
            "COPY ../outside/secret /x",
            "COPY sub/../../outside/secret /x",
            "COPY /../outside /x/",
            "COPY dir/* /x/",
            "COPY d*/secr* /x/",
            "ADD absolute /x",
            "ADD dir/secret /x",
            "COPY --parents dir/./secret /x/",
            "COPY --from=busybox ../../../../../../etc/shadow /x",
            "COPY . /x/",
        ] {
            let copy = copy.replace("/etc/shadow", &format!("{outside}/secret"));
            attacked.build(&format!(
                "FROM busybox\n{copy}\nRUN cat /x /x/secret /x/absolute /x/dir/secret; true\n"
            ));
        }
        // Neither into a tar of files.
        let dest = env.path("home/out.tar");
        env.file("Dockerfile", "FROM scratch\nCOPY . /\n");
        attacked.held(env.build([&format!("--output=type=tar,dest={}", dest.display())])).success();
        let bytes = fs::read(dest).expect("the tar");
        assert!(!bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()));
    }
}

/// A link of the image at the destination of COPY, ADD or WORKDIR is followed within the image.
#[test]
fn copying_through_a_link_of_the_image_stays_in_the_image() {
    for attacked in Attacked::each() {
        let (env, outside) = (&attacked.env, attacked.outside());
        env.file("made", "x").file("victim", "x").file("tree/sub/target/new", "x");
        let image = format!(
            "FROM busybox\nRUN ln -s {outside} /absolute; ln -s ../../../../../../../..{outside} /climbing; ln -s {outside}/victim /file; ln -s /proc/self/cwd/.. /magic\n"
        );
        for line in [
            "COPY made /absolute/",
            "COPY made victim /climbing/",
            "COPY victim /file",
            "COPY tree /absolute",
            "ADD tree /climbing/",
            "COPY --link made /absolute/",
            "COPY --link victim /file",
            "COPY --chown=7:7 --chmod=777 victim /absolute/victim",
            "WORKDIR /absolute/new",
            "WORKDIR /climbing/new",
            "COPY made /magic/",
            "COPY <<EOF /absolute/made\nx\nEOF",
        ] {
            attacked.build(&format!("{image}{line}\nRUN true\n"));
        }
        for path in [
            "/absolute/secret",
            "/climbing/secret",
            "/absolute",
            "/magic/outside/secret",
            "/file",
            "/absolute/*",
        ] {
            attacked.build(&format!(
                "{image}FROM busybox\nCOPY --from=0 {path} /x\nRUN cat /x /x/secret; true\n"
            ));
        }
    }
}

/// What is exported into a directory of the user's stays there.
#[test]
fn an_export_into_a_directory_follows_no_links_of_the_image() {
    for attacked in Attacked::each() {
        let (env, outside) = (&attacked.env, attacked.outside());
        let dest = env.path("home/root");
        let output = format!("--output=type=local,dest={}", dest.display());
        env.file("made", "x");
        for dockerfile in [
            format!("FROM busybox\nRUN ln -s {outside} /link\n"),
            "FROM scratch\nCOPY made /link/made\nCOPY made /link/sub/target/kept\n".to_owned(),
        ] {
            env.file("Dockerfile", &dockerfile);
            attacked.held(env.build([&output]));
        }
    }
}
