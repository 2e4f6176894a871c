//! Volumes and mounts.

use crate::world::World;

#[test]
fn a_named_volume_outlives_its_containers() {
    for world in World::each() {
        world.words(&["run", "--rm", "-v", "data:/d", "busybox", "sh", "-c", "echo kept > /d/f"]).success();
        assert_eq!(world.line("run --rm -v data:/d:ro busybox cat /d/f").success().stdout(), "kept\n");
        world.line("run --rm -v data:/d:ro busybox touch /d/g").failure(1);
        let mount = ["run", "--rm", "--mount", "type=volume,source=data,target=/d", "busybox", "cat", "/d/f"];
        assert_eq!(world.words(&mount).success().stdout(), "kept\n");
    }
}

#[test]
fn a_new_volume_begins_with_what_the_image_has_there() {
    for world in World::each() {
        world.file("Dockerfile", "FROM busybox\nRUN mkdir /d && echo image > /d/f && chmod 700 /d && ln -s f /d/l && chown 7:8 /d/f\nVOLUME /d\n");
        world.build(["--tag=vol"]).success();
        let script = "cat /d/l; stat -c %a:%u /d; stat -c %u:%g /d/f; echo own > /d/f";
        for _ in 0..2 {
            // An anonymous volume is new each time.
            let outcome = world.words(&["run", "--rm", "vol", "sh", "-c", script]).success();
            assert_eq!(outcome.stdout(), "image\n700:0\n7:8\n");
        }
        world.words(&["run", "--rm", "-v", "named:/d", "vol", "sh", "-c", script]).success();
        assert_eq!(world.line("run --rm -v named:/d vol cat /d/f").success().stdout(), "own\n");
        let outcome = world.line("run --rm -v empty:/d:nocopy vol ls /d").success();
        assert_eq!(outcome.stdout(), "");
    }
}

#[test]
fn anonymous_volumes_go_with_a_container_that_is_removed_at_its_end() {
    let world = World::new();
    let volumes = || match std::fs::read_dir(world.store().join("volumes")) {
        Ok(entries) => entries.count(),
        Err(_) => 0,
    };
    world.line("run --rm -v /a busybox touch /a/x").success();
    assert_eq!(volumes(), 0);
    world.line("run --name k -v /a busybox touch /a/x").success();
    assert_eq!(volumes(), 1);
    world.line("rm -v k").success();
    assert_eq!(volumes(), 0);
}

#[test]
fn volumes_of_another_container() {
    let world = World::new();
    world.words(&["run", "--name", "a", "-v", "/x", "busybox", "sh", "-c", "echo there > /x/f"]).success();
    assert_eq!(world.line("run --rm --volumes-from a busybox cat /x/f").success().stdout(), "there\n");
    world.line("run --rm --volumes-from a:ro busybox touch /x/g").failure(1);
    assert_eq!(world.line("run --rm --volumes-from a busybox cat /x/f").success().stdout(), "there\n");
    world.line("run --rm --volumes-from nosuch busybox true").failure(125).says(["nosuch"]);
}

#[test]
fn mounts_in_the_long_form() {
    for world in World::each() {
        world.write("src/f", "bound");
        let source = world.path("src").display().to_string();
        let bind = format!("type=bind,source={source},target=/m,readonly");
        let outcome =
            world.words(&["run", "--rm", "--mount", &bind, "busybox", "sh", "-c", "cat /m/f; touch /m/x"]);
        assert_eq!(outcome.failure(1).stdout(), "bound");
        let missing = "type=bind,source=/no/such/place,target=/m";
        world
            .words(&["run", "--rm", "--mount", missing, "busybox", "true"])
            .failure(125)
            .says(["/no/such/place"]);
        let tmpfs = "type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=700";
        let outcome =
            world.words(&["run", "--rm", "--mount", tmpfs, "busybox", "stat", "-c", "%a", "/t"]).success();
        assert_eq!(outcome.stdout(), "700\n");
        assert_eq!(world.kept(), 0);
    }
}

#[test]
fn a_bind_has_what_is_mounted_below_its_source_unless_it_is_not_to() {
    if !kiln_tests::is_root() {
        return kiln_tests::skipped("needs root to mount something");
    }
    let world = World::new();
    world.write("src/below/of-the-directory", "");
    let (source, script) = (world.path("src").display().to_string(), "ls /m/below; touch /m/below/x");
    let run = |mount: &str| {
        let before = format!(
            "mount -t tmpfs t {source}/below && touch {source}/below/of-the-mount && exec \"$0\" \"$@\""
        );
        // In a mount namespace of its own, so that nothing stays mounted.
        let words = ["run", "--rm", mount, "busybox", "sh", "-c", script];
        world.kiln(words).through(["unshare", "-m", "sh", "-c", &before]).run()
    };
    let mount = |more: &str| format!("--mount=type=bind,source={source},target=/m{more}");
    assert_eq!(run(&format!("--volume={source}:/m")).success().stdout(), "of-the-mount\n");
    assert_eq!(run(&mount("")).success().stdout(), "of-the-mount\n");
    // Read-only all the way down.
    assert_eq!(run(&mount(",readonly")).failure(1).stdout(), "of-the-mount\n");
    for alone in [",bind-recursive=disabled", ",bind-nonrecursive"] {
        let outcome = run(&mount(alone)).success();
        assert!(outcome.stdout().starts_with("of-the-directory\n"), "{outcome}");
        std::fs::remove_file(world.path("src/below/x")).expect("it went into the directory");
    }
}

#[test]
fn a_volume_may_stand_for_a_directory_of_the_host() {
    for world in World::each() {
        world.write("disk/f", "of the host");
        let device = format!("device={}", world.path("disk").display());
        world
            .words(&["volume", "create", "-o", "type=none", "-o", "o=bind", "-o", &device, "disk"])
            .success();
        let outcome =
            world.words(&["run", "--rm", "-v", "disk:/d", "busybox", "sh", "-c", "cat /d/f; echo x > /d/g"]);
        assert_eq!(outcome.success().stdout(), "of the host");
        assert_eq!(std::fs::read_to_string(world.path("disk/g")).expect("the file"), "x\n");
        world.words(&["volume", "create", "-o", "o=bind,ro", "-o", &device, "locked"]).success();
        world.line("run --rm -v locked:/d busybox touch /d/h").failure(1);
        // Made by the container's own flags; and the directory stays when the volume goes.
        let mount = format!(
            "type=volume,source=own,target=/d,volume-opt=type=none,volume-opt=o=bind,volume-opt={device}"
        );
        let outcome = world.words(&["run", "--rm", "--mount", &mount, "busybox", "cat", "/d/f"]).success();
        assert_eq!(outcome.stdout(), "of the host");
        world.line("volume rm disk locked own").success();
        assert!(world.path("disk/f").exists());
        for (options, says) in [
            ("-o type=tmpfs -o device=tmpfs", "--tmpfs"),
            ("-o type=nfs -o device=:/x -o o=addr=1.2.3.4", "type=nfs"),
            ("-o type=none -o device=/x", "o=bind"),
            ("-o o=bind -o device=relative", "absolute"),
            ("-o size=1g", "size=1g"),
        ] {
            let words = ["volume", "create"].into_iter().chain(options.split(' ')).chain(["bad"]);
            world.words(&words.collect::<Vec<_>>()).failure(1).says([says]);
        }
        world.words(&["volume", "create", "-o", "o=bind", "-o", "device=/no/such/place", "gone"]).success();
        world.line("run --rm -v gone:/d busybox true").failure(125).says(["/no/such/place"]);
        assert_eq!(world.kept(), 0);
    }
}
