//! BuildKit's exact results for the Dockerfiles of public corpora, and kiln's beside them.
//!
//! Every case of `../shared/golden` is set up as its README says, built, read back and compared aspect by aspect.
//! `KILN_GOLDEN=part-of-an-id` builds only the matching cases and shows their differences; otherwise they stand in
//! `target/kiln-tests/golden.txt`.

mod case;
mod compare;
mod deviations;
mod performed;
mod score;
mod set_up;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use case::{Case, Cases};
use kiln_tests::{TestEnv, debian_tar, is_root, shared, skipped};
use performed::Performed;
use score::Score;

/// How many cases are built at the same time: more than processors, for a build waits for disks and processes too.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(2, |n| n.get() + 1)
}

#[test]
fn builds_mean_what_buildkit_means() {
    let Some(shared) = shared() else { return };
    if !is_root() {
        return skipped("the golden results were made as root");
    }
    let filter = std::env::var_os("KILN_GOLDEN").map(|filter| filter.to_string_lossy().into_owned());
    let cases = Cases::read(&shared.join("golden"));
    let wanted: Vec<&Case> =
        cases.all().filter(|case| filter.as_ref().is_none_or(|f| case.id.contains(f))).collect();
    let debian = wanted.iter().any(|case| case.uses_debian());
    if debian && debian_tar().is_none() {
        return;
    }

    let corpus = shared.join("corpus");
    let next = AtomicUsize::new(0);
    let score = Mutex::new(Score::default());
    std::thread::scope(|scope| {
        for _ in 0..workers().min(wanted.len()) {
            scope.spawn(|| {
                let env = TestEnv::new();
                env.busybox();
                if debian {
                    env.debian();
                }
                while let Some(case) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut performed = Performed::of(case, &cases, &env, &corpus);
                    let mut verdicts = compare::all(case, &cases, &performed);
                    // Some steps fetch packages: a server that did not answer once is no difference.
                    if matches!(verdicts.first(), Some(("ok", Err(_)))) {
                        println!("{} is performed again; it said:\n{}", case.id, performed.outcome.stderr);
                        performed = Performed::of(case, &cases, &env, &corpus);
                        verdicts = compare::all(case, &cases, &performed);
                    }
                    score.lock().expect("no worker panics with it").add(case, &performed, verdicts);
                }
            });
        }
    });
    let score = score.into_inner().expect("no worker panics with it");
    score.report(filter.is_some());
    if filter.is_none() {
        score.require();
    }
}
