//! Reads what an overview shows of a queue: `lua/summarize_queue.lua`.

use redis::Value;

use super::{Call, Resend, Script, reply, script};
use crate::state::{JobCounts, JobState};

pub(crate) static SCRIPT: Script = script!("summarize_queue", Produces, uses: ["queue"]);

/// The queue as it is stored.
#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) counts: JobCounts,
    pub(crate) is_paused: bool,
    pub(crate) version: Option<String>,
    pub(crate) concurrency: Option<u64>,
    /// The id and timestamp of the oldest job among those to run next.
    pub(crate) oldest: Option<(String, u64)>,
    /// When the first delayed job is due, in ms.
    pub(crate) due: Option<u64>,
    pub(crate) completed: Minutes,
    pub(crate) failed: Minutes,
    pub(crate) recent: Vec<Recent>,
    /// How many jobs completed, and failed.
    pub(crate) last_minute: [u64; 2],
    pub(crate) last_hour: [u64; 2],
    /// When the last one completed, and failed, in ms.
    pub(crate) last: [Option<u64>; 2],
    pub(crate) schedulers: u64,
}

/// The metrics of completed or of failed jobs.
#[derive(Debug, Default)]
pub(crate) struct Minutes {
    pub(crate) count: u64,
    /// When the newest minute ended, in ms.
    pub(crate) previous_at: u64,
    pub(crate) previous_count: u64,
    /// How many jobs finished in each minute, newest first.
    pub(crate) data: Vec<u64>,
}

/// The times of a job that has finished, in ms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recent {
    pub(crate) timestamp: Option<u64>,
    pub(crate) delay: Option<u64>,
    pub(crate) processed_on: Option<u64>,
    pub(crate) finished_on: Option<u64>,
}

/// Reads the summary. `recent` is how many completed and how many failed jobs are looked at.
pub(crate) fn summarize_queue(minutes: u32, recent: u32, now: u64) -> Call<Summary> {
    Call::to(&SCRIPT).number(minutes).number(recent).number(now).resend(Resend::Reads).read(summary)
}

fn summary(value: Value) -> Option<Summary> {
    let [counts, meta, oldest, due, completed, failed, recent, ended, schedulers] = reply::tuple(value)?;
    let mut all = JobCounts::default();
    for (state, number) in JobState::ALL.into_iter().zip(reply::counts(counts)?) {
        all.set(state, number);
    }
    let [is_paused, version, concurrency]: [String; 3] = reply::texts(meta)?.try_into().ok()?;
    let [a, b, c, d, completed_at, failed_at] = reply::tuple(ended)?;
    let [a, b, c, d] = [a, b, c, d].map(|count| reply::unsigned(&count).unwrap_or(0));
    let [oldest, since]: [String; 2] = reply::texts(oldest)?.try_into().ok()?;
    Some(Summary {
        counts: all,
        is_paused: !is_paused.is_empty(),
        version: Some(version).filter(|version| !version.is_empty()),
        concurrency: stored(&concurrency),
        oldest: stored(&since).map(|since| (oldest, since)),
        due: stored(&reply::text(due)?).map(|score| score / PLACES),
        completed: minutes(completed)?,
        failed: minutes(failed)?,
        recent: recents(reply::array(recent)?),
        last_minute: [a, b],
        last_hour: [c, d],
        last: [stored(&reply::text(completed_at)?), stored(&reply::text(failed_at)?)],
        schedulers: reply::unsigned(&schedulers)?,
    })
}

/// A delayed job's score is its due time in ms times this, plus its place within that millisecond; see
/// `lua/shared/wake.lua`.
const PLACES: u64 = 4096;

/// Reads a number, if there is one.
fn stored(text: &str) -> Option<u64> {
    if text.is_empty() { None } else { reply::stored(text.as_bytes()) }
}

fn minutes(value: Value) -> Option<Minutes> {
    let [count, previous_at, previous_count, data] = reply::tuple(value)?;
    let figure = |value: &Value| reply::unsigned(value).unwrap_or(0);
    Some(Minutes {
        count: figure(&count),
        previous_at: figure(&previous_at),
        previous_count: figure(&previous_count),
        data: reply::array(data)?.iter().map(figure).collect(),
    })
}

fn recents(values: Vec<Value>) -> Vec<Recent> {
    let number = |value: &Value| match value {
        Value::BulkString(text) if text.is_empty() => None,
        other => reply::unsigned(other),
    };
    let (jobs, _) = values.as_chunks::<4>();
    jobs.iter()
        .map(|[timestamp, delay, processed_on, finished_on]| Recent {
            timestamp: number(timestamp),
            delay: number(delay),
            processed_on: number(processed_on),
            finished_on: number(finished_on),
        })
        .collect()
}
