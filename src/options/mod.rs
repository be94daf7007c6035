//! What callers may ask for: option structs, their defaults and their rules.

pub(crate) mod backoff;
mod dedup;
mod job;
pub(crate) mod keep;
mod worker;

pub use backoff::Backoff;
pub use dedup::Deduplication;
pub(crate) use job::MAX_PRIORITY;
pub use job::{JobOptions, OnChildFailure, ParentRef};
pub use keep::KeepJobs;
pub(crate) use worker::with_worker_setters;
pub use worker::{FailedAttempt, Retry, WorkerOptions};

/// 2^53 − 1: up to here JavaScript and Lua count exactly.
pub(crate) const MAX_SAFE: u64 = (1 << 53) - 1;
