//! Attempts to connect: how long one may take, how its error reads, and the pause before the next.

use std::time::Duration;

use redis::{ErrorKind, RedisError};

/// Gives up on a future after a time, with an I/O error.
pub(super) async fn within<T>(
    timeout: Duration,
    future: impl Future<Output = std::result::Result<T, RedisError>>,
) -> std::result::Result<T, RedisError> {
    match tokio::time::timeout(timeout, future).await {
        Ok(result) => result,
        Err(_) => Err(RedisError::from((ErrorKind::Io, SILENT))),
    }
}

const SILENT: &str = "no answer in time";

/// Returns whether the error is a timeout of ours.
pub(super) fn is_silence(error: &RedisError) -> bool {
    error.detail().is_none() && error.to_string().contains(SILENT)
}

/// Returns the text of an error of the operating system without its number.
pub(super) fn reason(text: &str) -> String {
    let text = text.split(" (os error ").next().unwrap_or_default();
    text.replacen("Connection ", "connection ", 1)
}

/// Returns whether the error is one that no further attempt will mend.
pub(super) fn is_permanent(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::InvalidClientConfig | ErrorKind::AuthenticationFailed)
        || matches!(error.code(), Some("WRONGPASS" | "NOAUTH" | "NOPERM"))
}

/// The pauses between attempts: 10 ms, doubling up to half a second, each varied by half so that many clients spread
/// out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pauses {
    next: Duration,
}

impl Pauses {
    const FIRST: Duration = Duration::from_millis(10);
    pub(super) const LONGEST: Duration = Duration::from_millis(500);

    pub(crate) fn current(self) -> Duration {
        self.next.mul_f64(0.75 + fastrand::f64() * 0.5)
    }

    pub(crate) fn grow(&mut self) {
        self.next = (self.next * 2).min(Self::LONGEST);
    }

    /// Waits for the current pause, and makes the next one longer.
    pub(crate) async fn pause(&mut self) {
        tokio::time::sleep(self.current()).await;
        self.grow();
    }
}

impl Default for Pauses {
    fn default() -> Self {
        Self { next: Self::FIRST }
    }
}
