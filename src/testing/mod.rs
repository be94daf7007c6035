//! Tools for tests of programs that use queues; feature `testing`.
//!
//! - [`perform`] runs a processor once, without a server.
//! - [`TestQueue`] is a queue on a real server, under a prefix of its own and with a clock that the test moves. It
//!   asserts what was [enqueued](TestQueue::assert_enqueued), and [`drain`](TestQueue::drain) runs everything in it,
//!   including delayed jobs.
//! - [`RedisServer`] is a server of the test's own, which can be killed, paused and started again.
//! - [`fail_attempt`], [`lose_lock`] and [`shut_down`] cause faults, as layers.
//!
//! Nothing here is meant for production: it panics where a test has to fail.
#![allow(clippy::missing_panics_doc, reason = "a test that cannot go on fails, and says why")]

mod difference;
mod drain;
mod enqueued;
mod faults;
mod perform;
mod queue;
mod server;

pub use crate::engine::AddedChild;
pub use drain::Drained;
pub use enqueued::Expected;
pub use faults::{fail_attempt, lose_lock, shut_down};
pub use perform::{Performed, TestJob, perform};
pub use queue::TestQueue;
pub use server::{RedisServer, server_version};
#[doc(hidden)]
pub use server::{Running, free_port, fresh_dir, run, server_in};
