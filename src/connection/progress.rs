//! Tells whether a connection is alive: it is as long as it moves bytes, however long one message takes.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use redis::{ErrorKind, RedisError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// The slowest network for which a request under way is given time: what kernels and proxies hold of it cannot be seen.
const BYTES_PER_SECOND: u64 = 512 * 1024;

/// When a connection last moved bytes. Shared by its stream, which records it, and by those who wait for replies.
#[derive(Debug)]
pub(crate) struct Progress {
    began: Instant,
    /// In µs since `began`.
    moved: AtomicU64,
    /// How many bytes the large requests have that were not answered yet.
    underway: AtomicU64,
}

impl Progress {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), moved: AtomicU64::new(0), underway: AtomicU64::new(0) })
    }

    fn note(&self) {
        let since = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.moved.store(since, Ordering::Relaxed);
    }

    pub(super) fn last(&self) -> Instant {
        self.began + Duration::from_micros(self.moved.load(Ordering::Relaxed))
    }

    /// Waits for the reply to a request of `bytes` bytes that was made at `start`: at least until `deadline`, and as
    /// long as the connection moves bytes, with no silence longer than `silence`.
    ///
    /// The call is passed pinned, since otherwise the future of this function would reserve room for it twice.
    pub(super) async fn within<T>(
        &self,
        start: Instant,
        mut deadline: Instant,
        silence: Duration,
        bytes: usize,
        mut call: Pin<&mut impl Future<Output = Result<T, RedisError>>>,
    ) -> Result<T, RedisError> {
        let _underway = Underway::new(self, bytes);
        loop {
            if let Ok(done) = tokio::time::timeout_at(deadline, call.as_mut()).await {
                return done;
            }
            let slow = Duration::from_millis(self.underway.load(Ordering::Relaxed) * 1000 / BYTES_PER_SECOND);
            let later = self.last().max(start) + silence + slow;
            if later <= deadline {
                return Err(RedisError::from((ErrorKind::Io, "no reply in time")));
            }
            deadline = later;
        }
    }

    /// Waits for the reply to a blocking command: until `deadline` for its first bytes, and for the rest as long as it
    /// keeps arriving, with no silence longer than `silence`.
    pub(super) async fn arriving<T>(
        &self,
        mut deadline: Instant,
        silence: Duration,
        call: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, RedisError> {
        let mut call = pin!(call);
        let before = self.last();
        loop {
            if let Ok(done) = tokio::time::timeout_at(deadline, call.as_mut()).await {
                return done;
            }
            let last = self.last();
            if last == before || last + silence <= deadline {
                return Err(RedisError::from((ErrorKind::Io, "no reply in time")));
            }
            deadline = last + silence;
        }
    }
}

/// A large request under way; small ones are not worth counting.
struct Underway<'a>(&'a Progress, u64);

impl<'a> Underway<'a> {
    fn new(progress: &'a Progress, bytes: usize) -> Self {
        let bytes = if bytes < 64 * 1024 { 0 } else { bytes as u64 };
        if bytes > 0 {
            progress.underway.fetch_add(bytes, Ordering::Relaxed);
        }
        Self(progress, bytes)
    }
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        if self.1 > 0 {
            self.0.underway.fetch_sub(self.1, Ordering::Relaxed);
        }
    }
}

/// A stream that records when it moves bytes.
///
/// Bytes that are read came from the peer. Bytes that are written have only reached a buffer of the kernel, which
/// accepts them on a dead connection too; that the peer receives them shows when a full buffer has room again.
pub(super) struct Watched<S> {
    stream: S,
    progress: Arc<Progress>,
    was_full: bool,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, progress: Arc<Progress>) -> Self {
        Self { stream, progress, was_full: false }
    }

    fn wrote(&mut self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Pending => self.was_full = true,
            Poll::Ready(Ok(_)) if std::mem::take(&mut self.was_full) => self.progress.note(),
            Poll::Ready(_) => {}
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, into))?;
        if into.filled().len() > before {
            self.progress.note();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn silent(progress: &Progress, bytes: usize) -> Duration {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let never = pin!(std::future::pending::<Result<(), RedisError>>());
        progress.within(start, start + second, second, bytes, never).await.unwrap_err();
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_moves_with_the_bytes() {
        let progress = Progress::new();
        let whole = |time: Duration| time.as_millis() / 100;
        assert_eq!(whole(silent(&progress, 100).await), 10);
        // Kernels may hold a large request without our noticing.
        assert_eq!(whole(silent(&progress, 1024 * 1024).await), 30);
        assert_eq!(progress.underway.load(Ordering::Relaxed), 0);
        let moving = async {
            for _ in 0..9 {
                tokio::time::sleep(Duration::from_millis(900)).await;
                progress.note();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = moving => {}
            took = silent(&progress, 100) => assert_eq!(whole(took), 91),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_only_buffered_is_no_progress() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (near, mut far) = tokio::io::duplex(64);
        let progress = Progress::new();
        let mut near = Watched::new(near, Arc::clone(&progress));
        tokio::time::sleep(Duration::from_secs(1)).await;
        near.write_all(&[0; 64]).await.unwrap();
        assert_eq!(progress.last(), progress.began);
        let (written, _) = tokio::join!(near.write_all(&[0; 32]), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            far.read_exact(&mut [0; 96]).await
        });
        written.unwrap();
        assert_eq!(progress.last() - progress.began, Duration::from_secs(2));
        tokio::time::sleep(Duration::from_secs(1)).await;
        far.write_all(&[0; 8]).await.unwrap();
        near.read_exact(&mut [0; 8]).await.unwrap();
        assert_eq!(progress.last() - progress.began, Duration::from_secs(3));
    }
}
