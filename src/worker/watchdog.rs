//! Detects a blocked loop: a processor that computes or blocks without `.await` keeps its runtime from everything else,
//! and nothing inside the runtime could notice.

use std::sync::Arc;
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
        Arc::new(Self { queue: queue.to_owned(), commands, events, figures, open: Lock::default() })
    }

    /// Asks the loop, or reports that it has not answered. A worker whose handle is gone is not asked.
    pub(crate) fn ask(&self) {
        let mut open = self.open.lock();
        let Some(commands) = self.commands.upgrade() else {
            *open = None;
            return;
        };
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
