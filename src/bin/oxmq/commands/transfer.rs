//! `oxmq export` and `import`

mod add;
mod output;

use std::io::{BufRead, BufReader, Read};
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use indicatif::ProgressBar;
use oxmq::queue::Order;
use oxmq::{JobOptions, JobState, NewJob, Queue};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use self::output::Output;
use super::{bulk, jobs};
use crate::args::{Export, Global, Import};
use crate::connect::{self, AnyJob, AnyQueue, SameServer};
use crate::failure::{ERROR, Failure, IN_PART, Outcome, STOPPED};
use crate::say;

/// How many jobs are written together.
const TOGETHER: usize = 100;

/// What was exported.
#[derive(Default)]
struct Exported {
    written: u64,
    unreadable: u64,
}

pub(crate) async fn export(global: &Global, args: Export) -> Outcome {
    let (client, queue) = connect::queue(global, &args.queue).await?;
    let server = SameServer::now(&client).await;
    let mut output = Output::new(args.output.as_deref());
    let bar = if args.output.is_some() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    let mut exported = Exported::default();
    let ended = say::unless_stopped(write_all(&queue, &args, &mut output, &mut exported, &bar)).await;
    bar.finish_and_clear();
    let Exported { written, unreadable } = exported;
    let ended = match ended {
        Some(Ok(())) => server.still("jobs may be missing in what is written").await,
        Some(failed) => failed,
        None => Err(Failure::new(STOPPED, format!("stopped: only the first {} are written", say::jobs(written)))),
    };
    ended.and_then(|()| output.complete()).map_err(|failure| output.give_up(written, failure))?;
    eprintln!("{} written", say::jobs(written));
    if unreadable > 0 {
        return Err(Failure::new(IN_PART, format!("{} cannot be read, and were left out", say::jobs(unreadable))));
    }
    Ok(())
}

/// Writes all jobs of the filter. If it is dropped between two reads, no line is cut.
async fn write_all(
    queue: &AnyQueue,
    args: &Export,
    output: &mut Output<'_>,
    exported: &mut Exported,
    bar: &ProgressBar,
) -> Outcome {
    // One state after the other, so that each line can name its state.
    for state in args.pick.filter(&JobState::ALL)?.states().to_vec() {
        // What runs first is written first, so that an import keeps the order.
        let mut found = queue.jobs(args.pick.filter(&JobState::ALL)?.only(state)).order(Order::Ascending);
        if let Some(limit) = args.limit {
            found = found.limit(limit.saturating_sub(exported.written));
        }
        let mut found = std::pin::pin!(found.stream().chunks(TOGETHER));
        while let Some(found) = found.next().await {
            let due = due(queue, state, &found).await.map_err(|error| half_way(error, exported.written))?;
            for (job, due) in found.into_iter().zip(due) {
                match job {
                    Ok(job) => {
                        let mut line = jobs::to_json(&job, Some(state));
                        if let Some(due) = due {
                            line.set("due", say::millis(due));
                        }
                        let out = output.open()?;
                        serde_json::to_writer(&mut *out, &line).map_err(std::io::Error::from)?;
                        out.write_all(b"\n")?;
                        exported.written += 1;
                        bar.inc(1);
                    }
                    Err(oxmq::Error::Undecodable { .. } | oxmq::Error::Json { .. }) => exported.unreadable += 1,
                    Err(error) => return Err(half_way(error, exported.written)),
                }
            }
        }
    }
    Ok(())
}

/// Tells how much of an export was written before an error.
fn half_way(error: oxmq::Error, written: u64) -> Failure {
    let failure = Failure::from(error);
    if written == 0 {
        return failure;
    }
    let text = format!("it failed half-way: {}; only the first {} are written", failure.text, say::jobs(written));
    Failure::new(IN_PART, text)
}

/// Returns when jobs of this state are due, one answer for each; nothing unless they are delayed. Their fields do not
/// tell: the delay of a retry counts from the failure.
async fn due(
    queue: &AnyQueue,
    state: JobState,
    found: &[oxmq::Result<AnyJob>],
) -> oxmq::Result<Vec<Option<SystemTime>>> {
    if state != JobState::Delayed {
        return Ok(vec![None; found.len()]);
    }
    let ids: Vec<&str> = found.iter().map(|job| job.as_ref().map_or("", |job| job.id())).collect();
    queue.get_due(&ids).await
}

pub(crate) async fn import(global: &Global, args: Import) -> Outcome {
    // All lines are looked at before the first job is added.
    let new = read_all(&args)?;
    let what = format!("{} would be added to {}", say::jobs(new.len() as u64), args.queue);
    if !bulk::consent(global, &args.consent, &what).await? {
        return Ok(());
    }
    let client = connect::client(global).await?;
    let queue: Queue<Box<RawValue>> = client.queue(&args.queue).open()?;
    let server = SameServer::now(&client).await;
    let bar = if global.json { ProgressBar::hidden() } else { ProgressBar::new(new.len() as u64) };
    let imported = add::all(&queue, new, &bar).await;
    bar.finish_and_clear();
    imported.tell(global);
    imported.outcome()?;
    server.still("what was added before may be lost; compare the queue with the file").await
}

/// A job of the input.
#[derive(Clone)]
struct Numbered {
    /// The number of its line.
    line: u64,
    /// How long the line is.
    bytes: usize,
    job: NewJob<Box<RawValue>>,
}

fn read_all(args: &Import) -> Outcome<Vec<Numbered>> {
    let input: Box<dyn Read> = match &args.input {
        None => Box::new(std::io::stdin()),
        Some(path) => Box::new(std::fs::File::open(path).map_err(|error| Failure::about(path.display(), error))?),
    };
    // All lines are checked before the first job is added.
    let (mut new, mut left_out) = (Vec::new(), LeftOut::default());
    let mut orphans = 0;
    for (number, line) in (1_u64..).zip(BufReader::new(input).lines()) {
        let line = line?;
        if line.trim().is_empty() || number < args.from_line {
            continue;
        }
        let at = |failure: Failure| Failure::about(format!("line {number}"), failure.text);
        let bytes = line.len();
        let line: Line = jobs::parse("it", &line).map_err(at)?;
        if !left_out.takes(&line, args.rerun) {
            orphans += u64::from(line.parent_key.is_some());
            new.push(Numbered { line: number, bytes, job: read_job(line, args.new_ids).map_err(at)? });
        }
    }
    left_out.tell();
    if orphans > 0 {
        eprintln!("added without their parents, which go on waiting for the former ones: {}", say::jobs(orphans));
    }
    Ok(new)
}

/// The fields of a line: `name` is required, the others are optional. The data is kept as it is written.
#[derive(Deserialize)]
struct Line {
    name: String,
    data: Option<Box<RawValue>>,
    opts: Option<Map<String, Value>>,
    id: Option<String>,
    state: Option<String>,
    timestamp: Option<u64>,
    #[serde(rename = "parentKey")]
    parent_key: Option<String>,
    delay: Option<u64>,
    due: Option<u64>,
    priority: Option<u64>,
}

/// The jobs of an export that are not added.
#[derive(Default)]
struct LeftOut {
    runs: u64,
    finished: u64,
    parents: u64,
}

impl LeftOut {
    /// Returns whether a line is added: a finished job must not run again unasked, and a parent would run before its
    /// children.
    fn takes(&mut self, line: &Line, rerun: bool) -> bool {
        let is_run = line.id.as_ref().is_some_and(|id| id.starts_with("repeat:"));
        let count = match line.state.as_deref() {
            _ if is_run => &mut self.runs,
            Some("completed" | "failed") if !rerun => &mut self.finished,
            Some("waiting-children") if !rerun => &mut self.parents,
            _ => return false,
        };
        *count += 1;
        true
    }

    fn tell(&self) {
        for (count, why) in [
            (self.runs, "runs of job schedulers, which make their own"),
            (self.finished, "finished (--rerun lets them run again)"),
            (self.parents, "parents, which would run before their children (--rerun adds them)"),
        ] {
            if count > 0 {
                eprintln!("left out, {why}: {}", say::jobs(count));
            }
        }
    }
}

fn read_job(line: Line, new_ids: bool) -> Outcome<NewJob<Box<RawValue>>> {
    let mut opts = line.opts.unwrap_or_default();
    // A number of the queue is replaced by a new one; an id that somebody chose is kept, unless `--new-ids` is set.
    opts.remove("jobId");
    // The rest of the delay applies, not the original one.
    opts.remove("delay");
    let mut options = JobOptions::from_json(&Value::Object(opts).to_string())?;
    if let Some(id) = line.id.filter(|id| !new_ids && !id.bytes().all(|byte| byte.is_ascii_digit())) {
        options = options.job_id(id);
    }
    let by_its_fields = || Some(line.timestamp?.saturating_add(line.delay?));
    if line.state.as_deref() == Some("delayed")
        && let Some(due) = line.due.or_else(by_its_fields)
    {
        options = options.delay(Duration::from_millis(due.saturating_sub(say::millis(say::now()))));
    }
    if let Some(priority) = line.priority.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0) {
        options = options.priority(priority);
    }
    let data = line.data.unwrap_or_else(|| RawValue::NULL.to_owned());
    let job = NewJob::new(line.name, data).options(options);
    match job.check() {
        Err(error @ oxmq::Error::InvalidOption { option: "job_id", .. }) => {
            let text = format!("{}; --new-ids gives each job another", Failure::from(error).text);
            Err(Failure::new(ERROR, text))
        }
        checked => Ok(checked.map(|()| job)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_needs_a_name_and_nothing_else() {
        let read_job = |line: &str, new_ids| read_job(jobs::parse("it", line)?, new_ids);
        assert!(read_job(r#"{"name":"n"}"#, false).is_ok());
        for bad in ["", "5", r#"{"data":1}"#, r#"{"name":5}"#, r#"{"name":"n","opts":{"attempts":"x"}}"#] {
            assert!(read_job(bad, false).is_err(), "{bad}");
        }
    }
}
