//! Decides for how long a call is repeated, and with which deadline.

use tokio::time::Instant;

use crate::connection::{CallFailure, Link, Pauses, Refused};
use crate::error::{Error, Result};
use crate::script::Resend;

/// For how long a call is repeated after its first lost reply, in deadlines of a command. The wait for the lost reply
/// itself does not count.
const REPETITION: u32 = 3;

/// For how long others wait at most for a call that another runtime carries, in deadlines of a command: the longest
/// time that a call may take with its repetitions, and some more.
pub(crate) const LONGEST_CALL: u32 = 8;

/// Until when a call is repeated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// For one deadline of a command; after a lost reply, for [`REPETITION`] more.
    Usual,
    /// Until the server has decided; an error because the server has no memory left is no decision. The caller has a
    /// limit of its own, or cannot go on without the answer.
    Decided,
}

/// The tries of one call.
pub(super) struct Tries<'a> {
    link: &'a Link,
    /// The connection for tries after a lost reply. It waits longer, since with the same deadline the reply might be
    /// cut off every time.
    patient: Option<Link>,
    deadline: Option<Instant>,
    /// Set while a full server refuses a call that goes on until the server decides.
    refused: Option<Refused>,
    backoff: Pauses,
}

impl<'a> Tries<'a> {
    pub(super) fn new(link: &'a Link, until: Until) -> Self {
        let deadline = (until == Until::Usual).then(|| Instant::now() + link.options().command_timeout);
        Self { link, patient: None, deadline, refused: None, backoff: Pauses::default() }
    }

    /// Returns whether a request was sent that was not answered: a later failure does not undo what it may have done.
    pub(super) fn was_lost(&self) -> bool {
        self.patient.is_some()
    }

    /// Returns the connection for the next try.
    pub(super) fn link(&self) -> &Link {
        self.patient.as_ref().unwrap_or(self.link)
    }

    /// Records a failure; returns whether there is time for another try.
    pub(super) fn note(&mut self, failure: &CallFailure) -> bool {
        let now = Instant::now();
        if matches!(failure, CallFailure::Unknown(_) | CallFailure::Unreadable) && self.patient.is_none() {
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
    /// The failure itself, if it is final or the time is over.
    pub(super) async fn after(&mut self, failure: CallFailure, op: &'static str, resend: Resend) -> Result<()> {
        let was_lost = self.was_lost();
        let in_time = self.note(&failure);
        let again = match &failure {
            CallFailure::NotApplied(_) => in_time,
            CallFailure::Unknown(_) => in_time && resend != Resend::Never,
            CallFailure::OutOfMemory if self.deadline.is_none() => {
                self.link.outages().full(&mut self.refused);
                true
            }
            CallFailure::OutOfMemory => false,
            CallFailure::Unreadable | CallFailure::Server(_) => false,
        };
        if again {
            self.pause().await;
            return Ok(());
        }
        Err(match resend {
            Resend::Reads => failure.to_read_error(op),
            _ if was_lost => Error::OutcomeUnknown { op },
            _ => failure.to_error(op),
        })
    }

    pub(super) async fn pause(&mut self) {
        self.backoff.pause().await;
    }
}
