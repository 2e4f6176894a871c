//! One at a time per key within this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

use crate::CacheKey;

/// Hands out one turn per key at a time. The second who asks waits, and then finds the first one's result made.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    keys: Mutex<HashMap<CacheKey, Weak<tokio::sync::Mutex<()>>>>,
}

impl Turns {
    /// Waits for `key` to be free and takes it until the guard is dropped.
    pub(crate) async fn take(&self, key: &CacheKey) -> OwnedMutexGuard<()> {
        let turn = {
            let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(turn) = keys.get(key).and_then(Weak::upgrade) {
                turn
            } else {
                let turn = Arc::new(tokio::sync::Mutex::new(()));
                keys.insert(*key, Arc::downgrade(&turn));
                turn
            }
        };
        turn.lock_owned().await
    }
}
