//! Whether a container that has ended is started again, and when.

use std::time::Duration;

use super::clock::since_start;
use super::{Outcome, Supervisor};
use crate::container::config::Restart;
use crate::container::state::Status;

/// Docker's first wait before a container is started again; it doubles each time.
pub(super) const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A container that ran for so long is well: the next wait is the first again.
const WELL: Duration = Duration::from_secs(10);

impl Supervisor<'_> {
    /// By its policy, unless it was stopped by hand.
    pub(super) fn is_to_restart(&self, code: i32) -> bool {
        if self.state.stopped {
            return false;
        }
        match self.config.restart {
            Restart::No => false,
            Restart::Always | Restart::UnlessStopped => true,
            Restart::OnFailure(most) => code != 0 && (most == 0 || self.state.restarts < most),
        }
    }

    pub(super) fn restart_later(&mut self, began: Option<Duration>) {
        let now = since_start();
        if began.is_some_and(|began| now.saturating_sub(began) >= WELL) {
            self.wait = FIRST_WAIT;
        }
        self.restart_at = Some(now + self.wait);
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        self.state.status = Status::Restarting;
        self.write_state();
        let code = self.state.exit_code;
        self.tell_waiting(code);
        // Who watched has seen this run's end.
        self.outcome = Some(Outcome::Ended(code, self.state.out_of_memory));
        self.tell_attached();
        self.outcome = None;
    }
}
