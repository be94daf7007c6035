//! `oxmq show`

use oxmq::queue::Order;
use oxmq::{Job as StoredJob, JobState};
use serde_json::json;

use super::jobs;
use crate::args::{Global, Job};
use crate::connect;
use crate::failure::{Failure, Outcome};
use crate::say;

/// So many of the last lines of its log are shown.
const LINES: i64 = 10;

pub(crate) async fn run(global: &Global, args: Job) -> Outcome {
    let (_client, queue) = connect::queue(global, &args.queue).await?;
    let Some(job) = queue.get_job(&args.id).await? else { return Err(Failure::no_such("job", &args.id)) };
    let handle = queue.job(&args.id);
    let state = handle.get_state().await?;
    let logs = handle.get_logs(0, LINES - 1, Order::Descending).await?;
    let waits = queue.job(&args.id).waits_for().await?;
    // Only a parent has something to say here.
    let waits = waits
        .filter(|why| state == JobState::WaitingChildren || why.pending + why.failed + why.ignored + why.processed > 0);
    if global.json {
        let mut value = jobs::to_json(&job, Some(state));
        value["logs"] = json!({ "count": logs.count, "last": logs.logs });
        value["waitsFor"] = json!(waits.map(|why| why.to_string()));
        say::json(&value);
        return Ok(());
    }
    say::line(format!("{} '{}' of {}: {state}", say::clean(job.id()), say::clean(job.name()), queue.name()));
    times(&job);
    attempts(&job);
    line("progress", job.progress::<serde_json::Value>().ok().flatten().map(|p| p.to_string()).as_deref());
    line("result", job.return_value().ok().flatten().map(|value| value.to_string()).as_deref());
    line("parent", job.parent_key());
    line("deduplication", job.deduplication_id());
    line("scheduler", job.repeat_job_key());
    line("options", Some(job.opts_json()).filter(|opts| *opts != "{}"));
    block("data", &serde_json::to_string_pretty(job.data()).unwrap_or_default());
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
        block(&format!("log, {} lines", logs.count), &lines.join("\n"));
    }
    Ok(())
}

fn times(job: &StoredJob) {
    if let Some(at) = job.timestamp() {
        line("added", Some(&say::ago(at)));
        if job.delay().as_millis() > 0 {
            line("due", Some(&say::ago(at + job.delay())));
        }
    }
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

fn attempts(job: &StoredJob) {
    let mut text = format!("{} of {}", job.attempts_made(), job.attempts().max(1));
    if job.attempts_started() > job.attempts_made() {
        text.push_str(&format!(", started {} times", job.attempts_started()));
    }
    if job.stalled_counter() > 0 {
        text.push_str(&format!(", stalled {} times", job.stalled_counter()));
    }
    line("attempts", Some(&text));
    line("priority", Some(&*job.priority().to_string()).filter(|priority| *priority != "0"));
}

fn line(what: &str, text: Option<&str>) {
    if let Some(text) = text {
        say::line(format!("  {what:<14}{}", say::clean(text)));
    }
}

fn block(what: &str, text: &str) {
    say::line(format!("  {what}"));
    for line in say::clean(text).lines() {
        say::line(format!("    {line}"));
    }
}
