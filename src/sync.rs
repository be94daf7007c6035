//! A lock that outlives a panic.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A mutex that does not mind that somebody panicked while holding it.
///
/// What these locks guard is whole after each step, and whoever panicked is reported by its own supervisor: with a poisoned
/// lock one task that died would take all the others along.
#[derive(Debug, Default)]
pub(crate) struct Lock<T>(Mutex<T>);

impl<T> Lock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}
