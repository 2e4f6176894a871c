//! What is tried again, when, and for how long.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::Fault;
use crate::{Retrying, Watch};

/// How patient a client is. The count and the time begin anew whenever a transfer has moved on.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// Tries in a row without progress; 1 never tries again.
    pub tries: u32,
    /// The first pause, doubled with every failure.
    pub first_pause: Duration,
    /// The longest pause that kiln chooses by itself. A server's Retry-After may be longer.
    pub longest_pause: Duration,
    /// The longest time without progress, pauses included. A Retry-After beyond it fails at once.
    pub total: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            tries: 8,
            first_pause: Duration::from_millis(400),
            longest_pause: Duration::from_secs(30),
            total: Duration::from_secs(240),
        }
    }
}

/// The failures of one attempt so far.
pub(crate) struct Patience<'a> {
    policy: &'a RetryPolicy,
    watch: &'a dyn Watch,
    attempt: &'a str,
    failures: u32,
    since: Instant,
    /// Whether anything ever moved.
    moved: bool,
}

/// Tries to reach a server that nothing has come from yet: a name mistyped or a registry not started is said soon.
const FIRST_CONTACT: u32 = 3;

impl<'a> Patience<'a> {
    pub(crate) fn new(policy: &'a RetryPolicy, watch: &'a dyn Watch, attempt: &'a str) -> Self {
        Self { policy, watch, attempt, failures: 0, since: Instant::now(), moved: false }
    }

    /// Something moved: earlier failures are forgotten.
    pub(crate) fn progressed(&mut self) {
        self.failures = 0;
        self.since = Instant::now();
        self.moved = true;
    }

    /// Waits after `fault`, or returns it if it is final or patience is at its end.
    pub(crate) async fn after(&mut self, fault: Fault) -> Result<(), Fault> {
        if !fault.is_transient() {
            return Err(fault);
        }
        self.failures += 1;
        let elapsed = self.since.elapsed();
        let wait = match fault.retry_after() {
            Some(asked) => asked + jitter(self.policy.first_pause),
            None => jitter(self.pause()),
        };
        let tries = match fault {
            Fault::Connect { .. } if !self.moved => self.policy.tries.min(FIRST_CONTACT),
            _ => self.policy.tries,
        };
        if self.failures >= tries || elapsed + wait > self.policy.total {
            return Err(match self.failures {
                1 => fault,
                tries => Fault::GaveUp { tries, elapsed, cause: Box::new(fault) },
            });
        }
        let retrying = Retrying {
            attempt: self.attempt.to_owned(),
            reason: fault.to_string(),
            wait,
            failures: self.failures,
        };
        self.watch.retrying(&retrying);
        tokio::time::sleep(wait).await;
        Ok(())
    }

    fn pause(&self) -> Duration {
        let doubled = self.policy.first_pause.saturating_mul(1 << (self.failures - 1).min(16));
        doubled.min(self.policy.longest_pause)
    }
}

/// Half of `pause` to all of it, so that many clients do not come back at once.
fn jitter(pause: Duration) -> Duration {
    // The only source of randomness in std: a hasher with a random key.
    let random = RandomState::new().build_hasher().finish();
    pause / 2 + (pause / 2).mul_f64((random % 1024) as f64 / 1024.0)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Waits(Mutex<Vec<Duration>>);

    impl Watch for Waits {
        fn retrying(&self, retrying: &Retrying) {
            self.0.lock().unwrap().push(retrying.wait);
        }
    }

    fn broken() -> Fault {
        Fault::Interrupted { host: "h".into(), reason: "reset".into() }
    }

    fn slow_down(seconds: u64) -> Fault {
        let retry_after = Some(Duration::from_secs(seconds));
        Fault::TooManyRequests { host: "h".into(), retry_after, detail: String::new() }
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double_and_the_last_fault_is_kept() {
        let (policy, waits) = (RetryPolicy { tries: 4, ..RetryPolicy::default() }, Waits::default());
        let mut patience = Patience::new(&policy, &waits, "pull");
        for _ in 0..3 {
            patience.after(broken()).await.unwrap();
        }
        let end = patience.after(broken()).await.unwrap_err();
        assert!(
            matches!(end, Fault::GaveUp { tries: 4, ref cause, .. } if matches!(**cause, Fault::Interrupted { .. }))
        );
        for (wait, base) in waits.0.lock().unwrap().iter().zip([400, 800, 1600]) {
            assert!((base / 2..=base).contains(&wait.as_millis()), "{wait:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_is_obeyed_within_the_total() {
        let (policy, waits) = (RetryPolicy::default(), Waits::default());
        let mut patience = Patience::new(&policy, &waits, "pull");
        patience.after(slow_down(60)).await.unwrap();
        assert!(waits.0.lock().unwrap()[0] >= Duration::from_secs(60));
        assert!(patience.after(slow_down(3600)).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_was_never_reached_is_given_up_soon() {
        let (policy, waits) = (RetryPolicy::default(), Waits::default());
        let refused =
            || Fault::Connect { host: "h".into(), reason: "refused".into(), kind: crate::ConnectKind::Other };
        let mut patience = Patience::new(&policy, &waits, "pull");
        patience.after(refused()).await.unwrap();
        patience.after(refused()).await.unwrap();
        assert!(patience.after(refused()).await.is_err());
        patience.progressed();
        for _ in 0..5 {
            patience.after(refused()).await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn progress_renews_patience_and_final_faults_do_not_wait() {
        let (policy, waits) = (RetryPolicy { tries: 2, ..RetryPolicy::default() }, Waits::default());
        let mut patience = Patience::new(&policy, &waits, "pull");
        for _ in 0..10 {
            patience.after(broken()).await.unwrap();
            patience.progressed();
        }
        assert!(patience.after(Fault::Schema1).await.is_err());
        assert_eq!(waits.0.lock().unwrap().len(), 10);
    }
}
