//! How long a call is repeated, and with how much patience.

use tokio::time::Instant;

use crate::connection::{Failure, Link, Pauses};
use crate::error::{Error, Result};
use crate::script::Repeat;

/// How long a call is repeated whose reply was lost, in deadlines of a command, from the first loss on: the wait for the
/// lost reply does not count.
const REPETITION: u32 = 3;

/// How long others wait at most for a call that is on its way in another runtime, in deadlines of a command: the longest
/// time that a call may take with its repetition, and some more.
pub(crate) const LONGEST_CALL: u32 = 8;

/// Until when a call is repeated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// A deadline of a command; after a lost reply, [`REPETITION`] of them more.
    Usual,
    /// For as long as it takes until the server decides; a full server has not decided. The caller drops the call when a
    /// limit of its own is over, or cannot go on without the answer.
    Decided,
}

/// The tries of one call.
pub(super) struct Tries<'a> {
    link: &'a Link,
    /// For the tries after a lost reply: it waits longer, since the deadline that cut one off might do so for ever.
    patient: Option<Link>,
    deadline: Option<Instant>,
    backoff: Pauses,
}

impl<'a> Tries<'a> {
    pub(super) fn new(link: &'a Link, until: Until) -> Self {
        let deadline = (until == Until::Usual).then(|| Instant::now() + link.options().command_timeout);
        Self { link, patient: None, deadline, backoff: Pauses::default() }
    }

    /// Whether a call was sent that nobody answered: what it may have done, no later failure undoes.
    pub(super) fn was_lost(&self) -> bool {
        self.patient.is_some()
    }

    /// What the next try is sent on.
    pub(super) fn link(&self) -> &Link {
        self.patient.as_ref().unwrap_or(self.link)
    }

    /// Whether there is time for another try after this failure.
    pub(super) fn note(&mut self, failure: &Failure) -> bool {
        let now = Instant::now();
        if matches!(failure, Failure::Unknown(_) | Failure::Unreadable) && self.patient.is_none() {
            self.patient = Some(self.link.patient(1));
            let more = self.link.options().command_timeout.saturating_mul(REPETITION);
            self.deadline = self.deadline.map(|deadline| deadline.max(now + more));
        }
        self.deadline.is_none_or(|deadline| now < deadline)
    }

    /// Waits for the next try after this failure.
    ///
    /// # Errors
    ///
    /// There is none: the failure is final, or the time is over.
    pub(super) async fn after(&mut self, failure: Failure, op: &'static str, repeat: Repeat) -> Result<()> {
        let was_lost = self.was_lost();
        let in_time = self.note(&failure);
        let again = match &failure {
            Failure::NotApplied(_) => in_time,
            Failure::Unknown(_) => in_time && repeat != Repeat::Never,
            Failure::OutOfMemory => self.deadline.is_none(),
            Failure::Unreadable | Failure::Server(_) => false,
        };
        if again {
            self.pause().await;
            return Ok(());
        }
        Err(match repeat {
            Repeat::Reads => failure.to_read_error(op),
            _ if was_lost => Error::OutcomeUnknown { op },
            _ => failure.to_error(op),
        })
    }

    pub(super) async fn pause(&mut self) {
        self.backoff.pause().await;
    }
}
