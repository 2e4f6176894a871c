//! `kiln diff`, `kiln export` and `kiln commit`.

use std::io::Read as _;

use crate::world::World;

const CHANGE: &str = "echo new > /made; mkdir /dir; echo x > /dir/f; echo more >> /old/changed; rm /old/gone; \
    rm -r /old/tree; mkdir /old/tree; touch /old/tree/own";

fn world_with_image(world: &World) {
    world.file(
        "Dockerfile",
        "FROM busybox\nRUN mkdir -p /old/tree && touch /old/changed /old/gone /old/tree/a\nENV A=1\nCMD [\"cat\", \"/made\"]\n",
    );
    world.build(["--tag=old"]).success();
}

#[test]
fn what_was_changed_is_told_by_letters() {
    for world in World::each() {
        world_with_image(&world);
        world.words(&["run", "--name", "c", "old", "sh", "-c", CHANGE]).success();
        let script = format!("{CHANGE}; trap 'exit 0' TERM; echo up; sleep 1000 & wait");
        world
            .words(&["run", "-d", "--name", "r", "-v", "/mount/point", "old", "sh", "-c", &script])
            .success();
        world.until_logged("r", "up");
        let expected = "A /dir\nA /dir/f\nA /made\nC /old\nC /old/changed\nD /old/gone\nC /old/tree\nD /old/tree/a\nA /old/tree/own\n";
        assert_eq!(world.line("diff c").success().stdout(), expected);
        // Mount points are none of its changes; and looking changes nothing.
        assert_eq!(world.line("diff r").success().stdout(), expected);
        assert_eq!(world.line("container diff r").success().stdout(), expected);
        world.line("diff nosuch").failure(1).says(["no such container: nosuch"]);
    }
}

#[test]
fn a_containers_files_are_exported() {
    for world in World::each() {
        world_with_image(&world);
        world.words(&["run", "--name", "c", "old", "sh", "-c", CHANGE]).success();
        let file = world.path("c.tar");
        world.words(&["export", "-o", &file.display().to_string(), "c"]).success();
        let streamed = world.line("export c").success().stdout;
        assert_eq!(std::fs::read(&file).expect("the tar"), streamed);
        let (mut made, mut names) = (String::new(), Vec::new());
        for entry in tar::Archive::new(streamed.as_slice()).entries().expect("a tar") {
            let mut entry = entry.expect("an entry");
            let path = entry.path().expect("a path").display().to_string();
            if path == "made" {
                entry.read_to_string(&mut made).expect("text");
            }
            names.push(path);
        }
        assert_eq!(made, "new\n");
        assert!(names.iter().any(|name| name == "old/tree/own"), "{names:?}");
        assert!(!names.iter().any(|name| name == "old/gone" || name == "old/tree/a"), "{names:?}");
        world.line("export nosuch").failure(1).says(["no such container: nosuch"]);
    }
}

#[test]
fn an_image_is_made_of_a_container() {
    for world in World::each() {
        world_with_image(&world);
        world.words(&["run", "--name", "c", "-e", "B=2", "old", "sh", "-c", CHANGE]).success();
        let words = [
            "commit",
            "-m",
            "why",
            "-a",
            "who",
            "-c",
            "CMD [\"cat\", \"/made\"]",
            "-c",
            "LABEL k=v",
            "c",
            "new:1",
        ];
        let id = world.words(&words).success().stdout();
        assert!(id.starts_with("sha256:"), "{id}");
        let script = "cat /made; ls /old/tree; ls /old; echo $A$B";
        let asked = world.words(&["run", "--rm", "new:1", "sh", "-c", script]).success();
        assert_eq!(asked.stdout(), "new\nown\nchanged\ntree\n12\n");
        assert_eq!(world.line("run --rm new:1").success().stdout(), "new\n");
        let shown = world.inspect("new:1");
        assert_eq!((&shown["Id"], &shown["Author"]), (&id.trim().into(), &"who".into()));
        assert_eq!(shown["Config"]["Labels"]["k"], "v");
        let layers = |image: &str| world.inspect(image)["RootFS"]["Layers"].as_array().map_or(0, Vec::len);
        assert_eq!(layers("new:1"), layers("old") + 1);
        world.line("history new:1").success().says(["why"]);
        // It stays when the container goes, and can be exported as any other.
        world.line("rm c").success();
        assert_eq!(world.line("run --rm new:1").success().stdout(), "new\n");
        world.line("save -o saved.tar new:1").success();
        world.words(&["create", "--name", "d", "new:1"]).success();
        world.line("commit -c RUN=x d").failure(1).says(["invalid --change"]);
        world.line("commit nosuch").failure(1).says(["no such container: nosuch"]);
    }
}

#[test]
fn an_image_has_what_its_container_was_started_with() {
    for world in World::each() {
        world_with_image(&world);
        let flags = "--name c -u 7:8 -w /old --stop-signal USR1 --expose 80 -v /data -e B=2 --label l=1";
        let words = ["create"].into_iter().chain(flags.split(' ')).chain(["old", "id", "-u"]);
        world.words(&words.collect::<Vec<_>>()).success();
        world.line("commit c new").success();
        let config = world.inspect("new")["Config"].clone();
        assert_eq!((&config["User"], &config["WorkingDir"]), (&"7:8".into(), &"/old".into()));
        assert_eq!((&config["StopSignal"], &config["Labels"]["l"]), (&"SIGUSR1".into(), &"1".into()));
        assert!(config["ExposedPorts"]["80/tcp"].is_object() && config["Volumes"]["/data"].is_object());
        assert_eq!(world.line("run --rm new").success().stdout(), "7\n");
        // An instruction has the last word.
        world.words(&["commit", "-c", "USER 9", "c", "other"]).success();
        assert_eq!(world.line("run --rm other").success().stdout(), "9\n");
    }
}

#[test]
fn a_container_stands_still_while_an_image_is_made_of_it() {
    for world in World::each() {
        // Two files whose numbers are never far from each other, unless one is copied earlier.
        let script = "trap 'exit 0' TERM; i=0; echo up; while :; do i=$((i+1)); for f in a b; do echo $i > /new && mv /new /$f; done; done";
        world.background("--name c", script);
        world.until_logged("c", "up");
        let paused = world.line("pause c");
        if paused.code == 0 {
            // One that stands still already goes on doing so.
            world.line("commit c still").success();
            assert_eq!(world.field("c", "{{.State.Status}}"), "paused");
            world.line("unpause c").success();
            world.line("commit --pause c new").success();
            let read = |file: &str| {
                let text = world.words(&["run", "--rm", "new", "cat", file]).success().stdout();
                text.trim().parse::<i64>().expect("a number")
            };
            assert!((0..=1).contains(&(read("/a") - read("/b"))));
        } else {
            world.line("commit --pause c new").failure(1).says(["cannot pause container c"]);
            world.line("commit c new").success();
        }
        world.line("commit --pause=false c new").success();
        world.line("commit --no-pause c new").success();
        assert_eq!(world.field("c", "{{.State.Status}}"), "running");
    }
}
