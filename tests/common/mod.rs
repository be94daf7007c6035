//! Support for the integration tests: a real redis-server, a proxy that misbehaves on request, BullMQ in a Node
//! process, waiting for conditions, and dumps of everything a queue keeps in Redis.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::disallowed_methods)]

pub mod certificates;
pub mod check;
pub mod cluster;
pub mod dump;
pub mod eventually;
pub mod failovers;
pub mod fixture;
pub mod gate;
pub mod log;
pub mod node;
pub mod proxy;
pub mod sentinel;
pub mod server;
pub mod time;
pub mod witness;
