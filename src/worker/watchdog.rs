//! Whether a worker's loop still gets its turns: a processor that computes or waits without `.await` keeps the runtime
//! from everything else, and nothing inside the runtime could tell.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::WeakSender;

use super::event::{EventSink, WorkerEvent};
use super::run::Command;
use crate::sync::Lock;
use crate::telemetry::WorkerFigures;

/// A loop that is later than this is said to be blocked.
const LATE: Duration = Duration::from_secs(1);

/// Asked now and then by the thread that renews locks, answered by the loop.
pub(crate) struct Watchdog {
    queue: String,
    commands: WeakSender<Command>,
    events: EventSink,
    figures: Arc<WorkerFigures>,
    /// The question that has no answer yet.
    open: Lock<Option<Question>>,
}

#[derive(Clone, Copy)]
struct Question {
    asked: Instant,
    /// Whether it was told already that the answer is late.
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

    /// Asks the loop, or complains that it has not answered. A worker whose handle is gone is not asked.
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

    /// The loop has its turn.
    pub(crate) fn answer(&self) {
        let answered = self.open.lock().take();
        let Some(Question { asked, told }) = answered else { return };
        let lag = asked.elapsed();
        self.figures.loop_lag(lag);
        if lag >= LATE && !told {
            self.complain(lag);
        }
    }

    /// Whether the loop has owed an answer for too long.
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
