//! BullMQ's fields and shapes ⇄ Rust; pure.

#[cfg(test)]
mod corpus;
pub(crate) mod event;
pub(crate) mod job;
mod json;
pub(crate) mod options;

pub use event::QueueEvent;
pub use json::JsonText;
