#![doc = include_str!("../README.md")]
//!
//! # How these pages are laid out
//!
//! - [`Client`] is the way in; [`ConnectOptions`] say how.
//! - [`Queue`] adds, reads and administers; [`Add`], [`NewJob`] and [`JobOptions`] say how a job is added.
//! - [`FlowProducer`] adds trees of jobs, made of [`FlowNode`]s.
//! - [`Job`] is what a queue gives and what a processor gets; [`Halt`] is how a processor ends without a value.
//! - [`JobKind`] binds name, data, result and options of a kind of job to one type; [`State`] is what processors share, and a
//!   [`layer`] is done around each attempt.
//! - [`WorkerBuilder`] makes a [`Worker`] of a [`Processor`] or a [`Router`]; it has a setter for each option.
//!   [`ManualWorker`] fetches one job at a time instead.
//! - [`QueueEvents`] is what happens in a queue, whoever causes it; [`WorkerEvents`] what happens in one worker.
//! - [`Error`] is why a call failed, [`Reason`] why the server refused.
//!
//! Names are BullMQ's in `snake_case`, and can be searched for as they are called there. An item says how many round trips
//! it makes where it is not one, and what is atomic.
//!
//! # Features
//!
//! - `cron` (on by default): without it a worker cannot make the next run of a scheduler with a cron pattern.
//! - `otel`: trace context in jobs, one trace over Node and Rust.
//! - `metrics`: figures by way of the `metrics` facade.
//! - `schema`: JSON Schema and TypeScript types of the kinds of jobs.
//! - `tower`: any layer of `tower` around attempts.
//! - `cli`: the binary `oxmq`, for queues and jobs in the terminal; nothing of it is in the library.
//! - `tls`: `rediss://` addresses, by rustls with the roots of the operating system.

#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench_support;
mod client;
mod clock;
mod connection;
mod engine;
mod error;
mod events;
mod failpoint;
mod flow;
mod job;
mod keys;
mod kind;
mod options;
mod overview;
mod queue;
mod scheduler;
#[cfg(feature = "schema")]
mod schema;
mod script;
mod state;
mod telemetry;
mod wire;
mod worker;

pub use client::{Client, ClientBuilder};
pub use clock::Clock;
pub use connection::{Address, ConnectOptions};
pub use engine::{BadCursor, ChildCounts, ChildKind, ChildPage, ClientInfo, JobsCursor, Metrics, QueueMeta};
pub use error::{BoxError, Error, FailureKind, Halt, Reason, Result};
pub use events::{Delivery, EventsFrom, QueueEvents, QueueEventsBuilder};
pub use flow::{AddedNode, FlowNode, FlowProducer, FlowTree, GetFlow, WaitedChild, WaitsFor};
pub use job::{AnyJob, CancelReason, Dependencies, Fetched, Job, JobLogs, JobOutcome, JobRef, RetryOptions};
pub use kind::{JobKind, JobOf};
pub use options::{
    Backoff, Decided, Decides, Deduplication, FailedAttempt, JobFilter, JobOptions, KeepJobs, OnChildFailure,
    ParentRef, Retry,
};
pub use overview::{FindQueues, JobTimes, MinuteCounts, OldestJob, QueueOverview};
pub use queue::{
    Add, AddBulk, Added, BulkAction, BulkOutcome, BulkReport, BulkRun, BulkStep, JobScheduler, Jobs, JobsPage, NewJob,
    Queue, QueueBuilder, UpsertJobScheduler,
};
pub use scheduler::{Overlap, Repeat, Runs};
#[cfg(feature = "schema")]
pub use schema::JobKinds;
pub use state::{JobCounts, JobState, Order, UnknownState};
#[cfg(feature = "tls")]
pub use tokio_rustls::rustls;
pub use wire::{EventId, JsonText, QueueEvent};
pub use worker::layer;
pub use worker::{
    AttemptError, FromJob, FromRef, Health, ManualWorker, ManualWorkerBuilder, Processor, Report, Router, State,
    Worker, WorkerBuilder, WorkerCounts, WorkerEvent, WorkerEvents,
};
