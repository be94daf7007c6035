//! A mutex that still works after a panic, and how tasks are started.

use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use tokio::task::JoinHandle;

/// Starts a task in the present runtime.
///
/// All these tasks are of one type: what tokio needs for a task, about a hundred functions, is compiled once and not for
/// each of them. It costs an allocation, so the task of a job or of an add is started by [`tokio::spawn`].
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    spawn_boxed(Box::pin(task))
}

fn spawn_boxed(task: BoxFuture<'static, ()>) -> JoinHandle<()> {
    tokio::spawn(task)
}

/// A mutex that still works after a thread has panicked while holding it.
///
/// The state that these locks guard is consistent after each step, and the panic is reported by the task's own
/// supervisor. With a poisoned lock, one dead task would end all others too.
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
