//! What an attempt comes to that was told to stop: the reason that it was given decides, not only what it answers.

use std::time::Duration;

use tokio::time::Instant;

use crate::clock::millis;
use crate::error::{BoxError, Halt};
use crate::job::{Attempt, CancelReason};

/// The error of an attempt that took longer than its limit.
#[derive(Debug, thiserror::Error)]
#[error("timed out after {} ms", millis(*limit))]
pub(crate) struct TimedOut {
    limit: Duration,
    /// The error that the processor answered with when it was told.
    #[source]
    cause: Option<BoxError>,
}

impl TimedOut {
    fn boxed(limit: Duration, cause: impl Into<Option<BoxError>>) -> BoxError {
        match cause.into().map(<dyn std::error::Error + Send + Sync>::downcast::<Self>) {
            // A limit further in had been over already.
            Some(Ok(inner)) => inner,
            Some(Err(cause)) => Box::new(Self { limit, cause: Some(cause) }),
            None => Box::new(Self { limit, cause: None }),
        }
    }
}

/// Returns how an attempt ends whose time is over: it has failed, whatever it answered. Its error says only whether and
/// when there is another attempt.
pub(crate) fn timed_out(limit: Duration, answer: Option<Halt>) -> Halt {
    match answer {
        Some(Halt::Failed(error)) => Halt::Failed(TimedOut::boxed(limit, error)),
        Some(Halt::RetryAfter(after, error)) => Halt::RetryAfter(after, TimedOut::boxed(limit, error)),
        Some(Halt::Unrecoverable(error)) => Halt::Unrecoverable(TimedOut::boxed(limit, error)),
        // To step back at each timeout would have the job run for ever.
        _ => Halt::Failed(TimedOut::boxed(limit, None)),
    }
}

/// Returns whether the answer of an attempt has its job handed back: it was told that its worker closes, and could not
/// end its work. What it says on purpose, such as [`Halt::Unrecoverable`] or [`Halt::Delayed`], holds.
pub(crate) fn is_handed_back<T>(told: Option<&CancelReason>, answer: &Result<T, Halt>) -> bool {
    told == Some(&CancelReason::Shutdown)
        && matches!(answer, Err(Halt::Failed(_) | Halt::RetryAfter(..) | Halt::Waiting))
}

/// Runs an attempt within a limit. When it is over, the attempt is cancelled, and has `grace` to end by itself. The
/// error is that of the task around the processor, such as a panic.
pub(crate) async fn within<T, E>(
    running: impl Future<Output = Result<Result<T, Halt>, E>>,
    limit: Duration,
    grace: Duration,
    attempt: Option<&Attempt>,
) -> Result<Result<T, Halt>, E> {
    tokio::pin!(running);
    let begun = Instant::now();
    let ended = match tokio::time::timeout(limit, &mut running).await {
        Ok(ended) if begun.elapsed() < limit => return ended,
        // An attempt that computes without an await is only found to be late when it returns.
        ended => ended,
    };
    if let Some(attempt) = attempt {
        attempt.cancel(CancelReason::Timeout);
    }
    let told = attempt.and_then(Attempt::cancel_reason);
    let ended = if ended.is_ok() { ended } else { tokio::time::timeout(grace, running).await };
    Ok(Err(match ended {
        Ok(Err(error)) => return Err(error),
        // Another reason came first, and decides about the error.
        Ok(Ok(Err(halt))) if told.is_some_and(|told| *told != CancelReason::Timeout) => halt,
        Ok(Ok(Err(halt))) => timed_out(limit, Some(halt)),
        // What an attempt returns after its limit is not used.
        Ok(Ok(Ok(_))) | Err(_) => timed_out(limit, None),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_timeout_every_answer_is_one() {
        let limit = Duration::from_millis(200);
        let own = || std::io::Error::other("cleaned up");
        let late = |halt| match timed_out(limit, Some(halt)) {
            Halt::Failed(error) | Halt::RetryAfter(_, error) | Halt::Unrecoverable(error) => error,
            moved => panic!("{moved:?}"),
        };
        let cause = |error: &BoxError| error.source().is_some_and(|cause| cause.is::<std::io::Error>());
        for halt in [Halt::failed(own()), Halt::retry_after(Duration::from_secs(1), own()), Halt::unrecoverable(own())]
        {
            let error = late(halt);
            assert!(error.to_string() == "timed out after 200 ms" && cause(&error), "{error:?}");
        }
        for halt in [Halt::Waiting, Halt::Delayed(limit), Halt::WaitingChildren, Halt::RateLimited(limit)] {
            assert_eq!(late(halt).to_string(), "timed out after 200 ms");
        }
        let inner = timed_out(Duration::from_millis(30), Some(Halt::failed(own())));
        let error = late(inner);
        assert!(error.to_string() == "timed out after 30 ms" && cause(&error), "{error:?}");
    }

    #[test]
    fn a_shutdown_hands_back_what_did_not_end_and_nothing_else() {
        let (told, asked) = (Some(&CancelReason::Shutdown), CancelReason::Requested("no".into()));
        let hands_back = |told, halt| is_handed_back::<()>(told, &Err(halt));
        let second = Duration::from_secs(1);
        for halt in [|| Halt::failed("stopped"), || Halt::Waiting, || Halt::retry_after(Duration::ZERO, "stopped")] {
            assert!(hands_back(told, halt()));
            assert!(!hands_back(Some(&asked), halt()) && !hands_back(None, halt()));
        }
        for halt in [Halt::unrecoverable("no"), Halt::Delayed(second), Halt::WaitingChildren, Halt::RateLimited(second)]
        {
            assert!(!hands_back(told, halt));
        }
        assert!(!is_handed_back(told, &Ok(())));
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_was_told_to_stop_for_another_reason_keeps_it() {
        let attempt = Attempt::new("1".into(), "t".into());
        attempt.cancel(CancelReason::Shutdown);
        let second = Duration::from_secs(1);
        let slow = async {
            tokio::time::sleep(second * 2).await;
            Ok::<_, ()>(Err::<(), _>(Halt::Waiting))
        };
        let ended = within(slow, second, second * 3, Some(&attempt)).await.unwrap();
        assert!(matches!(ended, Err(Halt::Waiting)), "{ended:?}");
        let deaf = std::future::pending::<Result<Result<(), Halt>, ()>>();
        let ended = within(deaf, second, second, Some(&attempt)).await.unwrap();
        assert!(matches!(ended, Err(Halt::Failed(error)) if error.to_string() == "timed out after 1000 ms"));
    }
}
