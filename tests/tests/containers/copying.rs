//! `kiln cp`, between the host and containers that run or do not.

use std::os::unix::fs::{MetadataExt as _, symlink};

use rustix::fs::{XattrFlags, getxattr, listxattr, setxattr};

use crate::world::World;

const WAIT: &str = "trap 'exit 0' TERM; mkdir -p /d/sub; echo deep > /d/sub/f; ln -s sub/f /d/link; \
    ln -s /d /alias; echo up; sleep 1000 & wait";

#[test]
fn files_are_copied_out_by_dockers_rules() {
    for world in World::each() {
        world.background("--name c", WAIT);
        world.until_logged("c", "up");
        for running in [true, false] {
            if !running {
                world.line("stop c").success();
            }
            let out = world.path(if running { "out1" } else { "out2" });
            world.write(&format!("{}/there/x", out.file_name().expect("a name").to_str().expect("text")), "");
            let at = |path: &str| out.join(path).display().to_string();
            let text = |path: &str| std::fs::read_to_string(out.join(path)).expect("a file");
            // A file: under a new name, into a directory, over a file.
            world.words(&["cp", "c:/d/sub/f", &at("new")]).success().says(["Successfully copied 5B to "]);
            world.words(&["cp", "-q", "c:d/sub/f", &at("there")]).success();
            world.words(&["cp", "-q", "c:/d/sub/f", &at("there/x")]).success();
            assert_eq!(
                (text("new"), text("there/f"), text("there/x")),
                ("deep\n".into(), "deep\n".into(), "deep\n".into())
            );
            // A directory: as a new one, into one, its content.
            world.words(&["cp", "-q", "c:/d", &at("whole")]).success();
            world.words(&["cp", "-q", "c:/d", &at("there")]).success();
            world.words(&["container", "cp", "-q", "c:/d/.", &at("there")]).success();
            for path in ["whole/sub/f", "there/d/sub/f", "there/sub/f"] {
                assert_eq!(text(path), "deep\n", "{path}");
            }
            // A link stays one unless it is to be followed.
            world.words(&["cp", "-q", "c:/d/link", &at("there/l")]).success();
            world.words(&["cp", "-q", "-L", "c:/d/link", &at("there/followed")]).success();
            assert_eq!(std::fs::read_link(out.join("there/l")).expect("a link").to_str(), Some("sub/f"));
            assert!(std::fs::symlink_metadata(out.join("there/followed")).expect("it").is_file());

            world
                .words(&["cp", "c:/nosuch", &at("n")])
                .failure(1)
                .says(["could not find the file /nosuch in container c"]);
            world.words(&["cp", "c:/d", &at("new")]).failure(1).says(["cannot copy a directory to a file"]);
            world.words(&["cp", "c:/d/sub/f", &at("none/")]).failure(1).says(["no such directory"]);
        }
    }
}

#[test]
fn files_are_copied_in_and_belong_to_root() {
    for world in World::each() {
        world.background("--name c -v vol:/v", WAIT);
        world.until_logged("c", "up");
        world.write("in/a/b", "from the host");
        let source = world.path("in").display().to_string();
        world.words(&["cp", "-q", &source, "c:/run1"]).success();
        world.words(&["cp", "-q", &format!("{source}/a/b"), "c:/v/inside"]).success();
        // By way of a link of the container.
        world.words(&["cp", "-q", &source, "c:/alias"]).success();
        let check = "cat /run1/a/b /v/inside /d/in/a/b; stat -c %u:%g /run1/a/b";
        let asked = world.words(&["exec", "c", "sh", "-c", check]).success();
        assert_eq!(asked.stdout(), "from the hostfrom the hostfrom the host0:0\n");
        world.line("stop c").success();
        world.words(&["cp", "-q", &source, "c:/run2"]).success();
        world.words(&["cp", "-q", &source, "c:/v"]).success();
        world.words(&["cp", "-q", "c:/run2/a/b", &world.path("back").display().to_string()]).success();
        assert_eq!(std::fs::read_to_string(world.path("back")).expect("it"), "from the host");
        let asked =
            world.words(&["run", "--rm", "--volumes-from", "c", "busybox", "cat", "/v/in/a/b"]).success();
        assert_eq!(asked.stdout(), "from the host");

        world.words(&["cp", &source, "c:/no/such/place"]).failure(1).says(["no such directory"]);
        world.words(&["cp", "/nosuch", "c:/x"]).failure(1).says(["no such file or directory"]);
        world.words(&["cp", "c:/a", "c:/b"]).failure(1).says(["copying between containers is not supported"]);
        world.words(&["cp", "/a", "/b"]).failure(1).says(["must specify at least one container source"]);
        world.words(&["cp", &source, "nosuch:/b"]).failure(1).says(["no such container: nosuch"]);
    }
}

#[test]
fn tars_go_through_standard_streams() {
    for world in World::each() {
        world.background("--name c", WAIT);
        world.until_logged("c", "up");
        let tar = world.words(&["cp", "c:/d", "-"]).success().stdout;
        let mut names = Vec::new();
        for entry in tar::Archive::new(tar.as_slice()).entries().expect("a tar") {
            names.push(entry.expect("an entry").path().expect("a path").display().to_string());
        }
        assert_eq!(names, ["d/", "d/link", "d/sub/", "d/sub/f"]);
        world.kiln(["cp", "-", "c:/d/sub"]).stdin(tar).run().success();
        assert_eq!(world.line("exec c cat /d/sub/d/sub/f").success().stdout(), "deep\n");
        world.line("cp - c:/d/sub/f").failure(1).says(["must be a directory"]);
    }
}

#[test]
fn extended_attributes_come_along() {
    for world in World::each() {
        world.background("--name c", WAIT);
        world.until_logged("c", "up");
        world.write("in/sub/f", "x");
        let (file, directory) = (world.path("in/sub/f"), world.path("in/sub"));
        let set = |path: &std::path::Path| setxattr(path, "user.kind", b"tagged", XattrFlags::empty());
        if set(&file).and_then(|()| set(&directory)).is_err() {
            return kiln_tests::skipped("the file system of the tests keeps no attributes");
        }
        let (source, out) = (world.path("in").display().to_string(), world.path("out"));
        for running in [true, false] {
            if !running {
                world.line("stop c").success();
            }
            world.words(&["cp", "-q", &source, "c:/copy"]).success();
            world.words(&["cp", "-q", "c:/copy/.", &out.display().to_string()]).success();
            for path in ["sub/f", "sub"] {
                let mut value = [0; 64];
                let length = getxattr(out.join(path), "user.kind", &mut value[..]).expect(path);
                assert_eq!(&value[..length], b"tagged", "{path}");
                // And nothing that kiln or overlayfs keeps for itself.
                let mut names = [0; 1024];
                let length = listxattr(out.join(path), &mut names[..]).expect(path);
                assert_eq!(&names[..length], b"user.kind\0", "{path}");
            }
            std::fs::remove_dir_all(&out).expect("remove");
            world.line(if running { "exec c rm -r /copy" } else { "rm c" }).success();
        }
    }
}

#[test]
fn links_of_a_container_lead_nowhere_else() {
    for world in World::each() {
        let secret = world.path("secret");
        world.write("secret/key", "of the host");
        let shown = secret.display();
        let script = format!(
            "mkdir -p /w; ln -s {shown} /w/dir; ln -s {shown}/key /w/file; ln -s /../../../..{shown} /w/up; {WAIT}"
        );
        world.background("--name c", &script);
        world.until_logged("c", "up");
        world.write("new", "evil");
        let (new, out) = (world.path("new").display().to_string(), world.path("out").display().to_string());
        for running in [true, false] {
            if !running {
                world.line("stop c").success();
            }
            for path in ["/w/dir/key", "/w/up/key"] {
                world.words(&["cp", &format!("c:{path}"), &out]).failure(1).says(["could not find the file"]);
                world.words(&["cp", &new, &format!("c:{path}")]).failure(1);
            }
            if running {
                world.words(&["cp", "-L", "c:/w/file", &out]).failure(1);
                // The link is replaced; what it names on the host stays as it is.
                world.words(&["cp", "-q", &new, "c:/w/file"]).success();
            }
            assert_eq!(std::fs::read_to_string(secret.join("key")).expect("it"), "of the host");
            assert_eq!(std::fs::read_dir(&secret).expect("it").count(), 1);
        }
        // Nor do those of a destination on the host.
        world.write("dest/keep", "");
        symlink(&secret, world.path("dest/sub")).expect("a link");
        world.words(&["cp", "c:/d/.", &world.path("dest").display().to_string()]).failure(1);
        assert_eq!(std::fs::read_dir(&secret).expect("it").count(), 1);
        assert_eq!(secret.metadata().expect("it").mode() & 0o7000, 0);
    }
}
