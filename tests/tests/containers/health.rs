//! Health checks.

use crate::world::World;

#[test]
fn a_container_becomes_healthy_and_unhealthy() {
    for world in World::each() {
        let words = [
            "run",
            "-d",
            "--name",
            "h",
            "--health-cmd",
            "echo looked; test -e /well",
            "--health-interval",
            "50ms",
            "--health-retries",
            "2",
            "busybox",
            "sh",
            "-c",
            "touch /well; sleep 1000",
        ];
        world.words(&words).success();
        let health = |status: &'static str| {
            move |value: &serde_json::Value| value["State"]["Health"]["Status"] == status
        };
        let value = world.until("h", health("healthy"));
        assert_eq!(value["State"]["Health"]["Log"][0]["Output"], "looked\n");
        world.line("ps").success().says(["(healthy)"]);
        world.line("exec h rm /well").success();
        let value = world.until("h", health("unhealthy"));
        assert!(value["State"]["Health"]["FailingStreak"].as_u64() >= Some(2));
        world.line("ps --filter health=unhealthy").success().says(["h"]);
    }
}

#[test]
fn the_images_check_is_used_unless_it_is_refused() {
    let world = World::new();
    world.file("Dockerfile", "FROM busybox\nHEALTHCHECK --interval=50ms CMD true\n");
    world.build(["--tag=checked"]).success();
    world.line("run -d --name a checked sleep 1000").success();
    world.until("a", |value| value["State"]["Health"]["Status"] == "healthy");
    world.line("run -d --name b --no-healthcheck checked sleep 1000").success();
    assert!(world.inspect("b")["State"]["Health"].is_null());
}

#[test]
fn a_check_that_takes_too_long_failed() {
    let world = World::new();
    let words = [
        "run",
        "-d",
        "--name",
        "slow",
        "--health-cmd",
        "sleep 100",
        "--health-interval",
        "20ms",
        "--health-timeout",
        "50ms",
        "--health-retries",
        "1",
        "busybox",
        "sleep",
        "1000",
    ];
    world.words(&words).success();
    let value = world.until("slow", |value| value["State"]["Health"]["Status"] == "unhealthy");
    assert_eq!(value["State"]["Health"]["Log"][0]["ExitCode"], -1);
}
