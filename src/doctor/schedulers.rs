//! Finds job schedulers that have stopped, and lets them go on.

use std::time::Duration;

use super::finding::{FindingKind, Suspect};
use crate::engine::Engine;
use crate::error::Result;
use crate::scheduler::{self, Fate};
use crate::script::advance_scheduler::Advanced;
use crate::script::list_schedulers::StoredScheduler;
use crate::script::mend_job::mend_job;
use crate::state::JobState;

/// How long a job or a run may be late before this is reported, in ms.
pub(super) const LATE_MS: u64 = 60_000;

/// How many schedulers are looked at.
pub(super) const MOST: i64 = 1_000;

/// Returns schedulers whose current run is over, or in no list or set, with the time at which it was or is due. Those
/// that have reached their limit or end are not among them.
///
/// A run that is due only later cannot be over: if it does not exist, somebody has deleted it.
pub(super) async fn stopped(engine: &Engine) -> Result<Vec<Suspect>> {
    let now = engine.clock.now_ms();
    let mut stopped = Vec::new();
    for mut stored in engine.list_schedulers(0, MOST - 1, true).await? {
        let Ok(slot) = stored.slot.parse::<u64>() else { continue };
        // Workers let one go on that has stopped, and may just be about to.
        let is_to_come = slot > now;
        if stored.hash.is_empty() || !is_to_come && slot.saturating_add(LATE_MS) >= now {
            continue;
        }
        let run = run_of(&stored);
        let kind = match engine.get_stored_job(&run).await? {
            Some(job) => {
                let opts = match &job {
                    Ok(job) => job.opts_text(),
                    Err(bad) => bad.partial.opts_text(),
                };
                stored.hash.push((b"run".to_vec(), opts.as_bytes().to_vec()));
                match engine.get_state(&run).await? {
                    JobState::Unknown => Some(FindingKind::StoppedSchedulers),
                    JobState::Completed | JobState::Failed => kind_of(&stored, now),
                    _ => None,
                }
            }
            None if is_to_come => kind_of_deleted(&stored, now),
            None => kind_of(&stored, now),
        };
        stopped.extend(kind.map(|kind| Suspect { mark: stored.slot, ..Suspect::new(kind, stored.id) }));
    }
    Ok(stopped)
}

/// Returns the id of the current run.
fn run_of(stored: &StoredScheduler) -> String {
    format!("repeat:{}:{}", stored.id, stored.slot)
}

/// Returns what is wrong with a scheduler whose current run is over, by the rule by which workers go on with it.
fn kind_of(stored: &StoredScheduler, now: u64) -> Option<FindingKind> {
    match scheduler::fate_of(stored, now) {
        Ok(Fate::Ended) => None,
        Ok(Fate::Unclear) => Some(FindingKind::UnclearRepeatables),
        // Workers tell why one cannot go on.
        Ok(Fate::GoesOn(_)) | Err(_) => Some(FindingKind::StoppedSchedulers),
    }
}

/// Returns what is wrong with a scheduler whose next run was deleted, be it the last one.
fn kind_of_deleted(stored: &StoredScheduler, now: u64) -> Option<FindingKind> {
    match scheduler::same_run(stored, now) {
        Ok(None) => Some(FindingKind::UnclearRepeatables),
        Ok(Some(_)) | Err(_) => Some(FindingKind::StoppedSchedulers),
    }
}

/// Lets schedulers go on: those whose run is past with the next one, the others with the same one, at the time at which
/// it was due. Returns how many go on.
pub(super) async fn mend(engine: &Engine, suspects: &[Suspect]) -> Result<u64> {
    let revived = scheduler::revive(engine, Duration::from_millis(1)).await?;
    let mut mended = revived.iter().filter(|run| run.is_ok()).count() as u64;
    let now = engine.clock.now_ms();
    for suspect in suspects {
        let is_to_come = suspect.mark.parse::<u64>().is_ok_and(|slot| slot > now);
        if is_to_come && puts_back(engine, suspect, now).await? {
            mended += 1;
        }
    }
    Ok(mended)
}

/// Puts back the next run of a scheduler, if it still is the next one and in no list or set; returns whether it did.
async fn puts_back(engine: &Engine, suspect: &Suspect, now: u64) -> Result<bool> {
    let Some(stored) = engine.get_scheduler(&suspect.id).await? else { return Ok(false) };
    if stored.slot != suspect.mark {
        return Ok(false);
    }
    let run = run_of(&stored);
    if engine.get_stored_job(&run).await?.is_some() {
        return Ok(engine.call(mend_job("lost", &run, "", now)).await? > 0);
    }
    let Ok(Some(again)) = scheduler::same_run(&stored, now) else { return Ok(false) };
    Ok(matches!(engine.advance_scheduler(now, &again, "").await?, Advanced::Created { .. }))
}
