//! Ending attempts and taking jobs, decided also when replies are lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Engine;
use crate::connection::{Backoff, Failure};
use crate::error::{Error, Reason, Result};
use crate::script::settle::{self, Ask, Handed, Outcome, Settled, Traced};

/// A settled call, and the tokens under which a lost request may still be carried out.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(crate) settled: Settled,
    /// Tokens of requests whose reply was lost. A server that was only slow may hand out jobs under them later, so
    /// they want another look.
    pub(crate) suspects: Vec<Arc<str>>,
    /// The token that the jobs are locked with.
    pub(crate) token: Arc<str>,
    /// When the request was sent that locked the jobs. Earlier ones may have failed for hours.
    pub(crate) sent: Instant,
    /// Whether a reply says what is left in the queue; false where the outcome was pieced together.
    pub(crate) is_answered: bool,
}

impl Engine {
    /// Settles outcomes and takes jobs; tries until the outcome of the call is known.
    ///
    /// `token` gives a token that no other call has, for each time the call is sent.
    ///
    /// # Errors
    ///
    /// The server refuses the call as such; nothing was changed.
    pub(crate) async fn settle(
        &self,
        ask: &mut Ask,
        outcomes: &[Outcome],
        mut token: impl FnMut() -> Arc<str>,
    ) -> Result<Decided> {
        let mut backoff = Backoff::default();
        let mut suspects = Vec::new();
        loop {
            ask.token = token();
            let sent = Instant::now();
            let args = settle::args(self.clock.now_ms(), ask, outcomes);
            match settle::SCRIPT.run(&self.link, &self.keys, &args).await {
                Ok(value) => {
                    let settled = settle::reply(value).filter(|settled| settled.codes.len() == outcomes.len());
                    let mut settled = settled.ok_or(Error::Reply { op: "settle" })?;
                    if !suspects.is_empty() {
                        self.forgive(&mut settled, outcomes).await?;
                    }
                    return Ok(Decided { settled, suspects, token: ask.token.clone(), sent, is_answered: true });
                }
                Err(failure @ Failure::Server(_)) => return Err(failure.to_error("settle")),
                Err(Failure::NotApplied(_) | Failure::OutOfMemory) => {}
                Err(Failure::Unknown(error)) => {
                    tracing::debug!(queue = ?self.keys, %error, "the reply was lost, looking what was done");
                    suspects.push(ask.token.clone());
                    if let Some((settled, sent)) = self.resolve(ask, outcomes).await? {
                        return Ok(Decided { settled, suspects, token: ask.token.clone(), sent, is_answered: false });
                    }
                }
            }
            backoff.pause().await;
        }
    }

    /// Finds out whether a call whose reply was lost was carried out; `None` if it was not, or not yet. A call is one
    /// atomic step, so one trace of it proves the whole.
    async fn resolve(&self, ask: &Ask, outcomes: &[Outcome]) -> Result<Option<(Settled, Instant)>> {
        // Jobs first: should the call be carried out between the two looks, the second one sees it, and the jobs are
        // found when the token is looked for again.
        let (jobs, sent) =
            if ask.want > 0 { self.adopt(&ask.token, ask.lock_ms, &[]).await? } else { (Vec::new(), Instant::now()) };
        let traces = if outcomes.is_empty() { Vec::new() } else { self.trace(outcomes).await? };
        if jobs.is_empty() && !traces.contains(&Traced::Applied) {
            return Ok(None);
        }
        let codes = traces.iter().map(|traced| match traced {
            Traced::Applied => Ok(0),
            Traced::LockLost => Err(Reason::LockMismatch),
            // The call was carried out and left this one alone; the caller settles it again to learn why.
            Traced::NotApplied => Err(Reason::Unknown(0)),
        });
        Ok(Some((Settled { codes: codes.collect(), jobs, ..Settled::default() }, sent)))
    }

    /// An earlier request whose reply was lost may have been carried out after we had looked, just before this one: then
    /// this one is refused what that one has done.
    async fn forgive(&self, settled: &mut Settled, outcomes: &[Outcome]) -> Result<()> {
        let is_late = |code: &Result<i64, Reason>| {
            use Reason::{LockMismatch, MissingJob, MissingLock, NotInState};
            matches!(code, Err(LockMismatch | MissingJob | MissingLock | NotInState))
        };
        if settled.codes.iter().any(is_late) {
            let traces = self.trace(outcomes).await?;
            for (code, traced) in settled.codes.iter_mut().zip(traces) {
                if is_late(code) && traced == Traced::Applied {
                    *code = Ok(0);
                }
            }
        }
        Ok(())
    }

    async fn trace(&self, outcomes: &[Outcome]) -> Result<Vec<Traced>> {
        let args = settle::trace_args(outcomes);
        let (value, _) = self.insist(&settle::TRACE, &args).await?;
        settle::trace_reply(value).filter(|traces| traces.len() == outcomes.len()).ok_or(Error::Reply { op: "settle" })
    }

    /// The jobs that are locked with this token, without those that the caller knows, and since when their locks live.
    pub(crate) async fn adopt(&self, token: &str, lock_ms: u64, known: &[String]) -> Result<(Vec<Handed>, Instant)> {
        let args = settle::adopt_args(token, lock_ms, known.iter());
        let (value, sent) = self.insist(&settle::ADOPT, &args).await?;
        Ok((settle::handed(value).ok_or(Error::Reply { op: "adopt_jobs" })?, sent))
    }

    /// Runs a script that may be repeated, for as long as it takes.
    pub(super) async fn insist(
        &self,
        script: &crate::script::Script,
        args: &crate::script::Args,
    ) -> Result<(redis::Value, Instant)> {
        let mut backoff = Backoff::default();
        loop {
            let sent = Instant::now();
            match script.run(&self.link, &self.keys, args).await {
                Ok(value) => return Ok((value, sent)),
                Err(failure @ Failure::Server(_)) => return Err(failure.to_error(script.name)),
                Err(_) => backoff.pause().await,
            }
        }
    }

    /// Writes the marker again that a closing worker may have taken along; gives up after `limit`.
    pub(crate) async fn wake_workers(&self, limit: Duration) {
        let args = crate::script::Args::default();
        let run = crate::script::locks::WAKE.run(&self.link, &self.keys, &args);
        if let Ok(Err(failure)) = tokio::time::timeout(limit, run).await {
            tracing::debug!(queue = ?self.keys, ?failure, "the marker could not be written again");
        }
    }

    /// One check for stalled jobs, in as many calls as it takes; the ids that were put back.
    pub(crate) async fn recover_stalled(&self, interval: Duration, limit: u32) -> Result<Vec<String>> {
        use crate::script::locks;
        let interval_ms = crate::clock::millis(interval);
        let (mut from, mut recovered) = (String::new(), Vec::new());
        loop {
            let args = locks::recover_args(self.clock.now_ms(), interval_ms, limit, &from);
            let value = self.run(&locks::RECOVER, &args, super::Repeat::Safe).await?;
            let mut ids = locks::ids(value).unwrap_or_default().into_iter();
            from = ids.next().ok_or(Error::Reply { op: "recover_stalled" })?;
            recovered.extend(ids);
            if from.is_empty() {
                return Ok(recovered);
            }
        }
    }

    /// Renews locks; the ids whose lock is gone or another's.
    pub(crate) async fn extend_locks(&self, lock_ms: u64, locks: &[(&str, &str)]) -> Result<Vec<String>> {
        use crate::script::locks as script;
        let args = script::extend_args(lock_ms, locks.iter().copied());
        let value = script::EXTEND
            .run(&self.link, &self.keys, &args)
            .await
            .map_err(|failure| failure.to_error("extend_locks"))?;
        script::ids(value).ok_or(Error::Reply { op: "extend_locks" })
    }
}
