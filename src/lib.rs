//! Job queues on Redis, compatible with BullMQ on the wire.
#![allow(dead_code, reason = "the layers are built from the bottom up")]

mod clock;
mod connection;
mod engine;
mod error;
mod events;
mod keys;
mod options;
mod script;
mod state;
mod wire;

pub use clock::Clock;
pub use error::{BoxError, Error, Halt, Reason, Result};
pub use events::{Delivery, EventsFrom, EventsOptions, QueueEvents};
pub use options::{Backoff, Deduplication, JobOptions, KeepJobs, OnChildFailure, ParentRef};
pub use state::{JobCounts, JobState, UnknownState};
pub use wire::{EventId, QueueEvent};
