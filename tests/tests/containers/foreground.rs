//! Containers in the foreground are like any other to whoever looks.

use std::io::Read;

use rustix::process::{Pid, Signal, kill_process};

use crate::world::World;

#[test]
fn others_see_one_in_the_foreground() {
    for world in World::each() {
        let mut child =
            world.kiln(["run", "--name", "fg", "busybox", "sh", "-c", "echo up; sleep 1000"]).start();
        let mut out = [0; 3];
        child.stdout.as_mut().expect("a pipe").read_exact(&mut out).expect("it is up");
        world.line("ps").success().says(["fg", "Up"]);
        assert_eq!(world.line("logs fg").success().stdout(), "up\n");
        assert_eq!(world.line("exec fg echo inside").success().stdout(), "inside\n");
        world.line("kill fg").success();
        assert_eq!(child.wait().expect("wait").code(), Some(137));
        world.line("ps -a").success().says(["Exited (137)"]);
        world.line("rm fg").success();
    }
}

#[test]
fn one_that_kiln_was_killed_with_is_told_truly() {
    let world = World::new();
    let mut child = world.kiln(["run", "--name", "k", "busybox", "sh", "-c", "echo up; sleep 1000"]).start();
    let mut out = [0; 3];
    child.stdout.as_mut().expect("a pipe").read_exact(&mut out).expect("it is up");
    kill_process(Pid::from_child(&child), Signal::KILL).expect("kill -9");
    child.wait().expect("wait");
    assert_eq!(world.field("k", "{{.State.Status}} {{.State.ExitCode}}"), "exited 255");
    world.line("rm k").success();
    assert_eq!(world.kept(), 0);
}

#[test]
fn output_of_any_size_arrives_whole() {
    let world = World::new();
    let script = "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo err >&2";
    let outcome = world.words(&["run", "--rm", "busybox", "sh", "-c", script]).success();
    assert_eq!((outcome.stdout.len(), outcome.stderr.as_str()), (3_000_001, "err\n"));
}
