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
