//! `oxmq jobs`

use oxmq::queue::{JobsCursor, Order};
use oxmq::{Job, JobState, Queue};
use serde_json::{Value, json};

use crate::args::{Global, Jobs};
use crate::connect;
use crate::failure::{ERROR, Failure, Outcome};
use crate::say::{self, Column};

/// What is of interest where no state is named.
const LIVELY: [JobState; 7] = [
    JobState::Active,
    JobState::Waiting,
    JobState::Paused,
    JobState::Prioritized,
    JobState::Delayed,
    JobState::WaitingChildren,
    JobState::Failed,
];

pub(crate) fn cursor(text: Option<&str>) -> Outcome<Option<JobsCursor>> {
    text.map(|text| text.parse().map_err(|error| Failure::about("--after", error))).transpose()
}

pub(crate) async fn run(global: &Global, args: Jobs) -> Outcome {
    let (_client, queue) = connect::queue(global, &args.queue).await?;
    let filter = args.pick.filter(&LIVELY)?;
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
    let mut next = cursor(args.after.as_deref())?;
    let mut left = args.limit;
    let mut rows = Vec::new();
    loop {
        let mut page = jobs.clone();
        if let Some(cursor) = next.take() {
            page = page.resume(cursor);
        }
        let page = page.page(u32::try_from(left.min(100)).unwrap_or(100)).await?;
        next = page.next;
        for (job, state) in page.jobs.into_iter().zip(page.states) {
            left = left.saturating_sub(1);
            let job = job?;
            if global.json {
                say::json(&to_json(&job, Some(state)));
            } else {
                rows.push(row(&job, state));
            }
        }
        if left == 0 || next.is_none() {
            break;
        }
    }
    if !global.json {
        show(&queue, &rows);
    }
    if let Some(cursor) = next {
        eprintln!("there may be more: --after {cursor}");
    }
    Ok(())
}

fn show(queue: &Queue, rows: &[Vec<String>]) {
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
    say::table(&head, rows);
}

fn row(job: &Job, state: JobState) -> Vec<String> {
    let text = match job.failed_reason() {
        Some(reason) => say::short(reason, 60),
        None => say::short(job.data_json(), 60),
    };
    vec![
        say::short(job.id(), 40),
        say::short(job.name(), 30),
        state.to_string(),
        job.timestamp().map_or_else(|| "-".to_owned(), say::ago),
        format!("{}/{}", job.attempts_made(), job.attempts().max(1)),
        text,
    ]
}

/// A job as Node's `toJSON` has it, with the options as they are stored.
pub(crate) fn to_json(job: &Job, state: Option<JobState>) -> Value {
    let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_else(|_| Value::String(text.to_owned()));
    let mut value = json!({
        "id": job.id(),
        "name": job.name(),
        "queue": job.queue_name(),
        "data": job.data(),
        "opts": parsed(job.opts_json()),
        "timestamp": job.timestamp().map(say::millis),
        "delay": u64::try_from(job.delay().as_millis()).unwrap_or(u64::MAX),
        "priority": job.priority(),
        "attemptsMade": job.attempts_made(),
        "attemptsStarted": job.attempts_started(),
        "stalledCounter": job.stalled_counter(),
        "processedOn": job.processed_on().map(say::millis),
        "finishedOn": job.finished_on().map(say::millis),
        "processedBy": job.processed_by(),
        "progress": job.progress::<Value>().ok().flatten(),
        "returnvalue": job.return_value().ok().flatten(),
        "failedReason": job.failed_reason(),
        "stacktrace": job.stacktrace(),
        "parentKey": job.parent_key(),
        "deduplicationId": job.deduplication_id(),
        "repeatJobKey": job.repeat_job_key(),
    });
    if let Some(state) = state {
        value["state"] = Value::from(state.as_str());
    }
    value
}

/// Refuses a text that is no JSON.
pub(crate) fn parse(what: &str, text: &str) -> Outcome<Value> {
    serde_json::from_str(text).map_err(|error| Failure::new(ERROR, format!("{what} is no JSON: {error}")))
}
