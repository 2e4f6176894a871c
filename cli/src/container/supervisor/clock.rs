//! Times that do not jump when somebody sets the machine's clock.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Since this was asked first.
pub(super) fn since_start() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}
