//! Detects a blocked loop: a processor that computes or blocks without `.await` keeps its runtime from everything else,
//! and nothing inside the runtime could notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::WeakSender;

use super::event::{EventSink, WorkerEvent};
use super::run::Command;
use crate::sync::Lock;
use crate::telemetry::WorkerFigures;

/// A loop that answers later than this counts as blocked.
const LATE: Duration = Duration::from_secs(1);

/// Polled by the lock thread, answered by the loop.
pub(crate) struct Watchdog {
    queue: String,
    commands: WeakSender<Command>,
    events: EventSink,
    figures: Arc<WorkerFigures>,
    /// The question that was not answered yet.
    open: Lock<Option<Question>>,
    /// Whether it is settled why the loop no longer runs: it has closed, or it was told that its runtime has ended.
    is_over: AtomicBool,
}

#[derive(Clone, Copy)]
struct Question {
    asked: Instant,
    /// Whether its lateness was reported already.
    told: bool,
}

impl Watchdog {
    pub(crate) fn new(
        queue: &str,
        commands: WeakSender<Command>,
        events: EventSink,
        figures: Arc<WorkerFigures>,
    ) -> Arc<Self> {
        Arc::new(Self {
            queue: queue.to_owned(),
            commands,
            events,
            figures,
            open: Lock::default(),
            is_over: AtomicBool::new(false),
        })
    }

    /// Records that the loop ends since the worker was closed.
    pub(crate) fn closed(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Asks the loop, or reports that it has not answered. A worker whose handle is gone is not asked.
    pub(crate) fn ask(&self) {
        let mut open = self.open.lock();
        let Some(commands) = self.commands.upgrade() else {
            *open = None;
            return;
        };
        if commands.is_closed() {
            // A loop that nobody has closed ends only with its runtime.
            if !self.is_over.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    queue = self.queue,
                    "the runtime that the worker was started on has ended, and the worker with it"
                );
            }
            return;
        }
        match &mut *open {
            None => {
                let question = Question { asked: Instant::now(), told: false };
                *open = commands.try_send(Command::Answer).is_ok().then_some(question);
            }
            Some(question) if !question.told && question.asked.elapsed() >= LATE => {
                question.told = true;
                drop(open);
                self.complain(LATE);
            }
            Some(_) => {}
        }
    }

    /// Answers the question: the loop is being polled.
    pub(crate) fn answer(&self) {
        let answered = self.open.lock().take();
        let Some(Question { asked, told }) = answered else { return };
        let lag = asked.elapsed();
        self.figures.loop_lag(lag);
        if lag >= LATE && !told {
            self.complain(lag);
        }
    }

    /// Returns whether the loop has not answered for too long.
    pub(crate) fn is_late(&self) -> bool {
        let open = self.open.lock();
        open.is_some_and(|question| question.asked.elapsed() >= LATE)
    }

    fn complain(&self, at_least: Duration) {
        tracing::warn!(
            queue = self.queue,
            ?at_least,
            "the worker's loop does not get its turn: a processor blocks the runtime; use `spawn_blocking` for what \
             computes or waits without `.await`"
        );
        self.events.emit(|| WorkerEvent::RuntimeBlocked { at_least });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_is_gone_is_not_told_as_one_that_is_blocked() {
        let (commands, asked) = tokio::sync::mpsc::channel(1);
        let watchdog = Watchdog::new("q", commands.downgrade(), EventSink::new(0), Arc::new(WorkerFigures::new("q")));
        watchdog.ask();
        assert!(watchdog.open.lock().is_some() && !watchdog.is_over.load(Ordering::Relaxed));
        // Its runtime ends with the question open; nobody has closed the worker.
        drop(asked);
        if let Some(question) = &mut *watchdog.open.lock() {
            question.asked -= LATE * 2;
        }
        watchdog.ask();
        assert!(watchdog.is_over.load(Ordering::Relaxed), "the end was told");
        assert!(watchdog.open.lock().is_some_and(|question| !question.told), "and no blocked runtime");
    }
}
