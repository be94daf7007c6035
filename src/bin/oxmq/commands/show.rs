//! `oxmq show`

use std::time::SystemTime;

use oxmq::JobState;
use oxmq::queue::Order;
use serde_json::json;
use serde_json::value::RawValue;

use super::jobs;
use crate::args::{Global, Job};
use crate::connect::{self, AnyJob, AnyQueue};
use crate::failure::{Failure, IN_PART, Outcome};
use crate::say;

/// How many of the last lines of its log are shown.
const LINES: i64 = 10;

/// How much of one part of a job is shown: more would fill the terminal, and is in what `--json` writes.
const MOST_LINES: usize = 300;
const MOST_COLUMNS: usize = 2_000;

pub(crate) async fn run(global: &Global, args: Job) -> Outcome {
    let (_client, queue) = connect::queue(global, &args.queue).await?;
    let job = match queue.get_job(&args.id).await {
        Err(error @ (oxmq::Error::Undecodable { .. } | oxmq::Error::Json { .. })) => {
            return as_stored(global, &queue, &args.id, &Failure::from(error).text).await;
        }
        job => job?.ok_or_else(|| Failure::no_such("job", &args.id))?,
    };
    let handle = queue.job(&args.id);
    let logs = handle.get_logs(0, LINES - 1, Order::Descending).await?;
    // This also returns the job's state, without searching a whole list.
    let waits = handle.waits_for().await?;
    let state = waits.as_ref().map_or(JobState::Unknown, |why| why.state);
    let due = match state {
        JobState::Delayed => queue.get_due(&[&args.id]).await?.into_iter().next().flatten(),
        _ => None,
    };
    // Only for a parent there is something to say.
    let waits = waits
        .filter(|why| state == JobState::WaitingChildren || why.pending + why.failed + why.ignored + why.processed > 0);
    if global.json {
        let mut value = jobs::to_json(&job, Some(state));
        value.set("due", due.map(say::millis));
        value.set("logs", json!({ "count": logs.count, "last": logs.logs }));
        value.set("waitsFor", waits.map(|why| why.to_string()));
        say::json(&value);
        return Ok(());
    }
    say::line(format!("{} '{}' of {}: {state}", say::one_line(job.id()), say::one_line(job.name()), queue.name()));
    times(&job, due);
    attempts(&job);
    line("progress", job.progress::<Box<RawValue>>().ok().flatten().as_deref().map(RawValue::get));
    line("result", job.return_value().ok().flatten().as_deref().map(RawValue::get));
    line("parent", job.parent_key());
    line("deduplication", job.deduplication_id());
    line("scheduler", job.repeat_job_key());
    line("options", Some(job.opts_json()).filter(|opts| *opts != "{}"));
    block("data", &say::pretty(job.data_json()));
    line("failed for", job.failed_reason());
    if let Some(trace) = job.stacktrace().last() {
        block("last trace", trace);
    }
    if let Some(why) = waits {
        block("children", &why.to_string());
    }
    if logs.count > 0 {
        let mut lines = logs.logs;
        lines.reverse();
        block(&format!("log, {}", say::many(logs.count, "line")), &lines.join("\n"));
    }
    Ok(())
}

/// Shows the stored fields of a job that cannot be read.
async fn as_stored(global: &Global, queue: &AnyQueue, id: &str, problem: &str) -> Outcome {
    let fields = queue.job(id).get_fields().await?;
    let state = queue.job(id).waits_for().await?.map_or(JobState::Unknown, |why| why.state);
    if global.json {
        let hash: serde_json::Map<String, serde_json::Value> =
            fields.into_iter().map(|(name, value)| (name, value.into())).collect();
        say::json(
            &json!({ "id": id, "queue": queue.name(), "state": state.as_str(), "problem": problem, "hash": hash }),
        );
    } else {
        say::line(format!("{} of {}: {state}", say::one_line(id), queue.name()));
        for (name, value) in &fields {
            block(&say::one_line(name), value);
        }
    }
    Err(Failure::new(IN_PART, format!("the job cannot be read, and no worker can read it either: {problem}")))
}

fn times(job: &AnyJob, due: Option<SystemTime>) {
    if let Some(at) = job.timestamp() {
        line("added", Some(&say::ago(at)));
    }
    line("due", due.map(say::ago).as_deref());
    if let Some(at) = job.processed_on() {
        let by = job.processed_by().map(|by| format!(" by {by}")).unwrap_or_default();
        line("started", Some(&format!("{}{by}", say::ago(at))));
        if let Some(run) = job.finished_on().and_then(|end| end.duration_since(at).ok()) {
            line("ran for", Some(&say::span(run)));
        }
    }
    if let Some(at) = job.finished_on() {
        line("finished", Some(&say::ago(at)));
    }
}

fn attempts(job: &AnyJob) {
    let mut text = format!("{} of {}", job.attempts_made(), job.attempts().max(1));
    if job.attempts_started() > job.attempts_made() {
        text.push_str(&format!(", started {}", say::many(job.attempts_started().into(), "time")));
    }
    if job.stalled_counter() > 0 {
        text.push_str(&format!(", stalled {}", say::many(job.stalled_counter().into(), "time")));
    }
    line("attempts", Some(&text));
    line("priority", Some(&*job.priority().to_string()).filter(|priority| *priority != "0"));
}

fn line(what: &str, text: Option<&str>) {
    if let Some(text) = text {
        // The lines of a text are indented, so that none of them looks like another part.
        let text = say::clean(text).replace('\n', &format!("\n{:16}", ""));
        say::line(format!("  {what:<14}{text}"));
    }
}

fn block(what: &str, text: &str) {
    say::line(format!("  {what}"));
    let text = say::clean(text);
    for line in text.lines().take(MOST_LINES) {
        say::line(format!("    {}", say::short(line, MOST_COLUMNS)));
    }
    let left = text.lines().count().saturating_sub(MOST_LINES) as u64;
    if left > 0 {
        say::line(format!("    … and {}, which --json shows", say::many(left, "line")));
    }
}
