//! The commands: a file for each, or for a few that are similar.

pub(crate) mod add;
pub(crate) mod bulk;
pub(crate) mod cancel;
pub(crate) mod doctor;
pub(crate) mod flow;
pub(crate) mod jobs;
pub(crate) mod logs;
pub(crate) mod papers;
pub(crate) mod queues;
pub(crate) mod schedulers;
pub(crate) mod serve;
pub(crate) mod show;
pub(crate) mod steer;
pub(crate) mod tail;
pub(crate) mod top;
pub(crate) mod transfer;
pub(crate) mod types;
pub(crate) mod workers;
