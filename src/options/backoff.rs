//! How long a failed job waits before its next attempt.

use std::borrow::Cow;
use std::time::Duration;

use super::MAX_SAFE;
use crate::clock::millis;
use crate::error::{Error, Result};

/// The wait between a failed attempt and the next one.
///
/// ```
/// use std::time::Duration;
/// use oxmq::Backoff;
///
/// let doubling = Backoff::exponential(Duration::from_secs(1)).jitter(0.5);
/// let constant: Backoff = Duration::from_secs(5).into();
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use]
#[doc(alias = "type")]
pub struct Backoff {
    pub(crate) kind: BackoffKind,
    /// Milliseconds, as a JavaScript number; peers store fractions and negative numbers too.
    pub(crate) delay: Option<f64>,
    pub(crate) jitter: Option<f64>,
    /// The longest wait, in ms. An option of oxmq: Node stores it and ignores it.
    pub(crate) max_delay: Option<f64>,
}

/// BullMQ's `type`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BackoffKind {
    Fixed,
    Exponential,
    /// Any other name: a strategy that the worker defines.
    Custom(Cow<'static, str>),
}

impl BackoffKind {
    pub(crate) fn from_name(name: Cow<'static, str>) -> Self {
        match &*name {
            "fixed" => Self::Fixed,
            "exponential" => Self::Exponential,
            _ => Self::Custom(name),
        }
    }
}

impl Backoff {
    fn new(kind: BackoffKind, delay: Option<Duration>) -> Self {
        Self { kind, delay: delay.map(|span| number(millis(span))), jitter: None, max_delay: None }
    }

    /// Waits the same time before each retry; zero retries at once.
    pub fn fixed(delay: Duration) -> Self {
        Self::new(BackoffKind::Fixed, Some(delay))
    }

    /// Waits `delay` after the first failure, then twice as long after each further one. Without a
    /// [`max_delay`](Self::max_delay) there is no upper limit.
    pub fn exponential(delay: Duration) -> Self {
        Self::new(BackoffKind::Exponential, Some(delay))
    }

    /// Names a strategy that the worker defines. `fixed` and `exponential` mean the built-in ones.
    pub fn custom(name: impl Into<String>) -> Self {
        Self::new(BackoffKind::from_name(Cow::Owned(name.into())), None)
    }

    /// Sets the base of the wait. A custom strategy may read it; the built-in ones get it in their constructors.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(number(millis(delay)));
        self
    }

    /// Sets which part of the wait is random: 0.25 draws it between 75 % and 100 %. Default: 0; 0 to 1.
    ///
    /// Custom strategies ignore it.
    pub fn jitter(mut self, jitter: f64) -> Self {
        self.jitter = Some(jitter);
        self
    }

    /// Limits the wait of the built-in strategies; a jitter only shortens it. Less than 2^53 ms. Default: no limit.
    ///
    /// ```
    /// use std::time::Duration;
    /// use oxmq::Backoff;
    ///
    /// // 1 s, 2 s, 4 s … and never more than an hour.
    /// let patient = Backoff::exponential(Duration::from_secs(1)).max_delay(Duration::from_secs(3_600));
    /// ```
    ///
    /// It is stored beside BullMQ's own members, as `maxDelay`. BullMQ stores it and ignores it: if the failed attempt
    /// ran in its worker, the wait has no limit.
    pub fn max_delay(mut self, longest: Duration) -> Self {
        self.max_delay = Some(number(millis(longest)));
        self
    }

    /// Returns the strategy's name: `fixed`, `exponential` or that of a custom one.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.kind {
            BackoffKind::Fixed => "fixed",
            BackoffKind::Exponential => "exponential",
            BackoffKind::Custom(name) => name,
        }
    }

    /// Returns the base of the wait, for custom strategies. `None` if the producer gave none, or not a duration.
    #[must_use]
    pub fn base_delay(&self) -> Option<Duration> {
        self.delay.filter(|ms| *ms >= 0.0).map(|ms| Duration::from_millis(whole(ms)))
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.name().is_empty() {
            return Err(Error::invalid("backoff.custom", "its name must not be empty"));
        }
        if self.delay.is_some_and(|ms| ms > number(MAX_SAFE)) {
            return Err(Error::invalid("backoff.delay", "it must be less than 2^53 milliseconds"));
        }
        if self.max_delay.is_some_and(|ms| ms > number(MAX_SAFE)) {
            return Err(Error::invalid("backoff.max_delay", "it must be less than 2^53 milliseconds"));
        }
        if self.jitter.is_some_and(|jitter| !(0.0..=1.0).contains(&jitter)) {
            return Err(Error::invalid("backoff.jitter", "it must lie between 0 and 1"));
        }
        Ok(())
    }
}

impl From<Duration> for Backoff {
    fn from(delay: Duration) -> Self {
        Self::fixed(delay)
    }
}

/// Returns the wait in ms after failure number `attempt` (the first is 1); `random` is in [0, 1).
///
/// 0 means to retry at once. `None` means that the strategy is a custom one. The arithmetic is JavaScript's, in
/// doubles, so that both sides wait equally long; the result is limited to exact integers, and a negative wait becomes
/// 0.
pub(crate) fn next_delay(backoff: &Backoff, attempt: u32, random: f64) -> Option<u64> {
    let delay = backoff.delay.unwrap_or(0.0);
    let base = match backoff.kind {
        BackoffKind::Fixed => delay,
        BackoffKind::Exponential => {
            // Above 2^1023 a double is infinite, and infinity times zero is not a number.
            let doublings = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX).min(1023);
            round(2f64.powi(doublings) * delay).min(f64::MAX)
        }
        BackoffKind::Custom(_) => return None,
    };
    // A limit that is not a number is ignored.
    let base = backoff.max_delay.map_or(base, |longest| base.min(longest));
    let jitter = backoff.jitter.unwrap_or(0.0).clamp(0.0, 1.0);
    let wait = if jitter > 0.0 { (random * base * jitter + base * (1.0 - jitter)).floor() } else { base };
    Some(whole(wait))
}

/// Rounds as `Math.round` does: half goes up.
fn round(x: f64) -> f64 {
    let below = x.floor();
    if x - below >= 0.5 { below + 1.0 } else { below }
}

/// Rounds down, to between 0 and 2^53 − 1; 0 for what is not a number.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before; NaN becomes 0")]
fn whole(ms: f64) -> u64 {
    ms.clamp(0.0, number(MAX_SAFE)) as u64
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53; `check` refuses more")]
fn number(ms: u64) -> f64 {
    ms as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn without_jitter_the_wait_is_fixed_or_doubles() {
        for (backoff, waits) in [
            (Backoff::fixed(ms(1000)), [1000, 1000, 1000, 1000]),
            (Backoff::exponential(ms(1000)), [1000, 2000, 4000, 8000]),
            (Backoff::exponential(ms(0)), [0, 0, 0, 0]),
            (Backoff::from(ms(7)), [7, 7, 7, 7]),
            (Backoff { delay: Some(0.3), ..Backoff::exponential(ms(0)) }, [0, 1, 1, 2]),
            (Backoff { delay: Some(-5.0), ..Backoff::fixed(ms(0)) }, [0, 0, 0, 0]),
            (Backoff { delay: None, ..Backoff::fixed(ms(0)) }, [0, 0, 0, 0]),
        ] {
            for (attempt, wait) in (1..).zip(waits) {
                assert_eq!(next_delay(&backoff, attempt, 0.99), Some(wait), "{backoff:?} {attempt}");
            }
        }
        assert_eq!(next_delay(&Backoff::custom("mine"), 1, 0.5), None);
    }

    #[test]
    fn no_wait_is_longer_than_the_longest() {
        let capped = Backoff::exponential(ms(1000)).max_delay(ms(5000));
        for (attempt, wait) in [(1, 1000), (2, 2000), (3, 4000), (4, 5000), (u32::MAX, 5000)] {
            assert_eq!(next_delay(&capped, attempt, 0.5), Some(wait), "{attempt}");
        }
        // The jitter is applied to the limited wait.
        let jittered = capped.jitter(0.5);
        assert_eq!((next_delay(&jittered, 9, 0.0), next_delay(&jittered, 9, 0.999)), (Some(2500), Some(4997)));
        assert_eq!(next_delay(&Backoff::fixed(ms(9)).max_delay(ms(5)), 1, 0.5), Some(5));
        let odd = Backoff { max_delay: Some(f64::NAN), ..Backoff::fixed(ms(9)) };
        assert_eq!(next_delay(&odd, 1, 0.5), Some(9));
    }

    #[test]
    fn node_waits_as_long() {
        let json = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/backoff.json"));
        let cases: Vec<(String, f64, f64, u32, f64, f64)> = serde_json::from_str(json).unwrap();
        assert!(cases.len() > 100);
        for (kind, delay, jitter, attempt, random, wait) in cases {
            let backoff = Backoff {
                kind: BackoffKind::from_name(kind.into()),
                delay: Some(delay),
                jitter: Some(jitter),
                max_delay: None,
            };
            assert_eq!(next_delay(&backoff, attempt, random), Some(whole(wait)), "{backoff:?} {attempt} {random}");
        }
    }

    #[test]
    fn jitter_takes_its_part_at_random() {
        let almost_one = 1.0 - f64::EPSILON;
        let fixed = Backoff::fixed(ms(1000)).jitter(0.5);
        assert_eq!((next_delay(&fixed, 1, 0.0), next_delay(&fixed, 1, almost_one)), (Some(500), Some(999)));
        let doubling = Backoff::exponential(ms(1000)).jitter(0.5);
        assert_eq!((next_delay(&doubling, 3, 0.0), next_delay(&doubling, 3, almost_one)), (Some(2000), Some(3999)));
        let all = Backoff::exponential(ms(1)).jitter(1.0);
        assert_eq!(next_delay(&all, u32::MAX, 0.0), Some(0));
        assert_eq!(next_delay(&all, u32::MAX, 0.5), Some(MAX_SAFE));
    }

    #[test]
    fn the_names_of_the_built_in_strategies_are_theirs() {
        assert_eq!(Backoff::custom("fixed").delay(ms(5)), Backoff::fixed(ms(5)));
        assert_eq!(Backoff::custom("exponential").delay(ms(5)), Backoff::exponential(ms(5)));
        assert_eq!(Backoff::custom("mine").delay(ms(5)).base_delay(), Some(ms(5)));
    }

    #[test]
    fn a_jitter_or_delay_out_of_range_is_refused() {
        assert!(Backoff::fixed(ms(5)).jitter(1.0).check().is_ok());
        for bad in [
            Backoff::fixed(ms(5)).jitter(1.01),
            Backoff::fixed(ms(5)).jitter(-0.01),
            Backoff::fixed(ms(5)).jitter(f64::NAN),
            Backoff::fixed(Duration::MAX),
            Backoff::exponential(ms(5)).max_delay(Duration::MAX),
            Backoff::custom(""),
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn waits_have_bounds_and_never_shrink(
            delay in 0u64..=MAX_SAFE,
            jitter in 0.0..=1.0f64,
            attempt in 1u32..2000,
            (less, more) in (0.0..1.0f64, 0.0..1.0f64),
        ) {
            let (less, more) = (less.min(more), less.max(more));
            for plain in [Backoff::fixed(ms(delay)), Backoff::exponential(ms(delay))] {
                let full = next_delay(&plain, attempt, 0.0).unwrap();
                prop_assert!(full <= MAX_SAFE);
                prop_assert!(next_delay(&plain, attempt + 1, 0.0).unwrap() >= full);
                let jittered = plain.jitter(jitter);
                let wait = next_delay(&jittered, attempt, less).unwrap();
                prop_assert!(wait <= full);
                prop_assert!(wait <= next_delay(&jittered, attempt, more).unwrap());
            }
        }

        #[test]
        fn any_stored_backoff_gives_a_wait(delay in any::<f64>(), jitter in any::<f64>(), attempt: u32, random in 0.0..1.0f64) {
            for kind in [BackoffKind::Fixed, BackoffKind::Exponential] {
                let backoff = Backoff { kind, delay: Some(delay), jitter: Some(jitter), max_delay: Some(-jitter) };
                prop_assert!(next_delay(&backoff, attempt, random).unwrap() <= MAX_SAFE);
            }
        }
    }
}
