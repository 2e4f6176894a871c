//! exec.

use crate::world::World;

#[test]
fn a_process_enters_a_container() {
    for world in World::each() {
        world.background("--name c -e A=1 -w /tmp --hostname inside", "echo up; sleep 1000");
        world.until_logged("c", "up");
        let script = "echo $A-$B-$PWD; hostname; echo err >&2; ls /proc | grep -c '^[0-9]'; exit 9";
        let outcome = world.words(&["exec", "-e", "B=2", "c", "sh", "-c", script]).failure(9);
        let out = outcome.stdout();
        assert!(out.starts_with("1-2-/tmp\ninside\n"), "{outcome}");
        assert_eq!(outcome.stderr, "err\n");
        let user =
            world.words(&["exec", "-u", "7:8", "-w", "/", "c", "sh", "-c", "id -u; id -g; pwd"]).success();
        assert_eq!(user.stdout(), "7\n8\n/\n");
    }
}

#[test]
fn it_sees_the_files_and_mounts_of_the_container() {
    for world in World::each() {
        world.background(
            "--name c -v /data --tmpfs /mem",
            "echo x > /made; echo y > /data/y; echo z > /mem/z; echo up; sleep 1000",
        );
        world.until_logged("c", "up");
        assert_eq!(world.line("exec c cat /made /data/y /mem/z").success().stdout(), "x\ny\nz\n");
    }
}

#[test]
fn input_and_detached_processes() {
    let world = World::new();
    world.background("--name c", "echo up; sleep 1000");
    world.until_logged("c", "up");
    let outcome = world.kiln(["exec", "-i", "c", "wc", "-c"]).stdin(vec![b'x'; 300_000]).run().success();
    assert_eq!(outcome.stdout().trim(), "300000");
    let outcome = world.kiln(["exec", "c", "wc", "-c"]).stdin("unseen").run().success();
    assert_eq!(outcome.stdout().trim(), "0");
    world.words(&["exec", "-d", "c", "sh", "-c", "echo later > /later"]).success();
    world
        .words(&["exec", "c", "sh", "-c", "until test -s /later; do sleep 0.05; done; cat /later"])
        .success()
        .says(["later"]);
}

#[test]
fn exit_codes_are_dockers() {
    let world = World::new();
    world.background("--name c", "echo up; sleep 1000");
    world.until_logged("c", "up");
    world.line("exec c no-such-program").failure(127).says(["no-such-program"]);
    world.line("exec c /etc/passwd").failure(126);
    world.line("exec -u nobody-here c true").failure(126).says(["nobody-here"]);
    world.line("exec -w /no/such/dir c true").failure(126).says(["/no/such/dir"]);
    world.words(&["exec", "c", "sh", "-c", "kill -9 $$"]).failure(137);
    world.line("exec nosuch true").failure(1).says(["no such container"]);
    world.line("stop -t 0 c").success();
    world.line("exec c true").failure(1).says(["not running"]);
}

#[test]
fn the_containers_end_is_the_end_of_all_in_it() {
    let world = World::new();
    world.background("--name c", "echo up; sleep 1000");
    world.until_logged("c", "up");
    let inside = world.kiln(["exec", "c", "sh", "-c", "echo in; sleep 1000"]).start();
    world.line("exec c true").success();
    world.line("kill c").success();
    assert_eq!(inside.wait_with_output().expect("wait").status.code(), Some(137));
}
