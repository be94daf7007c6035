//! A request: who sends it, what is asked for, whether a form is ours, and how it is refused.

pub(super) mod filter;
pub(super) mod forms;
pub(super) mod links;
pub(super) mod problem;
pub(super) mod visit;
