//! Waits for a condition instead of for a fixed time.

use std::future::Future;
use std::time::{Duration, Instant};

/// How long [`eventually`] waits at most: far more than a busy machine needs, since it costs nothing when all is well.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The result of a condition: `None` and `false` mean "not yet".
pub trait Condition {
    /// The value that the caller gets in the end.
    type Output;
    /// Returns the value, once there is one.
    fn met(self) -> Option<Self::Output>;
}

impl Condition for bool {
    type Output = ();
    fn met(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Condition for Option<T> {
    type Output = T;
    fn met(self) -> Option<T> {
        self
    }
}

/// Polls `condition` until it is met and returns what it found.
///
/// # Panics
///
/// When it is not met within [`DEADLINE`]; the message names `what`.
pub async fn eventually<F, Fut, C>(what: &str, condition: F) -> C::Output
where
    F: FnMut() -> Fut,
    Fut: Future<Output = C>,
    C: Condition,
{
    eventually_within(DEADLINE, what, condition).await
}

/// Waits like [`eventually`], with a deadline of its own.
pub async fn eventually_within<F, Fut, C>(deadline: Duration, what: &str, mut condition: F) -> C::Output
where
    F: FnMut() -> Fut,
    Fut: Future<Output = C>,
    C: Condition,
{
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        let left = deadline.saturating_sub(start.elapsed());
        // A condition that hangs counts as one that is not met.
        if let Ok(answer) = tokio::time::timeout(left, condition()).await
            && let Some(found) = answer.met()
        {
            return found;
        }
        assert!(start.elapsed() < deadline, "not within {deadline:?}: {what}");
        tokio::time::sleep(pause.min(left)).await; // looks again
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Waits like [`eventually`] where nothing is asynchronous, as for other processes.
///
/// # Panics
///
/// When it is not met within [`DEADLINE`]; the message names `what`.
pub fn until(what: &str, mut is_met: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_met() {
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10)); // looks again
    }
}

#[tokio::test]
async fn a_condition_is_awaited() {
    let mut calls = 0;
    let found = eventually("three calls", || {
        calls += 1;
        let seen = calls;
        async move { (seen == 3).then_some(seen) }
    })
    .await;
    assert_eq!(found, 3);
}

#[tokio::test]
#[should_panic(expected = "the moon is cheese")]
async fn a_condition_never_met_is_named() {
    eventually_within(Duration::from_millis(20), "the moon is cheese", || async { false }).await;
}
