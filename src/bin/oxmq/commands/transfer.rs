//! `oxmq export` and `import`

use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use indicatif::ProgressBar;
use oxmq::queue::{Added, Order};
use oxmq::{JobOptions, JobState, NewJob, Queue};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::{bulk, jobs};
use crate::args::{Export, Global, Import};
use crate::connect::{self, AnyJob, AnyQueue};
use crate::failure::{ERROR, Failure, IN_PART, Outcome, STOPPED};
use crate::say;

/// How many jobs one call adds.
const CHUNK: usize = 500;

/// How many jobs are written together.
const TOGETHER: usize = 100;

pub(crate) async fn export(global: &Global, args: Export) -> Outcome {
    let (_client, queue) = connect::queue(global, &args.queue).await?;
    let mut output = Output { path: args.output.as_deref(), out: None };
    let filter = args.pick.filter(&JobState::ALL)?;
    let bar = if args.output.is_some() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    let (mut written, mut unreadable) = (0_u64, 0_u64);
    let mut stop = std::pin::pin!(tokio::signal::ctrl_c());
    // One state after the other, so that each line can name its state.
    for state in filter.states().to_vec() {
        // What runs first is written first, so that an import keeps the order.
        let mut found = queue.jobs(args.pick.filter(&JobState::ALL)?.only(state)).order(Order::Ascending);
        if let Some(limit) = args.limit {
            found = found.limit(limit.saturating_sub(written));
        }
        let mut found = std::pin::pin!(found.stream().chunks(TOGETHER));
        loop {
            let found = tokio::select! {
                found = found.next() => found,
                _ = &mut stop => {
                    output.open()?.flush()?;
                    bar.finish_and_clear();
                    let text = format!("stopped: only the first {} are written", say::jobs(written));
                    return Err(Failure::new(STOPPED, text));
                }
            };
            let Some(found) = found else { break };
            let due = due(&queue, state, &found).await?;
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
                        written += 1;
                        bar.inc(1);
                    }
                    Err(oxmq::Error::Undecodable { .. } | oxmq::Error::Json { .. }) => unreadable += 1,
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
    output.open()?.flush()?;
    bar.finish_and_clear();
    eprintln!("{} written", say::jobs(written));
    if unreadable > 0 {
        return Err(Failure::new(IN_PART, format!("{} cannot be read, and were left out", say::jobs(unreadable))));
    }
    Ok(())
}

/// Where an export goes. A file is created when the first jobs are read: what cannot be read leaves an older one as it is.
struct Output<'a> {
    path: Option<&'a Path>,
    out: Option<BufWriter<Box<dyn Write>>>,
}

impl Output<'_> {
    fn open(&mut self) -> Outcome<&mut BufWriter<Box<dyn Write>>> {
        let out = match self.out.take() {
            Some(out) => out,
            None => BufWriter::new(self.create()?),
        };
        Ok(self.out.insert(out))
    }

    fn create(&self) -> Outcome<Box<dyn Write>> {
        Ok(match self.path {
            None => Box::new(std::io::stdout()),
            Some(path) => Box::new(std::fs::File::create(path).map_err(|error| Failure::about(path.display(), error))?),
        })
    }
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
    let bar = if global.json { ProgressBar::hidden() } else { ProgressBar::new(new.len() as u64) };
    let Imported { added, existing, refused, problem, stopped } = add_all(&queue, new, &bar).await;
    bar.finish_and_clear();
    if global.json {
        say::json(
            &json!({ "added": added, "existing": existing, "refused": refused, "problem": problem, "stoppedBefore": stopped }),
        );
    } else {
        say::line(format!("{} added, {existing} were there already, {refused} refused", say::jobs(added)));
    }
    if let Some(problem) = problem {
        let code = if added > 0 { IN_PART } else { ERROR };
        let from = stopped.unwrap_or(1);
        let text =
            format!("it failed half-way: {problem}; of the {CHUNK} jobs from line {from} on some may have been added");
        return Err(Failure::new(code, text));
    }
    if let Some(line) = stopped {
        return Err(Failure::new(STOPPED, format!("stopped; continue with --from-line {line}")));
    }
    if refused > 0 { Err(Failure::new(IN_PART, String::new())) } else { Ok(()) }
}

/// A job of the input, with the number of its line.
type Numbered = (u64, NewJob<Box<RawValue>>);

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
        let line: Line = jobs::parse("it", &line).map_err(at)?;
        if !left_out.takes(&line, args.rerun) {
            orphans += u64::from(line.parent_key.is_some());
            new.push((number, read_job(line, args.new_ids).map_err(at)?));
        }
    }
    left_out.tell();
    if orphans > 0 {
        eprintln!("added without their parents, which go on waiting for the former ones: {}", say::jobs(orphans));
    }
    Ok(new)
}

/// How many jobs were added, were there already, or were refused; and what broke it off.
#[derive(Default)]
struct Imported {
    added: u64,
    existing: u64,
    refused: u64,
    problem: Option<String>,
    /// The line that was to be added next when it ended early.
    stopped: Option<u64>,
}

/// Adds the jobs in chunks; Ctrl-C ends it between two of them.
async fn add_all(queue: &Queue<Box<RawValue>>, new: Vec<Numbered>, bar: &ProgressBar) -> Imported {
    let mut imported = Imported::default();
    let mut new = new.into_iter().peekable();
    let mut stop = std::pin::pin!(tokio::signal::ctrl_c());
    while let Some((line, _)) = new.peek() {
        let line = *line;
        if futures::poll!(stop.as_mut()).is_ready() {
            return Imported { stopped: Some(line), ..imported };
        }
        let chunk: Vec<NewJob<Box<RawValue>>> = new.by_ref().take(CHUNK).map(|(_, job)| job).collect();
        bar.inc(chunk.len() as u64);
        let outcomes = match queue.add_bulk(chunk).outcomes().await {
            Ok(outcomes) => outcomes,
            Err(error) => {
                return Imported { problem: Some(Failure::from(error).text), stopped: Some(line), ..imported };
            }
        };
        for outcome in outcomes {
            match outcome {
                Ok((_, Added::Created | Added::Replaced { .. })) => imported.added += 1,
                Ok(_) => imported.existing += 1,
                Err(error) => {
                    imported.refused += 1;
                    eprintln!("{}", say::clean(&error.to_string()));
                }
            }
        }
    }
    imported
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
