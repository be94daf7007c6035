//! The settings of a queue that dashboards look for: the library's version, and the cap of the event stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::task::AbortHandle;

use crate::engine::{Engine, LONGEST_CALL};
use crate::error::{Error, Result};

/// Writes the settings, as Node does when it opens a queue.
#[derive(Default)]
pub(super) struct Settings {
    /// Held by the task that writes them. Those that come meanwhile find them written.
    turn: tokio::sync::Mutex<()>,
    /// The cap of the event stream that the user has set; 0 for none.
    max_events: AtomicU64,
    /// Whether this client has written them before.
    were_written: AtomicBool,
}

impl Settings {
    pub(super) fn limit_events(&self, cap: u64) {
        self.max_events.store(cap, Ordering::Relaxed);
    }

    /// Returns whether it is for this client to write them: it has done so before, or the user has set a cap.
    pub(super) fn are_ours(&self) -> bool {
        self.were_written.load(Ordering::Relaxed) || self.max_events.load(Ordering::Relaxed) > 0
    }

    /// Writes them, unless another caller has done so meanwhile.
    ///
    /// A task writes, so that nobody waits for a caller that keeps its future and does not poll it.
    pub(super) async fn write(self: &Arc<Self>, engine: &Engine) -> Result<()> {
        // The task that is writing may be in a runtime that stands still.
        let limit = engine.link.options().command_timeout.saturating_mul(LONGEST_CALL);
        let (settings, engine) = (Arc::clone(self), engine.clone());
        let writing = tokio::spawn(async move { settings.write_in_turn(&engine).await });
        let _given_up = AbortOnDrop(writing.abort_handle());
        match tokio::time::timeout(limit, writing).await {
            Ok(written) => written.unwrap_or(Err(Error::Closed)),
            Err(_) => Err(Error::Timeout { op: "open_queue", after: limit, job: None }),
        }
    }

    async fn write_in_turn(&self, engine: &Engine) -> Result<()> {
        let _turn = self.turn.lock().await;
        if engine.has_settings() {
            return Ok(());
        }
        let cap = Some(self.max_events.load(Ordering::Relaxed)).filter(|cap| *cap > 0);
        engine.open_queue(cap).await?;
        engine.note_settings(true);
        self.were_written.store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// Ends a task for which nobody waits any more.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use futures::FutureExt;

    use super::*;
    use crate::engine::testing::queue;
    use crate::queue::QueueCore;

    #[tokio::test]
    async fn a_caller_that_nobody_polls_keeps_nobody() {
        let engine = queue().await;
        let settings = Arc::new(Settings::default());
        let mut first = Box::pin(settings.write(&engine));
        assert!(first.as_mut().now_or_never().is_none());
        let second = tokio::time::timeout(std::time::Duration::from_secs(30), settings.write(&engine)).await;
        second.expect("it waits for nobody").unwrap();
        assert_eq!(engine.says("HGET @meta opts.maxLenEvents").await, "10000");
        first.await.unwrap();
    }

    #[tokio::test]
    async fn a_caller_that_gives_up_leaves_it_to_the_next() {
        let engine = queue().await;
        let settings = Arc::new(Settings::default());
        for _ in 0..3 {
            assert!(settings.write(&engine).now_or_never().is_none());
        }
        settings.write(&engine).await.unwrap();
        assert!(engine.has_settings());
    }

    #[tokio::test]
    async fn settings_that_are_gone_are_written_again() {
        let core = QueueCore::new(queue().await, Weak::new());
        core.limit_events(500);
        let cap = async || core.engine().says("HMGET @meta opts.maxLenEvents").await;
        core.open_for_add().await;
        assert_eq!(cap().await, "500");
        core.obliterate(true).await.unwrap();
        assert_eq!(cap().await, "nil");
        core.open_for_add().await;
        assert_eq!(cap().await, "500");
        // Whoever asks for it gets it, also where this client knows of no loss.
        for _ in 0..2 {
            core.engine().redis("DEL @meta").await;
            core.open().await.unwrap();
            assert_eq!(cap().await, "500");
        }
        // A worker of the client has noticed the loss.
        core.engine().redis("DEL @meta").await;
        core.forget_settings();
        core.open_for_add().await;
        assert_eq!(cap().await, "500");
    }
}
