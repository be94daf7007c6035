//! What the forms do, a file for each kind. A form must come from our own pages, its sender must be permitted to do what
//! it asks for, and it is audited.

pub(super) mod add;
pub(super) mod all_queues;
mod bulk;
mod children;
mod deed;
mod each;
pub(super) mod examine;
pub(super) mod job;
pub(super) mod jobs;
pub(super) mod queue;
pub(super) mod reschedule;
pub(super) mod scheduler;
mod submitted;
pub(super) mod work;
