//! Commands for many jobs: the jobs are counted, then the user is asked, then it is done in steps; Ctrl-C stops between
//! two steps.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use oxmq::JobState;
use oxmq::job::RetryOptions;
use oxmq::options::JobFilter;
use oxmq::queue::{BulkAction, BulkReport, Jobs};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::jobs::{UNFINISHED, cursor};
use crate::args::{Bulk, Clean, Consent, Delay, Global, Move, Priority, Retry};
use crate::connect::{self, AnyQueue, SameServer};
use crate::failure::{ERROR, Failure, IN_PART, Outcome, STOPPED, USAGE};
use crate::pick::Pick;
use crate::say;

const WAITING: [JobState; 4] = [JobState::Waiting, JobState::Paused, JobState::Prioritized, JobState::Delayed];

pub(crate) async fn retry(global: &Global, args: Retry) -> Outcome {
    let options = RetryOptions::default().reset_attempts_made(args.reset).reset_attempts_started(args.reset);
    let verb = Verb { would: "run again", done: "retried" };
    let finished = |state: &JobState| state.is_finished();
    act(global, args.bulk, &[JobState::Failed], verb, finished, |jobs| jobs.retry_with(options)).await
}

pub(crate) async fn promote(global: &Global, args: Bulk) -> Outcome {
    let verb = Verb { would: "run now", done: "promoted" };
    act(global, args, &[JobState::Delayed], verb, |state| *state == JobState::Delayed, Jobs::promote).await
}

pub(crate) async fn remove(global: &Global, args: Bulk) -> Outcome {
    let verb = Verb { would: "be removed", done: "removed" };
    act(global, args, &JobState::ALL, verb, |_| true, Jobs::remove).await
}

pub(crate) async fn move_to(global: &Global, args: Move) -> Outcome {
    let verb = Verb { would: "move", done: "moved" };
    let movable = |state: &JobState| !matches!(state, JobState::Active | JobState::WaitingChildren);
    act(global, args.bulk, &WAITING, verb, movable, move |jobs| jobs.move_to(&args.to)).await
}

pub(crate) async fn priority(global: &Global, args: Priority) -> Outcome {
    let verb = Verb { would: "get another priority", done: "given another priority" };
    act(global, args.bulk, &WAITING, verb, |state| !state.is_finished(), move |jobs| jobs.change_priority(args.to))
        .await
}

pub(crate) async fn delay(global: &Global, args: Delay) -> Outcome {
    let verb = Verb { would: "become due at another time", done: "given another time" };
    let delayed = |state: &JobState| *state == JobState::Delayed;
    act(global, args.bulk, &[JobState::Delayed], verb, delayed, move |jobs| jobs.change_delay(args.to)).await
}

pub(crate) async fn cancel(global: &Global, args: Bulk, reason: &str) -> Outcome {
    let verb = Verb { would: "be cancelled", done: "cancelled, or their workers asked to stop" };
    act(global, args, &UNFINISHED, verb, |state| !state.is_finished(), |jobs| jobs.cancel(reason)).await
}

pub(crate) async fn clean(global: &Global, args: Clean) -> Outcome {
    if args.pick.older.is_none() {
        return Err(Failure::new(
            USAGE,
            "say how old the jobs must be, for instance --older 7d; `remove` asks for no age",
        ));
    }
    let bulk = Bulk {
        queue: args.queue,
        ids: Vec::new(),
        pick: args.pick,
        all: true,
        limit: args.limit,
        after: args.after,
        consent: args.consent,
    };
    let verb = Verb { would: "be removed", done: "removed" };
    act(global, bulk, &[JobState::Completed, JobState::Failed], verb, |_| true, Jobs::remove).await
}

/// The words for what is done to jobs.
#[derive(Clone, Copy)]
struct Verb {
    would: &'static str,
    done: &'static str,
}

async fn act(
    global: &Global,
    args: Bulk,
    default: &[JobState],
    verb: Verb,
    fits: impl Fn(&JobState) -> bool,
    make: impl Fn(Jobs<IgnoredAny, Box<RawValue>>) -> BulkAction,
) -> Outcome {
    let (client, queue) = connect::queue(global, &args.queue).await?;
    if !args.ids.is_empty() {
        if args.pick.is_narrow() {
            return Err(Failure::new(USAGE, "give ids or a filter, not both"));
        }
        return by_ids(global, &queue, &args, verb, fits, make).await;
    }
    if !args.all && !args.pick.is_narrow() {
        return Err(Failure::new(USAGE, "which jobs? Give ids, a filter, or --all"));
    }
    let filter = args.pick.filter(default)?;
    let from = cursor(args.after.as_deref())?;
    let jobs = || {
        let mut jobs = queue.jobs(filter.clone());
        if let Some(limit) = args.limit {
            jobs = jobs.limit(limit);
        }
        if let Some(cursor) = from.clone() {
            jobs = jobs.resume(cursor);
        }
        jobs
    };
    let places = queue.jobs(filter.clone()).count_candidates().await?;
    let counted = watch(global, make(jobs()).dry_run(true), places, "counting").await?;
    if let Some(problem) = counted.problem {
        return Err(Failure::new(ERROR, format!("{problem}; nothing was changed")));
    }
    if counted.stopped_at.is_some() {
        return Err(Failure::new(STOPPED, "nothing was changed"));
    }
    let would = counted.report.done;
    let words = describe(&args.pick, &filter, &queue, would);
    if args.consent.dry_run || would == 0 {
        told(global, &words, verb.would, &json!({ "would": would, "done": 0 }));
        return Ok(());
    }
    say::confirm(&format!("{words} would {}", verb.would), args.consent.yes).await?;
    let server = SameServer::now(&client).await;
    let ended = watch(global, make(jobs()), places, "working").await?;
    finish(global, &ended, verb)?;
    server.still("what was done may be undone").await
}

fn describe(pick: &Pick, filter: &JobFilter, queue: &AnyQueue, count: u64) -> String {
    format!("{} {} of {}", say::number(count), pick.words(filter), say::clean(queue.name()))
}

fn told(global: &Global, words: &str, would: &str, value: &Value) {
    if global.json { say::json(value) } else { say::line(format!("{words} would {would}; nothing was changed")) }
}

/// The result of a run.
struct Ended {
    report: BulkReport,
    /// Where it was stopped, or failed.
    stopped_at: Option<String>,
    /// Why it failed.
    problem: Option<String>,
    /// Whether it may have done more than it was told of: the server or the connection was lost.
    is_uncertain: bool,
}

/// After a failed step the run tries again a second later, this many times in a row: a broken connection may come back.
pub(super) const PATIENCE: u32 = 5;

/// The pause before another try.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// Returns whether another try would end in the same way.
pub(super) fn is_final(error: &oxmq::Error) -> bool {
    matches!(error, oxmq::Error::InvalidOption { .. }) || error.is_not_permitted() || error.is_wrong_type()
}

/// Runs the action to its end, or until Ctrl-C, with a progress bar on a terminal.
async fn watch(global: &Global, action: BulkAction, places: u64, what: &'static str) -> Outcome<Ended> {
    let mut run = action.start()?;
    let bar = if global.json { ProgressBar::hidden() } else { ProgressBar::new(places) };
    let style = ProgressStyle::with_template("{msg} {bar:30} {human_pos}/{human_len} {per_sec} {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(what);
    bar.enable_steady_tick(Duration::from_millis(200));
    let stop = say::Stop::listen();
    let (mut broken, mut problem, mut is_uncertain) = (0, None, false);
    while !stop.is_asked() && problem.is_none() {
        // A step that has begun is completed, so that its outcome can be reported.
        match run.next().await {
            Ok(None) => {
                bar.finish_and_clear();
                return Ok(Ended { report: run.report().clone(), stopped_at: None, problem, is_uncertain });
            }
            Ok(Some(step)) => {
                broken = 0;
                bar.set_position(step.looked_at.min(places));
            }
            Err(error) if broken < PATIENCE && !is_final(&error) => {
                broken += 1;
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => {
                is_uncertain = !is_final(&error);
                problem = Some(Failure::from(error).text);
            }
        }
    }
    bar.finish_and_clear();
    Ok(Ended { report: run.report().clone(), stopped_at: Some(run.cursor().to_string()), problem, is_uncertain })
}

fn finish(global: &Global, ended: &Ended, verb: Verb) -> Outcome {
    let report = &ended.report;
    if global.json {
        say::json(&json!({
            "done": report.done, "movedOn": report.moved_on, "refused": report.refused, "unknown": report.unknown,
            "refusals": report.refusals.iter().map(|(id, why)| json!({ "id": id, "reason": why.to_string() })).collect::<Vec<_>>(),
            "stoppedAt": ended.stopped_at, "problem": ended.problem,
        }));
    } else {
        told_of(report, verb).iter().for_each(say::line);
    }
    if let Some(problem) = &ended.problem {
        if report.done == 0 {
            let more = if ended.is_uncertain {
                "; a first step may have been carried out, and the same call continues"
            } else {
                ""
            };
            return Err(Failure::new(ERROR, format!("{problem}{more}")));
        }
        let how = ended.stopped_at.as_ref().map_or_else(String::new, |cursor| format!("; --after {cursor} goes on"));
        return Err(Failure::new(IN_PART, format!("it failed half-way: {problem}{how}")));
    }
    if let Some(cursor) = &ended.stopped_at {
        return Err(Failure::new(STOPPED, format!("stopped; continue with --after {cursor}")));
    }
    if report.refused + report.unknown > 0 {
        return Err(Failure::new(IN_PART, String::new()));
    }
    Ok(())
}

/// Says what became of the jobs.
fn told_of(report: &BulkReport, verb: Verb) -> Vec<String> {
    let mut lines = vec![format!("{} {}", say::jobs(report.done), verb.done)];
    if report.moved_on > 0 {
        lines.push(format!("{} had left their state in the meantime, and were left alone", say::jobs(report.moved_on)));
    }
    if report.unknown > 0 {
        lines.push(format!(
            "{} perhaps {}: the connection broke before the answer came; the same call again finds those that were not",
            say::jobs(report.unknown),
            verb.done
        ));
    }
    let mut reasons: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (id, why) in &report.refusals {
        reasons.entry(why.to_string()).or_default().push(id);
    }
    for (why, ids) in reasons {
        let some = ids.iter().take(5).map(|id| say::short(id, 40)).collect::<Vec<_>>().join(", ");
        lines.push(format!("{} not: {why} ({some}{})", ids.len(), if ids.len() > 5 { ", …" } else { "" }));
    }
    lines
}

/// Returns the state of a job, without searching a whole list.
pub(crate) async fn state_of(queue: &AnyQueue, id: &str) -> Outcome<JobState> {
    Ok(queue.job(id).waits_for().await?.map_or(JobState::Unknown, |why| why.state))
}

/// Acts on jobs that are named one by one, each in its present state.
async fn by_ids(
    global: &Global,
    queue: &AnyQueue,
    args: &Bulk,
    verb: Verb,
    fits: impl Fn(&JobState) -> bool,
    make: impl Fn(Jobs<IgnoredAny, Box<RawValue>>) -> BulkAction,
) -> Outcome {
    if let Some(id) = args.ids.iter().find(|id| id.contains('*')) {
        let text = format!("{id}: a star in an id stands for anything, so such an id can only be acted on by --id");
        return Err(Failure::new(USAGE, text));
    }
    let mut found = Vec::new();
    for id in &args.ids {
        match state_of(queue, id).await? {
            JobState::Unknown => return Err(Failure::no_such("job", id)),
            state if !fits(&state) => {
                return Err(Failure::new(ERROR, format!("{id} is {state}, and cannot {}", verb.would)));
            }
            // BullMQ 5 keeps the waiting jobs of a paused queue in another list.
            JobState::Waiting => found.push((id, JobFilter::waiting())),
            state => found.push((id, JobFilter::from(state))),
        }
    }
    let words = format!("{} of {}", say::jobs(found.len() as u64), say::clean(queue.name()));
    if args.consent.dry_run {
        told(global, &words, verb.would, &json!({ "would": found.len(), "done": 0 }));
        return Ok(());
    }
    say::confirm(&format!("{words} would {}", verb.would), args.consent.yes).await?;
    let mut report = BulkReport::default();
    for (id, filter) in found {
        let one = match make(queue.jobs(filter.id(id))).await {
            Ok(one) => one,
            Err(error) => {
                let is_uncertain = !is_final(&error);
                let problem = Some(format!("at {id}: {}", Failure::from(error).text));
                return finish(global, &Ended { report, stopped_at: None, problem, is_uncertain }, verb);
            }
        };
        report.done += one.done;
        report.moved_on += one.moved_on;
        report.refused += one.refused;
        report.unknown += one.unknown;
        report.refusals.extend(one.refusals);
    }
    finish(global, &Ended { report, stopped_at: None, problem: None, is_uncertain: false }, verb)
}

/// Asks whether to go on, for commands that concern a whole queue.
pub(crate) async fn consent(global: &Global, consent: &Consent, what: &str) -> Outcome<bool> {
    if consent.dry_run {
        if global.json {
            say::json(&json!({ "would": what }));
        } else {
            say::line(format!("{what}; nothing was changed"));
        }
        return Ok(false);
    }
    say::confirm(what, consent.yes).await.map(|()| true)
}

#[cfg(test)]
mod tests {
    use oxmq::error::Reason;

    use super::*;

    #[test]
    fn what_did_not_become_of_jobs_is_told_too() {
        let mut report = BulkReport::default();
        (report.done, report.moved_on, report.unknown, report.refused) = (7, 1, 4, 1);
        report.refusals = vec![("odd".to_owned(), Reason::PartOfFlow)];
        let lines = told_of(&report, Verb { would: "move", done: "moved" });
        assert_eq!((lines.len(), &*lines[0]), (4, "7 jobs moved"));
        assert!(lines[2].starts_with("4 jobs perhaps moved: the connection broke"), "{lines:?}");
        assert!(lines[3].ends_with("which it would lose (odd)"), "{lines:?}");
    }
}
