//! The loop: an input, what became of it, the next.

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::mutation::{LONGEST, mutated};
use crate::random::Random;
use crate::seeds::cases;
use crate::trace::Trace;

/// Processor time that one input may take: unoptimised, on a slow machine. What is quadratic takes longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Inputs that the pool may hold.
const POOL: usize = 20_000;
/// Tries to make a failing input smaller.
const SHRINKING: usize = 3_000;
/// Time for them: an input that takes too long takes as long each time.
const SHRINKING_TIME: Duration = Duration::from_secs(30);

/// Inputs against one target, for a while.
#[derive(Debug)]
pub struct Campaign<'a> {
    name: &'a str,
    seeds: Vec<Vec<u8>>,
    words: Vec<&'a [u8]>,
    repair: fn(&mut Vec<u8>, &mut Random),
    seed: u64,
    time: Duration,
}

impl<'a> Campaign<'a> {
    /// A campaign that begins with `seeds` and inserts `words`. How long it takes and what numbers it begins with are in the
    /// environment: `KILN_FUZZ_SECONDS` (5) and `KILN_FUZZ_SEED` (0).
    #[expect(clippy::disallowed_methods, reason = "tests are told by their environment")]
    pub fn new(name: &'a str, seeds: Vec<Vec<u8>>, words: &[&'a str]) -> Self {
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
        Self {
            name,
            seeds: seeds.into_iter().filter(|seed| seed.len() <= LONGEST).collect(),
            words: words.iter().map(|word| word.as_bytes()).collect(),
            repair: |_, _| {},
            seed: number("KILN_FUZZ_SEED").unwrap_or(0),
            time: Duration::from_secs(number("KILN_FUZZ_SECONDS").unwrap_or(5)),
        }
    }

    /// Lets `repair` mend what would keep every changed input out at the door, such as checksums.
    #[must_use]
    pub fn repairing(self, repair: fn(&mut Vec<u8>, &mut Random)) -> Self {
        Self { repair, ..self }
    }

    /// Gives inputs to `target` until the time is over.
    ///
    /// # Panics
    /// If the target panics or takes too long: with the smallest such input that was found.
    pub fn run(self, target: impl Fn(&[u8], &mut Trace)) {
        fs::create_dir_all(folder()).expect("a directory for the inputs of the moment");
        let mut random = Random::new(self.seed);
        let mut seen = HashSet::new();
        let mut pool = vec![Vec::new()];
        let mut count = 0;
        let last = File::create(self.last()).expect("a file for the input of the moment");
        for input in cases(self.name).into_iter().chain(self.seeds.iter().cloned()) {
            self.give(&target, &input, &mut seen, &last);
            count += 1;
            pool.push(input);
        }
        let begin = Instant::now();
        while begin.elapsed() < self.time {
            // What was found last is the least explored.
            let recent = pool.len().saturating_sub(64);
            let chosen = if random.one_in(3) {
                recent + random.below(pool.len() - recent)
            } else {
                random.below(pool.len())
            };
            let mut input = mutated(&pool[chosen], &pool, &self.words, &mut random);
            (self.repair)(&mut input, &mut random);
            if self.give(&target, &input, &mut seen, &last) && pool.len() < POOL {
                pool.push(input);
            }
            count += 1;
        }
        println!("{}: {count} inputs, {} kept, {} marks", self.name, pool.len(), seen.len());
    }

    /// Whether the input reached something new.
    fn give(
        &self,
        target: &impl Fn(&[u8], &mut Trace),
        input: &[u8],
        seen: &mut HashSet<u64>,
        last: &File,
    ) -> bool {
        // An input that ends the process (a stack that overflows, memory that is used up) is found here afterwards. The file
        // stays open: to make it anew each time would cost more than most targets.
        let written = last.write_all_at(input, 0).and_then(|()| last.set_len(input.len() as u64));
        written.expect("a place for the input of the moment");
        let mut trace = Trace::default();
        match outcome(target, input, &mut trace) {
            Ok(()) => {
                let before = seen.len();
                seen.extend(trace.into_marks());
                seen.len() > before
            }
            Err(problem) => self.fail(target, input, &problem),
        }
    }

    fn fail(&self, target: &impl Fn(&[u8], &mut Trace), input: &[u8], problem: &str) -> ! {
        let hook = panic::take_hook();
        panic::set_hook(Box::new(|_| {}));
        let small = shrunk(input, |candidate| outcome(target, candidate, &mut Trace::default()).is_err());
        panic::set_hook(hook);
        let path = self.last();
        let _ = fs::write(&path, &small);
        panic!(
            "{}: {problem}\n  input of {} bytes, in {} (seed {}); it belongs into fuzz/cases/{}\n  \"{}\"",
            self.name,
            small.len(),
            path.display(),
            self.seed,
            self.name,
            small.escape_ascii()
        );
    }

    fn last(&self) -> PathBuf {
        folder().join(self.name)
    }
}

/// Where the inputs of the moment are.
fn folder() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/fuzz")).to_owned()
}

/// Runs the target; an error says what went wrong.
fn outcome(target: &impl Fn(&[u8], &mut Trace), input: &[u8], trace: &mut Trace) -> Result<(), String> {
    let begin = processor_time();
    let result = panic::catch_unwind(AssertUnwindSafe(|| target(input, trace)));
    let took = processor_time().saturating_sub(begin);
    match result {
        Err(payload) => {
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(text.unwrap_or_else(|| "it panics".to_owned()))
        }
        Ok(()) if took > PATIENCE => Err(format!("it takes {took:?}")),
        Ok(()) => Ok(()),
    }
}

/// The processor time of this thread so far.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// The smallest input that still fails, found by leaving out ever smaller pieces.
fn shrunk(input: &[u8], fails: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let begin = Instant::now();
    let mut input = input.to_vec();
    let mut tries = 0;
    let mut size = input.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < input.len() && tries < SHRINKING && begin.elapsed() < SHRINKING_TIME {
            let mut candidate = input.clone();
            candidate.drain(at..(at + size).min(input.len()));
            tries += 1;
            if fails(&candidate) { input = candidate } else { at += size }
        }
        size /= 2;
    }
    input
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_shown_at_its_smallest() {
        assert_eq!(shrunk(b"some text with ${ in it", |input| input.windows(2).any(|w| w == b"${")), b"${");
    }

    #[test]
    fn a_panic_that_needs_a_word_is_found() {
        let seeds = vec![b"FROM a".to_vec()];
        let mut campaign = Campaign::new("self-test", seeds, &["RUN ", "--mount="]);
        campaign.time = Duration::from_secs(60);
        let found = panic::catch_unwind(AssertUnwindSafe(|| {
            campaign.run(|input, trace| {
                trace.counted("length", input.len());
                assert!(!input.windows(12).any(|w| w == b"RUN --mount="), "found");
            });
        }));
        let message = found.expect_err("found").downcast::<String>().expect("a text");
        assert!(message.ends_with("\"RUN --mount=\""), "{message}");
    }
}
