//! `kiln stats`.

use crate::world::World;

const BUSY: &str = "trap 'exit 0' TERM; echo up; while :; do :; done";

#[test]
fn what_containers_take_is_counted() {
    for world in World::each() {
        world.background("--name busy", BUSY);
        world.background("--name idle", "trap 'exit 0' TERM; echo up; sleep 1000 & wait");
        world.until_logged("busy", "up");
        world.until_logged("idle", "up");
        let json = world.words(&["stats", "--no-stream", "--format", "json"]).success().stdout();
        let rows: Vec<serde_json::Value> =
            json.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let row = |name: &str| rows.iter().find(|row| row["Name"] == name).expect("a row").clone();
        let percent = |row: &serde_json::Value| -> f64 {
            let text = row["CPUPerc"].as_str().expect("text").trim_end_matches('%').to_owned();
            text.parse().expect("a number")
        };
        assert!(percent(&row("busy")) > percent(&row("idle")), "{json}");
        assert_eq!(row("busy")["PIDs"], "1");
        assert_eq!(row("idle")["PIDs"], "2");
        let memory = row("idle")["MemUsage"].as_str().expect("text").to_owned();
        assert!(!memory.starts_with("0B") && memory.contains("iB / "), "{memory}");

        let table = world.line("container stats --no-stream idle").success().stdout();
        assert!(table.starts_with("CONTAINER ID   NAME   CPU %   MEM USAGE / LIMIT"), "{table}");
        assert_eq!(table.lines().count(), 2, "{table}");
        world.line("stop busy").success();
        world.line("stats --no-stream busy").failure(1).says(["container busy is not running"]);
        world.line("stats --no-stream nosuch").failure(1).says(["no such container: nosuch"]);
        let all = world.words(&["stats", "-a", "--no-stream", "--format", "{{.Name}}"]).success().stdout();
        assert_eq!(all, "busy\nidle\n");
    }
}

#[test]
fn a_memory_limit_is_the_one_that_is_shown() {
    let world = World::new();
    let outcome = world.words(&["run", "-d", "--name", "c", "-m", "64m", "busybox", "sleep", "1000"]);
    if outcome.code == 125 {
        kiln_tests::skipped("memory cannot be limited here");
        return;
    }
    let shown = world.words(&["stats", "--no-stream", "--format", "{{.MemUsage}}", "c"]).success().stdout();
    assert!(shown.trim().ends_with("/ 64.00MiB"), "{shown}");
    world.line("rm -f c").success();
}
