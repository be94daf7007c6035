//! How values are shown: moments, JSON, the options of a job, figures per minute.

pub(super) mod chart;
pub(super) mod json;
pub(super) mod moment;
pub(super) mod words;
