//! The same operations done by BullMQ and by oxmq, compared in what they answer and in what they store.
//!
//! - [`ops`]: an operation and its answer, and the trait [`Side`](ops::Side) of whoever does it.
//! - [`node_side`]: BullMQ 5.81.5 or 6.7.0 as a side, by way of `node/driver.mjs`.
//! - [`oxmq_side`]: oxmq as a side, through what its users see.
//! - [`scenarios`]: the table, by capability. Each scenario checks one rule of the protocol.
//! - [`twin`]: plays a scenario on two sides under one clock and compares after each step.
//! - [`generate`]: random scenarios, shrunk when the sides part.
//!
//! `node_twins` shows that the comparison sees what it should, `oxmq_twins` that oxmq does what BullMQ does, and `mixed`
//! lets both work on one queue at once. `TWIN_TRACE=1 cargo test … -- --nocapture` prints each step with
//! its answer; `TWIN_SEED` and `TWIN_CASES` repeat and extend a random run. BullMQ is installed by `make setup`.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::disallowed_methods)]

pub mod generate;
pub mod node_side;
pub mod ops;
pub mod oxmq_side;
pub mod scenarios;
pub mod twin;

mod coming_from_node;
#[cfg(feature = "cron")]
mod cron;
#[cfg(feature = "schema")]
mod declared;
mod differences;
mod expiring;
mod fairness;
mod mixed;
mod node_twins;
mod overlap;
mod oxmq_twins;
mod revival;
mod schedulers;
mod telemetry;
