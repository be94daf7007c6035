//! What goes on between requests, for all visitors: searching for queues, reading them, examinations, and actions on
//! many jobs.

pub(super) mod catalog;
pub(super) mod checkup;
pub(super) mod survey;
pub(super) mod works;
