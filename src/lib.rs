#![doc = include_str!("../README.md")]
//!
//! # How these pages are laid out
//!
//! The root has what every program needs; each module below has everything about its subject.
//!
//! | to … | start with | more in |
//! | --- | --- | --- |
//! | connect | [`Client`], [`ConnectOptions`] | [`client`] |
//! | add, read and administer jobs | [`Queue`], [`NewJob`], [`JobOptions`] | [`queue`], [`options`] |
//! | read or change one job | [`Job`], [`JobRef`] | [`job`] |
//! | bind name, data and result to a type | [`JobKind`] | [`kind`] |
//! | process jobs | [`Worker`], [`Router`], [`State`], [`Halt`] | [`worker`], [`worker::layer`] |
//! | fetch jobs one at a time | [`ManualWorker`] | [`worker`] |
//! | add trees of jobs | [`FlowProducer`], [`FlowNode`] | [`flow`] |
//! | repeat jobs | [`Queue::upsert_job_scheduler`], [`Repeat`] | [`scheduler`] |
//! | follow events | [`QueueEvents`], [`worker::WorkerEvents`] | [`events`] |
//! | spread a queue over a cluster | [`Partitioned`] | [`partitioned`] |
//! | see all queues at a glance | [`Client::find_queues`] | [`overview`] |
//! | learn why a call failed | [`Error`], [`error::Reason`] | [`error`] |
//! | test your program | `testing::perform`, `testing::TestQueue` | [`testing`](https://docs.rs/oxmq/latest/oxmq/testing/), a feature |
//! | give queues web pages | `dashboard::Dashboard` | [`dashboard`](https://docs.rs/oxmq/latest/oxmq/dashboard/), a feature |
//! | find and mend what is wrong | `Client::doctor` | [`doctor`](https://docs.rs/oxmq/latest/oxmq/doctor/), a feature |
//! | tell Node the types of your jobs | `schema::JobKinds` | [`schema`](https://docs.rs/oxmq/latest/oxmq/schema/), a feature |
//!
//! # Guides
//!
//! | subject | guide |
//! | --- | --- |
//! | what replaces each part of BullMQ for Node, and how to move a live queue | [coming from Node](guides::coming_from_node) |
//! | the same for `bullmq-official`, `bullmq-rs` and apalis | [coming from Rust](guides::coming_from_rust) |
//! | the states of a job, and what moves it between them | [states](guides::states) |
//! | what may run twice, and how to make that harmless | [retries and idempotency](guides::retries) |
//! | which timeout to set to what | [timeouts and locks](guides::timeouts) |
//! | how pods end without losing work, and how to probe them | [Kubernetes](guides::kubernetes) |
//! | how to set up the server, and what can be lost | [Redis](guides::redis) |
//! | how much memory, how many connections, how many jobs a second | [capacity and memory](guides::capacity) |
//! | what to watch, with alerts to copy | [observability](guides::observability) |
//! | how to spread one queue over many servers | [partitions](guides::partitions) |
//! | how one job starts thousands of others | [large fan-outs](guides::fan_out) |
//! | how to test your own program | [testing](guides::testing) |
//! | what to set for security, and what oxmq protects | [security](guides::security) |
//! | what to do about a problem | [troubleshooting by symptom](guides::troubleshooting) |
//!
//! # Names
//!
//! Names are BullMQ's in `snake_case`; a search for BullMQ's own spelling finds them, too. An item documents how many round
//! trips it makes if it is not one, and what is atomic.
//!
//! # Features
//!
//! - `cron` (on by default): without it a worker cannot make the next run of a scheduler with a cron pattern.
//! - `otel`: trace context in jobs, one trace over Node and Rust.
//! - `metrics`: metrics through the `metrics` facade.
//! - [`schema`](https://docs.rs/oxmq/latest/oxmq/schema/): writes JSON Schema and TypeScript types of the kinds of jobs.
//! - [`testing`](https://docs.rs/oxmq/latest/oxmq/testing/): a server, a queue, a clock and faults for the tests of your program.
//! - `tower`: any layer of `tower` around attempts.
//! - [`doctor`](https://docs.rs/oxmq/latest/oxmq/doctor/): finds, explains and repairs broken queues.
//! - `cli`: the [binary `oxmq`](https://github.com/oxmq/oxmq/blob/main/docs/cli.md), for queues and jobs in the terminal; it adds
//!   nothing to the library.
//! - [`dashboard`](https://docs.rs/oxmq/latest/oxmq/dashboard/): web pages that show and change queues, for any axum app.
//! - `tls`: `rediss://` addresses, with rustls and the root certificates of the operating system.

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
pub use options::{Backoff, Deduplication, JobFilter, JobOptions, KeepJobs};
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
