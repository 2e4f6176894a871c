//! The health check: when it is due, and what its results mean.

use std::time::Duration;

use crate::container::config::Health;
use crate::container::state::{HealthResult, HealthState};

/// As many results are kept.
const KEPT: usize = 5;
/// As much of a check's output is kept.
pub(super) const OUTPUT: usize = 4096;

/// When the next check is due, and since when the container runs.
#[derive(Debug)]
pub(super) struct Schedule {
    started: Duration,
    pub(super) next: Duration,
}

impl Schedule {
    pub(super) fn begin(health: &Health, now: Duration) -> Self {
        let mut schedule = Self { started: now, next: now };
        schedule.after(health, now, true);
        schedule
    }

    fn is_starting(&self, health: &Health, now: Duration) -> bool {
        now < self.started + Duration::from_millis(health.start_period)
    }

    /// Plans the next check after one that ended now.
    pub(super) fn after(&mut self, health: &Health, now: Duration, starting: bool) {
        let wait = if starting && self.is_starting(health, now) && health.start_interval > 0 {
            health.start_interval
        } else {
            health.interval
        };
        self.next = now + Duration::from_millis(wait);
    }

    /// Notes a result.
    pub(super) fn note(
        &mut self,
        health: &Health,
        state: &mut HealthState,
        result: HealthResult,
        now: Duration,
    ) {
        if result.exit_code == 0 {
            state.failing = 0;
            "healthy".clone_into(&mut state.status);
        } else if !(self.is_starting(health, now) && state.status == "starting") {
            // Failures while it starts do not count (Docker, --health-start-period).
            state.failing += 1;
            if state.failing >= health.retries {
                "unhealthy".clone_into(&mut state.status);
            }
        }
        state.log.push(result);
        if state.log.len() > KEPT {
            state.log.remove(0);
        }
        let starting = state.status == "starting";
        self.after(health, now, starting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> Health {
        Health {
            command: vec!["true".into()],
            interval: 1000,
            timeout: 1000,
            start_period: 5000,
            start_interval: 100,
            retries: 2,
        }
    }

    #[test]
    fn failures_count_after_the_start_and_one_success_ends_it() {
        let health = health();
        let at = Duration::from_millis;
        let result = |exit_code| HealthResult {
            start: String::new(),
            end: String::new(),
            exit_code,
            output: String::new(),
        };
        let mut schedule = Schedule::begin(&health, at(0));
        let mut state = HealthState { status: "starting".into(), ..HealthState::default() };
        assert_eq!(schedule.next, at(100));
        schedule.note(&health, &mut state, result(1), at(100));
        schedule.note(&health, &mut state, result(1), at(200));
        assert_eq!((state.status.as_str(), state.failing), ("starting", 0));
        schedule.note(&health, &mut state, result(0), at(300));
        assert_eq!((state.status.as_str(), schedule.next), ("healthy", at(1300)));
        schedule.note(&health, &mut state, result(1), at(1300));
        assert_eq!(state.status, "healthy");
        schedule.note(&health, &mut state, result(1), at(2300));
        assert_eq!((state.status.as_str(), state.failing, state.log.len()), ("unhealthy", 2, 5));
    }
}
