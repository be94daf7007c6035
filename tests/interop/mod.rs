//! The same operations done by BullMQ and by oxmq, compared in what they answer and in what they store.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod generate;
pub mod node_side;
pub mod ops;
pub mod scenarios;
pub mod twin;

mod node_twins;
