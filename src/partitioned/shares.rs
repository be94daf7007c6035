//! Divides limits among partitions, and decides to which they have to be written. Without I/O.

use crate::engine::{GlobalConcurrency, PartitionSettings};
use crate::error::{Error, Result};

/// The limits of one partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) concurrency: Option<u32>,
    /// How many jobs in how many ms.
    pub(super) rate_limit: Option<(u64, u64)>,
}

/// Returns the limits of a partition, one of `of`.
pub(super) fn limits(settings: &PartitionSettings, partition: usize, of: usize) -> Limits {
    let concurrency = settings.concurrency.map(|limit| match limit {
        GlobalConcurrency::Each(jobs) => jobs,
        GlobalConcurrency::Total(jobs) => u32::try_from(share(jobs.into(), partition, of)).unwrap_or(u32::MAX),
    });
    let rate_limit = settings.rate_limit.map(|(max, window)| (share(max, partition, of), window));
    Limits { concurrency, rate_limit }
}

/// Refuses limits of which some of `of` partitions would get nothing.
pub(super) fn check(settings: &PartitionSettings, of: usize) -> Result<()> {
    let has_share = |total: u64| total >= of as u64;
    if matches!(settings.concurrency, Some(GlobalConcurrency::Total(jobs)) if !has_share(jobs.into())) {
        return Err(Error::invalid(
            "set_global_concurrency",
            format!("it must be at least 1 for each of {of} partitions"),
        ));
    }
    if matches!(settings.rate_limit, Some((max, _)) if !has_share(max)) {
        return Err(Error::invalid(
            "set_global_rate_limit",
            format!("it must be at least 1 for each of {of} partitions"),
        ));
    }
    Ok(())
}

/// Returns the share of one partition; the remainder goes to the first ones.
fn share(total: u64, partition: usize, of: usize) -> u64 {
    let of = of.max(1) as u64;
    total / of + u64::from((partition as u64) < total % of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_the_whole() {
        for (total, of) in [(1, 1), (16, 16), (17, 16), (1_000, 7), (u64::MAX, 1_000)] {
            let sum: u128 = (0..of).map(|partition| u128::from(share(total, partition, of))).sum();
            assert_eq!(sum, u128::from(total), "{total} among {of}");
        }
    }

    #[test]
    fn a_limit_that_leaves_some_with_nothing_is_refused() {
        let total =
            |jobs| PartitionSettings { concurrency: Some(GlobalConcurrency::Total(jobs)), ..Default::default() };
        assert!(check(&total(4), 4).is_ok());
        assert!(check(&total(3), 4).is_err());
        let each = PartitionSettings { concurrency: Some(GlobalConcurrency::Each(1)), ..Default::default() };
        assert!(check(&each, 1_000).is_ok());
        let rate = PartitionSettings { rate_limit: Some((3, 1_000)), ..Default::default() };
        assert!(check(&rate, 4).is_err());
        assert_eq!(limits(&rate, 0, 2), Limits { concurrency: None, rate_limit: Some((2, 1_000)) });
    }
}
