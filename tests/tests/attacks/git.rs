//! Repositories, references and sub-directories that are not what they say.

use std::path::PathBuf;
use std::process::Command;

use kiln_tests::{TestEnv, skipped};

use crate::outside::Attacked;

/// A repository served by `git daemon` on loopback.
struct Served {
    dir: PathBuf,
    daemon: std::process::Child,
    url: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        // The daemon is a child of `git`, which passes no signal on: the group is its own.
        if let Some(group) = rustix::process::Pid::from_raw(self.daemon.id().cast_signed()) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.daemon.wait();
    }
}

fn git(dir: &PathBuf, words: &[&str]) {
    let mut command = Command::new("git");
    command.current_dir(dir).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "test").env(format!("GIT_{role}_EMAIL"), "test");
    }
    let output = command
        .args(["-c", "protocol.file.allow=always", "-c", "protocol.ext.allow=always"])
        .args(words)
        .output()
        .expect("run git");
    assert!(output.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Served {
    /// Puts a repository below the scratch directory and serves it; `fill` makes its files.
    fn start(env: &TestEnv, fill: impl Fn(&PathBuf)) -> Option<Self> {
        use std::os::unix::process::CommandExt;
        let dir = env.path("repositories/main");
        std::fs::create_dir_all(&dir).expect("mkdir");
        git(&dir, &["init", "--quiet", "--initial-branch=main"]);
        fill(&dir);
        git(&dir, &["add", "--all"]);
        git(&dir, &["commit", "--quiet", "--message=one"]);
        let port =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        let daemon = Command::new("git")
            .args(["daemon", "--export-all", "--reuseaddr", "--listen=127.0.0.1", &format!("--port={port}")])
            .arg(format!("--base-path={}", env.path("repositories").display()))
            .env("HOME", "/nonexistent")
            .env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", "safe.directory")
            .env("GIT_CONFIG_VALUE_0", "*")
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .process_group(0)
            .spawn();
        let Ok(mut daemon) = daemon else {
            skipped("`git daemon` cannot be started");
            return None;
        };
        for _ in 0..400 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(Self { dir, daemon, url: format!("git://127.0.0.1:{port}/main") });
            }
            std::thread::sleep(std::time::Duration::from_millis(10)); // a foreign process gives no event to wait on
        }
        let _ = daemon.kill();
        let _ = daemon.wait();
        skipped("`git daemon` does not answer");
        None
    }
}

fn write(dir: &std::path::Path, name: &str, text: &str) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().expect("a file is in a directory")).expect("mkdir");
    std::fs::write(path, text).expect("write");
}

#[test]
fn a_sub_directory_stays_in_the_repository() {
    for attacked in Attacked::each() {
        let outside = attacked.outside();
        let Some(served) = Served::start(&attacked.env, |dir| {
            write(dir, "Dockerfile", "FROM busybox\nCOPY . /all\nRUN cat /all/secret; true\n");
            write(dir, "sub/Dockerfile", "FROM busybox\nCOPY . /all\nRUN cat /all/secret; true\n");
            std::os::unix::fs::symlink(&outside, dir.join("link")).expect("symlink");
            std::os::unix::fs::symlink("../../../../../../..", dir.join("sub/up")).expect("symlink");
            std::os::unix::fs::symlink(format!("{outside}/secret"), dir.join("evil.Dockerfile"))
                .expect("symlink");
        }) else {
            return;
        };
        let url = &served.url;
        attacked.kiln(&["build", "--progress=plain", &format!("{url}#main:sub")]).success();
        for place in [
            "main:..",
            "main:../../..",
            "main:link",
            "main:sub/up",
            "main:/link",
            &format!("main:sub/up{outside}"),
            "main:sub/../../..",
            &format!("main:{outside}"),
            ":.git",
            "main:.git",
        ] {
            let reference = format!("{url}#{place}");
            attacked.kiln(&["build", "--progress=plain", &reference]);
            attacked.build(&format!(
                "FROM busybox\nADD {reference} /x/\nRUN cat /x/secret /x/link/secret; true\n"
            ));
        }
        for file in ["evil.Dockerfile", "link/secret", "../../outside/secret"] {
            attacked.kiln(&["build", "--progress=plain", "-f", file, &format!("{url}#main")]).failure(1);
        }
        assert!(served.dir.exists());
    }
}

#[test]
fn references_and_remotes_that_look_like_options_are_names() {
    for attacked in Attacked::each() {
        let made = attacked.env.path("outside/made").display().to_string();
        let Some(served) = Served::start(&attacked.env, |dir| write(dir, "Dockerfile", "FROM busybox\n"))
        else {
            return;
        };
        let url = &served.url;
        for reference in [
            format!("{url}#--upload-pack=touch${{IFS}}{made}"),
            format!("{url}#--upload-pack=touch {made}"),
            format!("{url}#-u{made}"),
            format!("{url}#--output={made}"),
            format!("{url}?ref=--upload-pack%3Dtouch%20{made}"),
            format!("{url}?branch=-x&subdir=../.."),
            format!("{url}#main..main"),
            format!("{url}#main:-x"),
            format!("ext::sh -c touch% {made}"),
            format!("ext::touch {made}#main.git"),
            format!("git://-oProxyCommand=touch {made}/x.git"),
            format!("ssh://-oProxyCommand=touch%20{made}/x.git"),
            format!("-oProxyCommand=touch {made}@host:x.git"),
            format!("git@-oProxyCommand=touch {made}:x.git"),
            format!("file://{}/.git", served.dir.display()),
            format!("--upload-pack=touch {made}"),
        ] {
            attacked.kiln(&["build", "--progress=plain", "--", &reference]).failure(1);
            attacked.build(&format!("FROM busybox\nADD [\"{reference}\", \"/x/\"]\n")).failure(1);
        }
    }
}

/// A repository's own configuration and submodules run and read nothing.
#[test]
fn a_repository_cannot_run_anything_or_read_files() {
    for attacked in Attacked::each() {
        let outside = attacked.outside();
        let Some(served) = Served::start(&attacked.env, |dir| {
            write(
                dir,
                "Dockerfile",
                "FROM busybox\nCOPY . /all\nRUN cat /all/secret /all/sub/secret; true\n",
            );
            write(
                dir,
                ".gitmodules",
                &format!(
                    "[submodule \"a\"]\n\tpath = sub\n\turl = file://{outside}\n\tupdate = !touch {outside}/made\n\
                          [submodule \"../../x\"]\n\tpath = ../../outside\n\turl = ext::sh -c touch% {outside}/made\n\
                          [submodule \"-x\"]\n\tpath = c\n\turl = -u./x\n"
                ),
            );
            write(dir, ".gitattributes", "* filter=evil diff=evil\n");
            write(dir, ".lfsconfig", &format!("[lfs]\n\turl = file://{outside}\n"));
        }) else {
            return;
        };
        // A submodule's entry in the tree, so that git looks into .gitmodules at all.
        for path in ["sub", "c"] {
            let entry = format!("160000,{},{path}", "1".repeat(40));
            git(&served.dir, &["update-index", "--add", "--cacheinfo", &entry]);
        }
        git(&served.dir, &["commit", "--quiet", "--message=two"]);
        for hook in ["post-checkout", "post-merge", "pre-auto-gc"] {
            let path = served.dir.join(".git/hooks").join(hook);
            std::fs::create_dir_all(path.parent().expect("a directory")).expect("mkdir");
            std::fs::write(&path, format!("#!/bin/sh\ntouch {outside}/made\n")).expect("write");
            std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
                .expect("chmod");
        }
        attacked.kiln(&["build", "--progress=plain", &format!("{}#main", served.url)]);
        attacked.build(&format!(
            "FROM busybox\nADD --keep-git-dir=true {}#main /x/\nRUN ls -a /x; cat /x/sub/secret; true\n",
            served.url
        ));
    }
}
