//! Drops an add while another job of the same kind is waiting or running.

use std::time::Duration;

use super::MAX_SAFE;
use crate::clock::millis;
use crate::error::{Error, Result};
use crate::keys;

/// Drops an add while a job with the same deduplication id, its owner, exists.
///
/// | mode | written as | the window ends |
/// |---|---|---|
/// | simple | `new(id)` | when the owner completes, finally fails or is removed |
/// | throttle | `.ttl(t)` | `t` after the owner was added |
/// | extending throttle | `.ttl(t).extend()` | `t` after the last attempt to add |
/// | debounce | `.ttl(t).extend().replace()`, and a delay | as above; a *delayed* owner is exchanged for the new job |
/// | reschedule | `.reschedule()` | as above; a *delayed* owner gets the new delay |
/// | keep last | `.keep_last_if_active()` | when the owner ends; then the last suppressed job is run |
///
/// ```no_run
/// # async fn demo(queue: oxmq::Queue<String, ()>) -> oxmq::Result<()> {
/// use std::time::Duration;
/// use oxmq::Deduplication;
///
/// // However often it is asked for, one job in a minute, with the newest data.
/// let wait = Duration::from_secs(60);
/// let newest = Deduplication::new("index-7").ttl(wait).extend().replace();
/// queue.add("build-index", "7".into()).deduplication(newest).delay(wait).await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Deduplication {
    pub(crate) id: String,
    pub(crate) ttl: Option<Duration>,
    pub(crate) extend: bool,
    pub(crate) replace: bool,
    pub(crate) keep_last_if_active: bool,
    pub(crate) reschedule: bool,
}

impl Deduplication {
    /// Creates a deduplication by this id, any text of up to 1,024 bytes.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), ttl: None, extend: false, replace: false, keep_last_if_active: false, reschedule: false }
    }

    /// Ends the window this long after the owner was added, even if the owner has not finished. Rounded up to
    /// milliseconds. Default: none; more than 0.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Restarts the time to live with every attempt to add. Has an effect only with [`ttl`](Self::ttl).
    pub fn extend(mut self) -> Self {
        self.extend = true;
        self
    }

    /// Replaces an owner that is still delayed by the new job.
    pub fn replace(mut self) -> Self {
        self.replace = true;
        self
    }

    /// Stores the last add dropped while the owner was active, and adds it when the owner ends.
    #[doc(alias = "keepLastIfActive")]
    pub fn keep_last_if_active(mut self) -> Self {
        self.keep_last_if_active = true;
        self
    }

    /// Gives an owner that is still delayed the delay of the new job. Unknown to BullMQ 5.
    pub fn reschedule(mut self) -> Self {
        self.reschedule = true;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        keys::check_deduplication_id(&self.id)?;
        // A time to live of 0 would mean none in Node: a window as long as the owner exists.
        if self.ttl.is_some_and(|ttl| !(1..=MAX_SAFE).contains(&millis(ttl))) {
            return Err(Error::invalid("deduplication.ttl", "it must lie between 1 and 2^53 − 1 milliseconds"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_and_a_ttl_out_of_range_are_refused() {
        let with_ttl = |ttl| Deduplication::new("a:b é").ttl(ttl).check();
        assert!(Deduplication::new("a:b é").extend().replace().keep_last_if_active().reschedule().check().is_ok());
        assert!(with_ttl(Duration::from_millis(1)).is_ok());
        assert!(with_ttl(Duration::from_nanos(1)).is_ok());
        assert!(with_ttl(Duration::ZERO).is_err());
        assert!(with_ttl(Duration::MAX).is_err());
        assert!(Deduplication::new("").check().is_err());
    }
}
