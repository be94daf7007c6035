#![doc = include_str!("../README.md")]
//!
//! # How these pages are laid out
//!
//! At the root stands what every program needs; each module below has all of its subject.
//!
//! | to … | begin with | more in |
//! | --- | --- | --- |
//! | connect | [`Client`], [`ConnectOptions`] | [`client`] |
//! | add, read and administer jobs | [`Queue`], [`NewJob`], [`JobOptions`] | [`queue`], [`options`] |
//! | look at or change one job | [`Job`], [`JobRef`] | [`job`] |
//! | bind name, data and result to a type | [`JobKind`] | [`kind`] |
//! | process jobs | [`Worker`], [`Router`], [`State`], [`Halt`] | [`worker`], [`worker::layer`] |
//! | fetch jobs one at a time | [`ManualWorker`] | [`worker`] |
//! | add trees of jobs | [`FlowProducer`], [`FlowNode`] | [`flow`] |
//! | repeat jobs | [`Queue::upsert_job_scheduler`], [`Repeat`] | [`scheduler`] |
//! | hear what happens | [`QueueEvents`], [`worker::WorkerEvents`] | [`events`] |
//! | spread a queue over a cluster | [`Partitioned`] | [`partitioned`] |
//! | see all queues at a glance | [`Client::find_queues`] | [`overview`] |
//! | know why a call failed | [`Error`], [`error::Reason`] | [`error`] |
//!
//! # Guides
//!
//! | to know | read |
//! | --- | --- |
//! | what stands here for what you know from Node, and how to move a live queue | [coming from Node](guides::coming_from_node) |
//! | the same of `bullmq-official`, `bullmq-rs` and apalis | [coming from Rust](guides::coming_from_rust) |
//! | where a job can be, and what moves it | [states](guides::states) |
//! | what runs twice, and how that does no harm | [retries and idempotency](guides::retries) |
//! | which time to set to what | [timeouts and locks](guides::timeouts) |
//! | how pods end without losing work, and what probes ask | [Kubernetes](guides::kubernetes) |
//! | how to set up the server, and what can be lost | [Redis](guides::redis) |
//! | how much memory, how many connections, how many jobs a second | [capacity and memory](guides::capacity) |
//! | what to look at, with alerts to copy | [observability](guides::observability) |
//! | how one queue lies on many servers | [partitions](guides::partitions) |
//! | how one job becomes thousands | [large fan-outs](guides::fan_out) |
//! | how to test your own program | [testing](guides::testing) |
//! | what to set, and what is guarded | [security](guides::security) |
//! | what is wrong | [troubleshooting by symptom](guides::troubleshooting) |
//!
//! # Names
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
//! - [`testing`](https://docs.rs/oxmq/latest/oxmq/testing/): a server, a queue, a clock and faults for the tests of your program.
//! - `tower`: any layer of `tower` around attempts.
//! - `doctor`: finds, explains and mends what is wrong with queues.
//! - `cli`: the binary `oxmq`, for queues and jobs in the terminal; nothing of it is in the library.
//! - `dashboard`: pages to look at queues and to act on them, for any axum app: the module `dashboard`.
//! - `tls`: `rediss://` addresses, by rustls with the roots of the operating system.

// First, so that the docs show the methods of a job before those that other modules add to it.
pub mod job;

#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench_support;
pub mod client;
mod clock;
mod connection;
#[cfg(feature = "dashboard")]
pub mod dashboard;
#[cfg(feature = "doctor")]
pub mod doctor;
mod engine;
pub mod error;
pub mod events;
mod failpoint;
pub mod flow;
#[cfg(any(doc, doctest))]
pub mod guides;
mod keys;
pub mod kind;
pub mod options;
pub mod overview;
pub mod partitioned;
pub mod queue;
pub mod scheduler;
#[cfg(feature = "schema")]
pub mod schema;
mod script;
mod state;
mod sync;
mod telemetry;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod wire;
pub mod worker;

/// The samples of the pages in `docs/` compile with the tests.
#[cfg(all(doctest, feature = "dashboard", feature = "otel"))]
mod pages {
    #[doc = include_str!("../docs/cancellation.md")]
    mod cancellation {}

    #[doc = include_str!("../docs/dashboard.md")]
    mod dashboard {}

    #[doc = include_str!("../docs/schedulers.md")]
    mod schedulers {}

    #[doc = include_str!("../docs/servers.md")]
    mod servers {}

    #[doc = include_str!("../docs/telemetry.md")]
    mod telemetry {}
}

#[doc(inline)]
pub use client::{Client, ConnectOptions};
#[doc(inline)]
pub use error::{Error, Halt, Result};
#[doc(inline)]
pub use events::QueueEvents;
#[doc(inline)]
pub use flow::{FlowNode, FlowProducer};
#[doc(inline)]
pub use job::{Job, JobRef, JobState};
#[doc(inline)]
pub use kind::JobKind;
#[doc(inline)]
pub use options::{Backoff, Deduplication, JobOptions, KeepJobs};
#[doc(inline)]
pub use partitioned::Partitioned;
#[doc(inline)]
pub use queue::{NewJob, Queue};
#[doc(inline)]
pub use scheduler::Repeat;
#[cfg(feature = "tls")]
pub use tokio_rustls::rustls;
#[doc(inline)]
pub use worker::{ManualWorker, Router, State, Worker};
