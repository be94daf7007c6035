//! Tries several nodes, until the first one answers.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use redis::RedisError;

/// Returns the result of the first attempt that succeeds. The next attempt begins when one has failed, or when none has
/// ended for `patience`, so that a silent node delays nobody; earlier attempts continue.
///
/// # Errors
///
/// The error of the last attempt to fail, or of one that no other attempt could avoid; `none` if there is nothing to
/// attempt.
pub(super) async fn first_of<T, F>(
    attempts: impl IntoIterator<Item = F>,
    patience: Duration,
    none: RedisError,
    is_final: impl Fn(&RedisError) -> bool,
) -> Result<T, RedisError>
where
    F: Future<Output = Result<T, RedisError>>,
{
    let mut attempts = attempts.into_iter().peekable();
    let (mut begun, mut last) = (FuturesUnordered::new(), none);
    loop {
        if let Some(attempt) = attempts.next() {
            begun.push(attempt);
        } else if begun.is_empty() {
            return Err(last);
        }
        let ended = match attempts.peek() {
            None => begun.next().await,
            Some(_) => tokio::time::timeout(patience, begun.next()).await.unwrap_or(None),
        };
        match ended {
            Some(Ok(answer)) => return Ok(answer),
            Some(Err(error)) if is_final(&error) => return Err(error),
            Some(Err(error)) => last = error,
            None => {}
        }
    }
}
