//! Job queues on Redis, compatible with BullMQ on the wire.
#![allow(dead_code, reason = "the layers are built from the bottom up")]

mod client;
mod clock;
mod connection;
mod engine;
mod error;
mod events;
mod job;
mod keys;
mod options;
mod queue;
mod script;
mod state;
mod wire;
mod worker;

pub use client::{Client, ClientBuilder};
pub use clock::Clock;
pub use connection::{Address, ConnectOptions};
pub use engine::{ChildCounts, ClientInfo};
pub use error::{BoxError, Error, Halt, Reason, Result};
pub use events::{Delivery, EventsFrom, EventsOptions, QueueEvents};
pub use job::{CancelReason, Dependencies, Fetched, Job};
pub use options::{
    Backoff, Deduplication, FailedAttempt, JobOptions, KeepJobs, OnChildFailure, ParentRef, Retry, WorkerOptions,
};
pub use queue::{Add, AddBulk, Added, JobLogs, JobOutcome, Metrics, NewJob, Queue, QueueMeta, RetryOptions};
pub use state::{JobCounts, JobState, UnknownState};
pub use wire::{EventId, JsonText, QueueEvent};
pub use worker::{
    Erased, ManualWorker, Processor, Report, Router, Worker, WorkerBuilder, WorkerCounts, WorkerEvent, WorkerEvents,
};
