//! Finds what is wrong with one queue, from its own lists and settings.

use super::finding::{Diagnosis, Finding, FindingKind, Suspect};
use super::schedulers::{LATE_MS, MOST};
use super::{keys, schedulers};
use crate::engine::Engine;
use crate::error::Result;
use crate::flow::{Hold, WaitsFor};
use crate::keys::is_no_job;
use crate::script::examine_jobs::{count_events, is_in, owner_of, ttl_of, type_of};
use crate::script::mend_job::{MORE_CHILDREN, mend_job};
use crate::script::probe_jobs::probe_jobs;
use crate::state::{JobCounts, JobState};

/// From how many finished jobs on this is reported.
const MANY_FINISHED: u64 = 100_000;

/// How many parents are asked why they wait.
const PARENTS: i64 = 500;

/// How many places one read looks at.
const PAGE: i64 = 2_000;

/// The keys of every queue, and the type of each.
const TYPES: [(&str, &str); 13] = [
    ("wait", "list"),
    ("paused", "list"),
    ("active", "list"),
    ("prioritized", "zset"),
    ("delayed", "zset"),
    ("completed", "zset"),
    ("failed", "zset"),
    ("waiting-children", "zset"),
    ("repeat", "zset"),
    ("marker", "zset"),
    ("meta", "hash"),
    ("events", "stream"),
    ("id", "string"),
];

/// Reports keys of a wrong type; returns whether there are any, since then nothing else can be examined.
pub(super) async fn has_wrong_types(engine: &Engine, report: &mut Diagnosis) -> Result<bool> {
    let mut wrong = Vec::new();
    for (name, kind) in TYPES {
        let found = engine.call(type_of(&engine.keys, name)).await?;
        if found != kind && found != "none" {
            wrong.push(format!("{} is a {found} and should be a {kind}", engine.keys.key(name)));
        }
    }
    if wrong.is_empty() {
        return Ok(false);
    }
    let count = wrong.len() as u64;
    let detail = format!("nothing else of this queue could be looked at: {}", wrong.join(", "));
    report.findings.push(Finding::new(FindingKind::WrongType, Some(engine.keys.queue()), count, detail));
    Ok(true)
}

/// Reports what needs no second look.
pub(super) async fn examine(
    engine: &Engine,
    places: u64,
    workers: Option<usize>,
    report: &mut Diagnosis,
) -> Result<()> {
    let name = engine.keys.queue().to_owned();
    let add = |report: &mut Diagnosis, kind, count, detail: String| {
        report.findings.push(Finding::new(kind, Some(&name), count, detail));
    };
    let summary = engine.summarize(0, 0).await?;
    let counts = summary.counts;
    let now = engine.clock.now_ms();
    let waiting = counts.waiting + counts.prioritized + counts.paused;
    let oldest = summary.oldest.as_ref().map_or(0, |(_, since)| now.saturating_sub(*since));
    if workers == Some(0) && waiting > 0 && oldest > LATE_MS {
        let minutes = oldest / 60_000;
        let who = if waiting == 1 { "1 job waits".to_owned() } else { format!("{waiting} jobs wait, one") };
        let detail = format!("{who} for {minutes} minutes, and no worker is connected");
        add(report, FindingKind::NoWorker, waiting, detail);
    }
    let overdue = summary.due.map_or(0, |due| now.saturating_sub(due));
    if overdue > LATE_MS && !summary.is_paused {
        let count = engine.get_delayed_count(now).await?;
        let who =
            if count == 1 { "1 delayed job is due".to_owned() } else { format!("{count} delayed jobs are due, one") };
        add(report, FindingKind::OverdueJobs, count, format!("{who} for {} minutes", overdue / 60_000));
    }
    if counts.paused > 0 && !summary.is_paused {
        let who = if counts.paused == 1 { "1 job is".to_owned() } else { format!("{} jobs are", counts.paused) };
        let detail = format!("{who} in the list `paused` of version 5, and the queue is not paused");
        add(report, FindingKind::PausedList, counts.paused, detail);
    }
    let finished = counts.completed + counts.failed;
    if finished > MANY_FINISHED {
        add(report, FindingKind::ManyFinishedJobs, finished, format!("{finished} finished jobs are kept"));
    }
    let cap = engine.get_meta().await?.max_len_events.unwrap_or(10_000);
    let events = engine.call(count_events(&engine.keys)).await?;
    // Redis trims a stream by whole nodes, so it is always somewhat longer than its cap.
    if events > cap.saturating_mul(2).saturating_add(1_000) {
        let detail = format!("{events} events are kept, where {cap} are meant to be");
        add(report, FindingKind::LongEventStream, events, detail);
    }
    if let Some(version) = summary.version {
        report.versions.insert(name.clone(), version);
    }
    leave_out(&name, &counts, summary.schedulers, places, report);
    Ok(())
}

/// Reports of what only a part is looked at.
fn leave_out(name: &str, counts: &JobCounts, schedulers: u64, places: u64, report: &mut Diagnosis) {
    for state in JobState::ALL {
        if counts.get(state) > places {
            report.leave_out(Some(name), format!("{places} of {} {state} jobs were looked at", counts.get(state)));
        }
    }
    let parents = counts.get(JobState::WaitingChildren);
    if parents > PARENTS.unsigned_abs() {
        report.leave_out(Some(name), format!("{PARENTS} of {parents} parents were asked why they wait"));
    }
    if schedulers > MOST.unsigned_abs() {
        report.leave_out(Some(name), format!("{MOST} of {schedulers} job schedulers were looked at"));
    }
}

/// Returns what looks wrong, but may only be in the middle of a move.
pub(super) async fn suspects(engine: &Engine, places: u64) -> Result<Vec<Suspect>> {
    let mut suspects = Vec::new();
    for state in JobState::ALL {
        let Some(suffix) = state.suffix() else { continue };
        let most = i64::try_from(places).unwrap_or(i64::MAX);
        let mut from = 0;
        while from < most {
            let to = from.saturating_add(PAGE).min(most) - 1;
            let ids = engine.get_ranges(&[state], from, to, true).await?;
            let is_last = i64::try_from(ids.len()).unwrap_or(i64::MAX) < to - from + 1;
            for id in missing(engine, &ids).await? {
                suspects.push(Suspect { state: suffix, ..Suspect::new(FindingKind::MissingJobs, id) });
            }
            if state == JobState::Active {
                suspects.extend(unheld(engine, &ids).await?);
            }
            if is_last {
                break;
            }
            from = to + 1;
        }
    }
    suspects.extend(schedulers::stopped(engine).await?);
    Ok(suspects)
}

/// Returns the parents that will never run by themselves. Of the children of all of them about `places` are looked up, but
/// some of each.
pub(super) async fn stuck_parents(engine: &Engine, places: u64, report: &mut Diagnosis) -> Result<Vec<Suspect>> {
    let (mut suspects, mut unseen, mut left) = (Vec::new(), 0_u64, places);
    for id in engine.get_ranges(&[JobState::WaitingChildren], 0, PARENTS - 1, true).await? {
        let found = WaitsFor::find_hold(engine, &id, left).await?;
        left = left.saturating_sub(found.seen);
        unseen += u64::from(!found.is_whole);
        if let Some(hold) = found.hold {
            suspects.push(Suspect { mark: mark(hold).to_owned(), ..Suspect::new(FindingKind::StuckParents, id) });
        }
    }
    if unseen > 0 {
        let parents = if unseen == 1 { "parent" } else { "parents" };
        report.leave_out(Some(engine.keys.queue()), format!("some children of {unseen} {parents} were not looked up"));
    }
    Ok(suspects)
}

fn mark(hold: Hold) -> &'static str {
    match hold {
        Hold::Missing => "missing",
        Hold::Failed => "failed",
    }
}

/// Returns those of these ids that have no job.
async fn missing(engine: &Engine, ids: &[String]) -> Result<Vec<String>> {
    let mut missing = Vec::new();
    for chunk in ids.chunks(500) {
        let found = engine.call(probe_jobs(chunk)).await?;
        missing.extend(chunk.iter().zip(found).filter(|(_, (exists, _))| !exists).map(|(id, _)| id.clone()));
    }
    missing.retain(|id| !id.starts_with("0:"));
    Ok(missing)
}

/// Returns those of these active jobs that have no lock.
async fn unheld(engine: &Engine, ids: &[String]) -> Result<Vec<Suspect>> {
    let mut suspects = Vec::new();
    for chunk in ids.chunks(500) {
        let found = engine.call(probe_jobs(chunk)).await?;
        for (id, _) in chunk.iter().zip(found).filter(|(_, (exists, is_held))| *exists && !is_held) {
            // If a worker takes it meanwhile, the number of starts grows.
            if let Some(started) = started(engine, id).await? {
                suspects.push(Suspect { mark: started, ..Suspect::new(FindingKind::ActiveWithoutLock, id) });
            }
        }
    }
    Ok(suspects)
}

async fn started(engine: &Engine, id: &str) -> Result<Option<String>> {
    Ok(engine.get_stored_job(id).await?.map(|job| match job {
        Ok(job) => job.attempts_started.to_string(),
        Err(job) => job.partial.attempts_started.to_string(),
    }))
}

/// Looks at a suspect for the second time; returns whether it is still wrong.
pub(super) async fn is_still_so(engine: &Engine, suspect: &Suspect) -> Result<bool> {
    let id = &suspect.id;
    Ok(match suspect.kind {
        FindingKind::MissingJobs => {
            let state = JobState::ALL.into_iter().find(|state| state.suffix() == Some(suspect.state));
            let is_there =
                engine.call(is_in(&engine.keys, suspect.state, state.is_some_and(JobState::is_list), id)).await?;
            is_there && !missing(engine, std::slice::from_ref(id)).await?.is_empty()
        }
        FindingKind::ActiveWithoutLock => {
            let unheld = unheld(engine, std::slice::from_ref(id)).await?;
            unheld.iter().any(|again| again.mark == suspect.mark)
                && engine.call(is_in(&engine.keys, "active", true, id)).await?
        }
        FindingKind::DeadDeduplication => {
            let owner = engine.call(owner_of(&engine.keys, id)).await?;
            let is_endless = engine.call(ttl_of(&engine.keys, id)).await? == -1;
            match owner.filter(|owner| is_endless && !is_no_job(owner)) {
                Some(owner) => !missing(engine, std::slice::from_ref(&owner)).await?.is_empty(),
                None => false,
            }
        }
        FindingKind::StoppedSchedulers | FindingKind::UnclearRepeatables => {
            let again = schedulers::stopped(engine).await?;
            again.iter().any(|other| other.kind == suspect.kind && other.id == *id && other.mark == suspect.mark)
        }
        FindingKind::StuckParents => WaitsFor::find_hold(engine, id, u64::MAX).await?.hold.is_some(),
        FindingKind::LostJobs | FindingKind::LockWithoutJob | FindingKind::OrphanedParts => {
            keys::examine(engine, std::slice::from_ref(id)).await?.iter().any(|again| again.kind == suspect.kind)
        }
        _ => true,
    })
}

/// Mends a finding; returns how much was mended.
pub(super) async fn mend(engine: &Engine, finding: &Finding) -> Result<u64> {
    let now = engine.clock.now_ms();
    match finding.kind {
        FindingKind::PausedList => {
            let mut mended = 0;
            loop {
                match engine.call(mend_job("paused", "", "", now)).await? {
                    0 => return Ok(mended),
                    step => mended += step,
                }
            }
        }
        FindingKind::LongEventStream => {
            let cap = engine.get_meta().await?.max_len_events.unwrap_or(10_000);
            engine.trim_events(cap).await
        }
        FindingKind::StoppedSchedulers => schedulers::mend(engine, &finding.suspects).await,
        _ => {
            let mut mended = 0;
            for suspect in &finding.suspects {
                let what = match suspect.kind {
                    FindingKind::MissingJobs => "id",
                    FindingKind::LockWithoutJob => "lock",
                    FindingKind::OrphanedParts => "parts",
                    FindingKind::DeadDeduplication => "owner",
                    FindingKind::ActiveWithoutLock => "active",
                    FindingKind::LostJobs => "lost",
                    FindingKind::StuckParents => "parent",
                    _ => continue,
                };
                let step = async || engine.call(mend_job(what, &suspect.id, suspect.state, now)).await;
                let mut done = step().await?;
                while what == "parent" && done == MORE_CHILDREN {
                    done = step().await?;
                }
                mended += done;
            }
            Ok(mended)
        }
    }
}
