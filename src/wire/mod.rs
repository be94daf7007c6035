//! Translates between BullMQ's stored fields and Rust. Without I/O.

#[cfg(test)]
mod corpus;
pub(crate) mod event;
pub(crate) mod event_id;
pub(crate) mod job;
pub(crate) mod json;
pub(crate) mod nesting;
pub(crate) mod options;

pub use event::QueueEvent;
pub use event_id::EventId;
pub use json::JsonText;
