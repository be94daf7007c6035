//! The options that callers may set, with their defaults and ranges.
//!
//! [`JobOptions`] has those of a job; [`Backoff`], [`Deduplication`], [`KeepJobs`], [`ParentRef`] and [`OnChildFailure`] are
//! values of its setters. [`Retry`], [`FailedAttempt`] and [`Decides`] belong to retry policies, and [`JobFilter`] selects
//! jobs. The options of a worker are on [`WorkerBuilder`](crate::worker::WorkerBuilder), those of a queue on
//! [`QueueBuilder`](crate::queue::QueueBuilder), those of the connection on [`ConnectOptions`](crate::ConnectOptions).

pub(crate) mod backoff;
mod dedup;
mod filter;
mod from_json;
mod job;
pub(crate) mod keep;
mod names;
mod parent;
mod retry;
mod worker;

use std::ops::RangeInclusive;
use std::time::Duration;

pub use backoff::Backoff;
pub use dedup::Deduplication;
pub use filter::JobFilter;
pub use job::JobOptions;
#[cfg(test)]
pub(crate) use job::OfKind;
pub(crate) use job::{MAX_PRIORITY, check_delay, check_priority};
pub use keep::KeepJobs;
pub(crate) use names::{OptionName, named_options};
pub use parent::{OnChildFailure, ParentRef};
pub use retry::{Decided, Decides, FailedAttempt, Retry};
pub(crate) use worker::{WorkerOptions, check_rate_limit, only_if};

use crate::error::{Error, Result};

/// The shortest duration for options in which zero makes no sense.
pub(crate) const SHORTEST: Duration = Duration::from_millis(1);

/// An hour: the maximum for options that may hide a fault for as long.
pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

/// A year: the maximum for what the server is asked to remember. Waits that may be longer are practically endless and
/// are shortened to a year, which the clocks of all systems can add to the present time.
pub(crate) const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);

/// Checks that a duration is in its range.
pub(crate) fn check_span(option: &'static str, span: Duration, range: RangeInclusive<Duration>) -> Result<()> {
    if range.contains(&span) {
        return Ok(());
    }
    let (least, most) = range.into_inner();
    let named = |span: Duration| match span {
        YEAR => "a year".to_owned(),
        HOUR => "an hour".to_owned(),
        other => format!("{other:?}"),
    };
    if most == Duration::MAX {
        return Err(Error::invalid(option, format!("it must be at least {}", named(least))));
    }
    Err(Error::invalid(option, format!("it must lie between {} and {}", named(least), named(most))))
}

/// 2^53 − 1: the largest integer that JavaScript and Lua count exactly.
pub(crate) const MAX_SAFE: u64 = (1 << 53) - 1;
