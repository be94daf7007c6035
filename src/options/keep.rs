//! Which finished jobs are kept.

use std::time::Duration;

use super::MAX_SAFE;
use crate::error::{Error, Result};

/// Which finished jobs are kept, for how long and how many.
///
/// `true` removes a job as soon as it has finished, `false` keeps all, a number keeps that many of the newest, and the
/// setters below can be combined. Old jobs are removed only when another job finishes into the same state; nothing runs
/// in the background.
///
/// ```
/// use std::time::Duration;
/// use oxmq::{JobOptions, KeepJobs};
///
/// JobOptions::default().remove_on_complete(true);
/// JobOptions::default().remove_on_complete(1_000);
/// JobOptions::default().remove_on_fail(KeepJobs::new().count(5_000).age(Duration::from_secs(24 * 3600)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[must_use]
pub struct KeepJobs {
    /// `None` keeps all.
    pub(crate) count: Option<u64>,
    pub(crate) age: Option<Duration>,
    pub(crate) limit: Option<u64>,
    pub(crate) form: Form,
}

/// The form in which the option was given; it is stored in this form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Flag,
    Number,
    Object,
}

impl KeepJobs {
    /// Keeps all; the setters limit this.
    pub const fn new() -> Self {
        Self { count: None, age: None, limit: None, form: Form::Object }
    }

    /// Keeps this many of the newest; 0 removes each job as soon as it has finished. Default: all.
    pub const fn count(mut self, count: u64) -> Self {
        self.count = Some(count);
        self.form = Form::Object;
        self
    }

    /// Keeps jobs no longer than this, to the millisecond. Default: for ever. It is stored in seconds, with a fraction
    /// if needed.
    pub const fn age(mut self, age: Duration) -> Self {
        self.age = Some(age);
        self.form = Form::Object;
        self
    }

    /// Limits how many jobs one finishing job may remove because of their age. Default: 1,000.
    pub const fn limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self.form = Form::Object;
        self
    }

    /// Returns how many of the newest are kept; `None` keeps all.
    #[must_use]
    pub const fn max_count(self) -> Option<u64> {
        self.count
    }

    /// Returns how long jobs are kept; `None` keeps them for ever.
    #[must_use]
    pub const fn max_age(self) -> Option<Duration> {
        self.age
    }

    /// Returns whether finished jobs are never removed.
    pub(crate) fn keeps_all(self) -> bool {
        self.count.is_none() && self.age.is_none()
    }

    /// Returns whether the job itself is removed at once.
    pub(crate) fn removes_at_once(self) -> bool {
        self.count == Some(0)
    }

    pub(crate) fn check(self, option: &'static str) -> Result<()> {
        let numbers = [("count", self.count), ("limit", self.limit), ("age", self.age.map(|age| age.as_secs()))];
        for (name, number) in numbers {
            if number.is_some_and(|number| number > MAX_SAFE) {
                return Err(Error::invalid(option, format!("its {name} must be less than 2^53")));
            }
        }
        if self.limit == Some(0) {
            return Err(Error::invalid(option, "its limit must not be 0"));
        }
        Ok(())
    }
}

impl Default for KeepJobs {
    fn default() -> Self {
        Self::new()
    }
}

impl From<bool> for KeepJobs {
    /// Removes at once for `true`, keeps all for `false`.
    fn from(remove: bool) -> Self {
        Self { count: remove.then_some(0), form: Form::Flag, ..Self::new() }
    }
}

impl From<u64> for KeepJobs {
    fn from(count: u64) -> Self {
        Self { count: Some(count), form: Form::Number, ..Self::new() }
    }
}

impl From<u32> for KeepJobs {
    fn from(count: u32) -> Self {
        u64::from(count).into()
    }
}

impl From<usize> for KeepJobs {
    fn from(count: usize) -> Self {
        u64::try_from(count).unwrap_or(u64::MAX).into()
    }
}

impl From<i32> for KeepJobs {
    /// Accepts the type of a bare number in Rust. A negative one keeps all, as in Node.
    fn from(count: i32) -> Self {
        Self { count: u64::try_from(count).ok(), form: Form::Number, ..Self::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_forms_mean_what_node_means() {
        assert!(KeepJobs::from(true).removes_at_once());
        assert!(KeepJobs::from(0).removes_at_once());
        assert_eq!(KeepJobs::from(false).count, None);
        assert_eq!(KeepJobs::from(-1).count, None);
        assert_eq!(KeepJobs::from(7u64).count, Some(7));
        assert_eq!(KeepJobs::from(7u32), KeepJobs::from(7usize));
    }

    #[test]
    fn numbers_stay_exact() {
        assert!(KeepJobs::from(MAX_SAFE).check("remove_on_fail").is_ok());
        assert!(KeepJobs::from(MAX_SAFE + 1).check("remove_on_fail").is_err());
        assert!(KeepJobs::new().age(Duration::MAX).check("remove_on_fail").is_err());
        assert!(KeepJobs::new().limit(0).check("remove_on_fail").is_err());
    }
}
