//! `oxmq jobs`

use oxmq::JobState;
use oxmq::queue::{JobsCursor, Order};
use serde::Serialize;
use serde::ser::SerializeMap;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use crate::args::{Global, Jobs};
use crate::connect::{self, AnyJob, AnyJobs, AnyQueue};
use crate::failure::{Failure, IN_PART, Outcome};
use crate::say::{self, Column};

/// The most columns that an id takes: the runs of schedulers have long ones, and who reads an id wants to use it.
const ID: usize = 64;

/// The states of jobs that have not ended.
pub(super) const UNFINISHED: [JobState; 6] = [
    JobState::Active,
    JobState::Waiting,
    JobState::Paused,
    JobState::Prioritized,
    JobState::Delayed,
    JobState::WaitingChildren,
];

pub(crate) fn cursor(text: Option<&str>) -> Outcome<Option<JobsCursor>> {
    text.map(|text| text.parse().map_err(|error| Failure::argument("--after", error))).transpose()
}

pub(crate) async fn run(global: &Global, args: Jobs) -> Outcome {
    let (_client, queue) = connect::queue(global, &args.queue).await?;
    let filter = args.pick.filter(&[&UNFINISHED[..], &[JobState::Failed]].concat())?;
    let mut jobs = queue.jobs(filter.clone());
    if args.count {
        let count = jobs.count().await?;
        if global.json {
            say::json(&json!({ "count": count }));
        } else {
            say::line(count.to_string());
        }
        return Ok(());
    }
    if filter.states().iter().all(|state| state.is_finished()) {
        jobs = jobs.order(if args.asc { Order::Ascending } else { Order::Descending });
    } else if args.asc {
        jobs = jobs.order(Order::Ascending);
    }
    let start = cursor(args.after.as_deref())?;
    let listed = list(global, &queue, jobs, start, args.limit).await?;
    if !global.json {
        show(&queue, &listed.rows);
    }
    if let Some(cursor) = listed.next {
        eprintln!("there may be more: --after {cursor}");
    }
    if listed.unreadable > 0 {
        let text = format!("{} cannot be read: `show` tells what is stored", say::jobs(listed.unreadable));
        return Err(Failure::new(IN_PART, text));
    }
    Ok(())
}

/// What was listed of a queue.
#[derive(Default)]
struct Listed {
    /// Of a table; as JSON each job is written as soon as it is read.
    rows: Vec<Vec<String>>,
    unreadable: u64,
    /// Where it goes on.
    next: Option<JobsCursor>,
}

async fn list(
    global: &Global,
    queue: &AnyQueue,
    jobs: AnyJobs,
    start: Option<JobsCursor>,
    limit: u64,
) -> Outcome<Listed> {
    let mut listed = Listed { next: start, ..Listed::default() };
    let mut left = limit;
    loop {
        let mut page = jobs.clone();
        if let Some(cursor) = listed.next.take() {
            page = page.resume(cursor);
        }
        let page = page.page(u32::try_from(left.min(100)).unwrap_or(100)).await?;
        listed.next = page.next;
        for ((job, id), state) in page.jobs.into_iter().zip(page.ids).zip(page.states) {
            left = left.saturating_sub(1);
            match job {
                Ok(job) if global.json => say::json(&to_json(&job, Some(state))),
                Ok(job) => listed.rows.push(row(&job, state)),
                // A job that cannot be read does not hide the others, and is not hidden either.
                Err(error @ (oxmq::Error::Undecodable { .. } | oxmq::Error::Json { .. })) => {
                    listed.unreadable += 1;
                    let problem = Failure::from(error).text;
                    if global.json {
                        let (queue, state) = (queue.name(), state.as_str());
                        say::json(&json!({ "id": id, "queue": queue, "state": state, "problem": problem }));
                    } else {
                        listed.rows.push(unreadable_row(&id, state, &problem));
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        if left == 0 || listed.next.is_none() {
            return Ok(listed);
        }
    }
}

fn show(queue: &AnyQueue, rows: &[Vec<String>]) {
    if rows.is_empty() {
        eprintln!("no such jobs in '{}'", say::clean(queue.name()));
        return;
    }
    let head = [
        ("ID", Column::Left),
        ("NAME", Column::Left),
        ("STATE", Column::Left),
        ("ADDED", Column::Right),
        ("ATTEMPTS", Column::Right),
        ("DATA OR REASON", Column::Left),
    ];
    say::table_without(&head, rows, &["ATTEMPTS", "ADDED"]);
}

fn row(job: &AnyJob, state: JobState) -> Vec<String> {
    let text = match job.failed_reason() {
        Some(reason) => say::short(reason, 60),
        None => say::short(job.data_json(), 60),
    };
    vec![
        say::short(job.id(), ID),
        say::short(job.name(), 30),
        state.to_string(),
        job.timestamp().map_or_else(|| "-".to_owned(), say::ago),
        format!("{}/{}", job.attempts_made(), job.attempts().max(1)),
        text,
    ]
}

fn unreadable_row(id: &str, state: JobState, problem: &str) -> Vec<String> {
    let unknown = || "?".to_owned();
    let text = format!("cannot be read: {}", say::short(problem, 200));
    vec![say::short(id, ID), unknown(), state.to_string(), unknown(), unknown(), text]
}

/// A job as Node's `toJSON` writes it, with the options as they are stored. JSON values are written unchanged.
pub(crate) struct JobJson(Vec<(&'static str, Box<RawValue>)>);

impl JobJson {
    pub(crate) fn set(&mut self, name: &'static str, value: impl Serialize) {
        // Text and numbers can always be written as JSON.
        self.0.extend(to_raw_value(&value).map(|value| (name, value)));
    }
}

impl Serialize for JobJson {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Returns the text if it is JSON, else a JSON string that holds it.
fn raw(text: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(text.to_owned()).or_else(|_| to_raw_value(text)).ok()
}

pub(crate) fn to_json(job: &AnyJob, state: Option<JobState>) -> JobJson {
    let mut json = JobJson(Vec::with_capacity(24));
    json.set("id", job.id());
    json.set("name", job.name());
    json.set("queue", job.queue_name());
    json.set("state", state.map(JobState::as_str));
    // What people look for first is written first.
    json.set("failedReason", job.failed_reason());
    json.set("data", raw(job.data_json()));
    json.set("opts", raw(job.opts_json()));
    json.set("timestamp", job.timestamp().map(say::millis));
    json.set("delay", u64::try_from(job.delay().as_millis()).unwrap_or(u64::MAX));
    json.set("priority", job.priority());
    json.set("attemptsMade", job.attempts_made());
    json.set("attemptsStarted", job.attempts_started());
    json.set("stalledCounter", job.stalled_counter());
    json.set("processedOn", job.processed_on().map(say::millis));
    json.set("finishedOn", job.finished_on().map(say::millis));
    json.set("processedBy", job.processed_by());
    json.set("progress", job.progress::<Box<RawValue>>().ok().flatten());
    json.set("returnvalue", job.return_value().ok().flatten());
    json.set("stacktrace", job.stacktrace());
    json.set("parentKey", job.parent_key());
    json.set("deduplicationId", job.deduplication_id());
    json.set("repeatJobKey", job.repeat_job_key());
    json
}

/// Refuses a text that is not JSON.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(what: &str, text: &str) -> Outcome<T> {
    serde_json::from_str(text).map_err(|error| Failure::argument(what, format!("it is not JSON: {error}")))
}
