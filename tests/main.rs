//! One binary for all integration tests, so that the support code is built once.
#![allow(clippy::unwrap_used, reason = "clippy knows functions with #[test] only, not what they share")]

mod acl;
mod circles;
#[cfg(feature = "cli")]
mod cli;
mod cluster;
mod common;
#[cfg(feature = "dashboard")]
mod dashboard;
mod events;
mod examples;
mod faults;
mod flow;
mod guides;
mod interop;
mod jobs;
mod layers;
mod mistakes;
mod options;
mod package;
mod partitioned;
mod readable;
mod rim;
mod sentinel;
mod testing;
#[cfg(feature = "cli")]
mod times;
mod worker;
