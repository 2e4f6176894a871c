//! `--init`: a small first process.

use crate::world::World;

#[test]
fn the_program_is_the_child_of_a_first_process_that_cares() {
    for world in World::each() {
        assert_eq!(world.words(&["run", "--rm", "busybox", "sh", "-c", "echo $$"]).success().stdout(), "1\n");
        let child =
            world.words(&["run", "--rm", "--init", "busybox", "sh", "-c", "echo $$; exit 7"]).failure(7);
        assert_eq!(child.stdout(), "2\n");
        world.line("run --rm --init -u 5:5 busybox sh -c exit").success();
        world.line("run --rm --init busybox /no/such/program").failure(127);
        // An orphan that has ended is no zombie: its directory in /proc goes.
        let script = "sh -c 'sleep 0.1 & echo $! > /tmp/orphan'; while [ -d /proc/$(cat /tmp/orphan) ]; do sleep 0.01; done; echo gone";
        let outcome = world
            .words(&["run", "--rm", "--init", "--tmpfs", "/tmp", "busybox", "sh", "-c", script])
            .success();
        assert_eq!(outcome.stdout(), "gone\n");
    }
}

#[test]
fn signals_reach_a_program_that_does_not_know_it_is_alone() {
    for world in World::each() {
        // As the first process, sleep would not hear of it.
        world.line("run -d --init --name c busybox sleep 1000").success();
        assert_eq!(world.inspect("c")["HostConfig"]["Init"], true);
        world.line("kill -s TERM c").success();
        assert_eq!(world.line("wait c").success().stdout(), "143\n");
        world.line("start c").success();
        world.line("stop -t -1 c").success();
        assert_eq!(world.field("c", "{{.State.ExitCode}}"), "143");
    }
}
