//! The cost of a trivial step, with the store in memory: the disk's journal is another matter.

use std::path::Path;
use std::time::{Duration, Instant};

use kiln_executor::sandbox::{Io, Stream};

use crate::fixture::Fixture;

const ROUNDS: usize = 200;

/// Prints medians over trivial steps.
pub(crate) fn measure() {
    let entering = Instant::now();
    let fixture = Fixture::enter_with_store_in(Path::new("/dev/shm")).expect("isolation works here");
    println!("rung {}; entered in {:?} (with the base)", fixture.isolation.rung, entering.elapsed());
    let null = || Io::Streams { stdin: Stream::Null, stdout: Stream::Null, stderr: Stream::Null };
    let report = |name: &str, run: &dyn Fn() -> Duration| {
        let mut times: Vec<Duration> = (0..ROUNDS).map(|_| run()).collect();
        times.sort();
        println!(
            "{name:32} median {:6} us   p10 {:6}   p90 {:6}",
            times[ROUNDS / 2].as_micros(),
            times[ROUNDS / 10].as_micros(),
            times[ROUNDS * 9 / 10].as_micros()
        );
    };
    for (name, network) in [("sh -c true", false), ("sh -c true, own network", true)] {
        report(name, &|| {
            let step = fixture.step("true").with(|s| s.own_network = network);
            let begun = Instant::now();
            let mut running = step.start(null()).expect("it starts");
            assert!(running.wait().expect("it runs").success());
            begun.elapsed()
        });
    }
    report("start() alone", &|| {
        let step = fixture.step("true");
        let begun = Instant::now();
        let mut running = step.start(null()).expect("it starts");
        let started = begun.elapsed();
        running.wait().expect("it runs");
        started
    });
    report("busybox true, no shell", &|| {
        let step = fixture.step_of(&["true"]);
        let begun = Instant::now();
        step.start(null()).expect("it starts").wait().expect("it runs");
        begun.elapsed()
    });
}
