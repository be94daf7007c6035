//! A processor that holds its jobs until a test lets them go.

use std::sync::Arc;

use futures::future::BoxFuture;
use oxmq::{Halt, Job};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::fixture::Ledger;

/// Notes each job that begins, and ends it when it is let through. A job that is active in Redis may not have begun yet.
#[derive(Clone)]
pub struct Gate {
    /// The ids of the jobs that have begun, in order.
    pub begun: Ledger,
    open: Arc<Semaphore>,
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self { begun: Ledger::default(), open: Arc::new(Semaphore::new(0)) }
    }

    /// Returns a processor whose jobs end when they are let through.
    pub fn processor(&self) -> impl Fn(Job<Value, ()>) -> BoxFuture<'static, Result<(), Halt>> + use<> {
        let gate = self.clone();
        move |job| {
            let gate = gate.clone();
            Box::pin(async move {
                gate.begun.note(job.id());
                gate.open.acquire().await?.forget();
                Ok(())
            })
        }
    }

    /// Lets so many jobs end, those that begin later too.
    pub fn let_through(&self, jobs: usize) {
        self.open.add_permits(jobs);
    }
}
