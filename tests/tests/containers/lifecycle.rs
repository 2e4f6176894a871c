//! create, start, stop, kill, restart, wait, rm, rename.

use crate::world::World;

#[test]
fn a_container_in_the_background_runs_until_it_is_stopped() {
    for world in World::each() {
        let id = world.background(
            "--name web --stop-signal TERM",
            "trap 'exit 5' TERM; echo up; while :; do sleep 0.05; done",
        );
        assert_eq!(id.len(), 64);
        world.until_logged("web", "up");
        assert_eq!(world.field("web", "{{.State.Status}}"), "running");
        world.line("ps --format {{.Names}}").success().says(["web"]);
        assert_eq!(world.line("stop web").success().stdout(), "web\n");
        assert_eq!(world.field(&id, "{{.State.Status}} {{.State.ExitCode}}"), "exited 5");
        world.line("ps").success().says_not(["web"]);
        world.line("ps -a").success().says(["web", "Exited (5)"]);
        assert_eq!(world.line("rm web").success().stdout(), "web\n");
        world.line("inspect --type container web").failure(1).says(["no such container"]);
        assert_eq!(world.kept(), 0);
    }
}

#[test]
fn one_that_does_not_listen_is_killed_when_the_time_is_over() {
    let world = World::new();
    world.background("--name deaf", "trap '' TERM; echo up; while :; do sleep 0.05; done");
    world.until_logged("deaf", "up");
    world.line("stop -t 0 deaf").success();
    assert_eq!(world.field("deaf", "{{.State.ExitCode}}"), "137");
}

#[test]
fn create_and_start_are_run_in_two_steps() {
    for world in World::each() {
        let id = world.line("create --name two busybox echo out").success().stdout();
        assert_eq!(world.field("two", "{{.State.Status}}"), "created");
        assert_eq!(world.line("start -a two").success().stdout(), "out\n");
        assert_eq!(world.line("start -a two").success().stdout(), "out\n", "a second time");
        assert_eq!(world.line("logs two").success().stdout(), "out\nout\n");
        world.words(&["rm", id.trim()]).success();
    }
}

#[test]
fn what_is_written_stays_from_start_to_start() {
    for world in World::each() {
        let script = "cat /count 2>/dev/null; echo x >> /count; rm -rf /bin/yes";
        world.words(&["create", "--name", "count", "busybox", "sh", "-c", script]).success();
        for expected in ["", "x\n", "x\nx\n"] {
            assert_eq!(world.line("start -a count").success().stdout(), expected);
        }
    }
}

#[test]
fn signals_and_waiting() {
    let world = World::new();
    let script = "trap 'echo one' USR1; trap 'exit 3' INT; echo up; while :; do sleep 0.05; done";
    world.background("--name s", script);
    world.until_logged("s", "up");
    world.line("kill -s USR1 s").success();
    world.until_logged("s", "one");
    let waiting = world.kiln(["wait", "s"]).start();
    world.line("kill --signal=SIGINT s").success();
    let output = waiting.wait_with_output().expect("wait");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "3\n");
    assert_eq!(world.line("wait s").success().stdout(), "3\n", "it has ended already");
    world.line("kill s").failure(1).says(["not running"]);
    world.line("kill -s NOSUCH s").failure(1).says(["NOSUCH"]);
}

#[test]
fn kill_ends_it_at_once_with_137() {
    for world in World::each() {
        let id = world.background("", "sleep 1000");
        world.words(&["kill", &id]).success();
        assert_eq!(world.field(&id, "{{.State.Status}} {{.State.ExitCode}}"), "exited 137");
    }
}

#[test]
fn restart_starts_it_anew() {
    let world = World::new();
    let id = world.background("--name r", "echo up; exec sleep 1000");
    world.until_logged("r", "up\n");
    let before = world.field(&id, "{{.State.Pid}}");
    world.line("restart -t 0 r").success();
    world.until_logged("r", "up\nup\n");
    assert_ne!(world.field(&id, "{{.State.Pid}}"), before);
}

#[test]
fn names_are_unique_and_can_be_changed() {
    let world = World::new();
    world.line("create --name one busybox").success();
    world.line("create --name one busybox").failure(125).says(["one", "in use"]);
    world.line("rename one two").success();
    world.line("create --name one busybox").success();
    world.line("rename one two").failure(1).says(["in use"]);
    world.line("inspect two").success();
    assert_eq!(world.kept(), 2);
}

#[test]
fn containers_are_found_by_name_and_by_the_beginning_of_their_id() {
    let world = World::new();
    let id = world.line("create --name found busybox").success().stdout().trim().to_owned();
    for name in ["found", "/found", &id, &id[..12], &id[..4]] {
        assert_eq!(world.field(name, "{{.Id}}"), id, "{name}");
    }
}

#[test]
fn a_running_container_is_removed_only_by_force() {
    for world in World::each() {
        let id = world.background("--name busy", "sleep 1000");
        world.line("rm busy").failure(1).says(["running"]);
        world.line("rm -f busy").success();
        assert_eq!(world.kept(), 0);
        world.words(&["rm", &id]).failure(1);
        world.words(&["rm", "-f", &id]).success();
    }
}

#[test]
fn rm_at_the_end_leaves_nothing() {
    for world in World::each() {
        world.background("--rm --name gone", "exit 3");
        // It ends when it ends: the name is free then.
        let patience = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while world.kept() > 0 && std::time::Instant::now() < patience {
            std::thread::sleep(std::time::Duration::from_millis(20)); // nobody is told of a container that is gone
        }
        assert_eq!(world.kept(), 0);
        world.line("run --rm --name gone busybox true").success();
        assert_eq!(world.kept(), 0);
    }
}
