//! `kiln volume` and `kiln container prune`.

use crate::world::World;

#[test]
fn volumes_are_made_listed_shown_and_removed() {
    for world in World::each() {
        assert_eq!(world.line("volume create --label k=v data").success().stdout(), "data\n");
        assert_eq!(world.line("volume create data").success().stdout(), "data\n");
        assert_eq!(world.line("volume create").success().stdout().trim().len(), 64);
        world.line("volume create a/b").failure(125).says(["invalid volume name"]);
        world.words(&["run", "--rm", "-v", "data:/d", "busybox", "touch", "/d/f"]).success();
        let shown = world.line("volume inspect data").success().json();
        assert_eq!(shown[0]["Name"], "data");
        assert_eq!(shown[0]["Driver"], "local");
        assert_eq!(shown[0]["Labels"]["k"], "v");
        let place = world.words(&["volume", "inspect", "-f", "{{.Mountpoint}}", "data"]).success().stdout();
        assert!(std::path::Path::new(place.trim()).join("f").exists(), "{place}");
        assert!(world.line("volume ls").success().stdout().starts_with("DRIVER   VOLUME NAME\n"));
        assert_eq!(world.line("volume ls -q --filter label=k=v").success().stdout(), "data\n");

        world.line("create --name user -v data:/d busybox true").success();
        assert_eq!(world.line("volume ls -q --filter dangling=false").success().stdout(), "data\n");
        world.line("volume rm data").failure(1).says(["volume is in use"]);
        world.line("rm user").success();
        assert_eq!(world.line("volume rm data").success().stdout(), "data\n");
        world.line("volume rm data").failure(1).says(["no such volume: data"]);
        world.line("volume rm -f data").success();
        world.line("volume inspect data").failure(1).says(["no such volume: data"]).says(["[]"]);
    }
}

#[test]
fn pruning_spares_what_is_used_and_what_has_a_name() {
    for world in World::each() {
        world.line("volume create named").success();
        let unused = world.line("volume create").success().stdout();
        world.line("create --name user -v /v busybox true").success();
        let pruned = world.line("volume prune -f").success().stdout();
        assert_eq!(pruned, format!("Deleted Volumes:\n{unused}\nTotal reclaimed space: 0B\n"));
        assert_eq!(world.line("volume prune -f").success().stdout(), "Total reclaimed space: 0B\n");
        assert_eq!(
            world.line("volume prune -a -f").success().stdout(),
            "Deleted Volumes:\nnamed\n\nTotal reclaimed space: 0B\n"
        );
        assert_eq!(world.line("volume ls -q").success().stdout().lines().count(), 1);
    }
}

#[test]
fn containers_that_do_not_run_are_pruned() {
    for world in World::each() {
        let running = world.background("--name running", "trap 'exit 0' TERM; sleep 1000 & wait");
        let labelled = world.line("create --label keep busybox true").success().stdout();
        let ended = world.words(&["run", "-d", "busybox", "true"]).success().stdout();
        world.words(&["wait", ended.trim()]).success();
        world.line("container prune -f --filter until=1h").success();
        let pruned = world.line("container prune -f --filter label!=keep").success().stdout();
        assert_eq!(pruned, format!("Deleted Containers:\n{ended}\nTotal reclaimed space: 0B\n"));
        assert!(world.line("container prune -f").success().stdout().contains(labelled.trim()));
        assert_eq!(world.line("ps -aq --no-trunc").success().stdout().trim(), running);
        world.line("container prune -f --filter color=red").failure(1).says(["expected until"]);
    }
}
