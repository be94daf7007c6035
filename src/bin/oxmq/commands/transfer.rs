//! `oxmq export` and `import`

use std::io::{BufRead, BufReader, BufWriter, Read, Write};

use futures::StreamExt;
use indicatif::ProgressBar;
use oxmq::{JobState, NewJob, Queue};
use serde_json::{Map, Value, json};

use super::{bulk, jobs};
use crate::args::{Export, Global, Import};
use crate::connect;
use crate::failure::{ERROR, Failure, IN_PART, Outcome};
use crate::{options, say};

/// How many jobs are added by one call.
const CHUNK: usize = 500;

pub(crate) async fn export(global: &Global, args: Export) -> Outcome {
    let (_client, queue) = connect::queue(global, &args.queue).await?;
    let mut out: Box<dyn Write> = match &args.output {
        None => Box::new(std::io::stdout()),
        Some(path) => Box::new(std::fs::File::create(path).map_err(|error| Failure::about(path.display(), error))?),
    };
    let mut out = BufWriter::new(&mut out);
    let filter = args.pick.filter(&JobState::ALL)?;
    let bar = if args.output.is_some() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    let (mut written, mut unreadable) = (0_u64, 0_u64);
    // One state after the other, so that each line can say it.
    for state in filter.states().to_vec() {
        let mut found = queue.jobs(args.pick.filter(&JobState::ALL)?.only(state));
        if let Some(limit) = args.limit {
            found = found.limit(limit.saturating_sub(written));
        }
        let mut found = std::pin::pin!(found.stream());
        while let Some(job) = found.next().await {
            match job {
                Ok(job) => {
                    serde_json::to_writer(&mut out, &jobs::to_json(&job, Some(state))).map_err(std::io::Error::from)?;
                    out.write_all(b"\n")?;
                    written += 1;
                    bar.inc(1);
                }
                Err(oxmq::Error::Undecodable { .. } | oxmq::Error::Json { .. }) => unreadable += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }
    out.flush()?;
    bar.finish_and_clear();
    eprintln!("{} written", say::jobs(written));
    if unreadable > 0 {
        return Err(Failure::new(IN_PART, format!("{} cannot be read, and were left out", say::jobs(unreadable))));
    }
    Ok(())
}

pub(crate) async fn import(global: &Global, args: Import) -> Outcome {
    let input: Box<dyn Read> = match &args.input {
        None => Box::new(std::io::stdin()),
        Some(path) => Box::new(std::fs::File::open(path).map_err(|error| Failure::about(path.display(), error))?),
    };
    // All lines are looked at before the first job is added.
    let mut new = Vec::new();
    for (n, line) in BufReader::new(input).lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let job =
            read_job(&line, args.new_ids).map_err(|failure| Failure::about(format!("line {}", n + 1), failure.text))?;
        new.push(job);
    }
    let what = format!("{} would be added to {}", say::jobs(new.len() as u64), args.queue);
    if !bulk::consent(global, &args.consent, &what).await? {
        return Ok(());
    }
    let client = connect::client(global).await?;
    let queue: Queue = client.queue(&args.queue).open()?;
    let bar = if global.json { ProgressBar::hidden() } else { ProgressBar::new(new.len() as u64) };
    let (mut added, mut existing, mut refused) = (0_u64, 0_u64, 0_u64);
    let mut new = new.into_iter().peekable();
    while new.peek().is_some() {
        let chunk: Vec<NewJob<Value>> = new.by_ref().take(CHUNK).collect();
        bar.inc(chunk.len() as u64);
        for outcome in queue.add_bulk(chunk).outcomes().await? {
            match outcome {
                Ok((_, oxmq::queue::Added::Created | oxmq::queue::Added::Replaced { .. })) => added += 1,
                Ok(_) => existing += 1,
                Err(error) => {
                    refused += 1;
                    eprintln!("{}", say::clean(&error.to_string()));
                }
            }
        }
    }
    bar.finish_and_clear();
    if global.json {
        say::json(&json!({ "added": added, "existing": existing, "refused": refused }));
    } else {
        say::line(format!("{} added, {existing} were there already, {refused} refused", say::jobs(added)));
    }
    if refused > 0 { Err(Failure::new(IN_PART, String::new())) } else { Ok(()) }
}

/// A job of a line: `name` and `data` are needed, `opts` and `id` may be there.
fn read_job(line: &str, new_ids: bool) -> Outcome<NewJob<Value>> {
    let value = jobs::parse("it", line)?;
    let name = value["name"].as_str().ok_or_else(|| Failure::new(ERROR, "a text `name` is needed"))?;
    let empty = Map::new();
    let mut opts = value["opts"].as_object().unwrap_or(&empty).clone();
    // An id of the queue's own is given anew; one that somebody chose stays, unless it is not wanted.
    opts.remove("jobId");
    // What is left of the delay counts, not the one that it once had.
    opts.remove("delay");
    let mut options = options::read(&opts)?;
    if let Some(id) = value["id"].as_str().filter(|id| !new_ids && !id.bytes().all(|byte| byte.is_ascii_digit())) {
        options = options.job_id(id);
    }
    if value["state"] == "delayed"
        && let (Some(timestamp), Some(delay)) = (value["timestamp"].as_u64(), value["delay"].as_u64())
    {
        let left = timestamp.saturating_add(delay).saturating_sub(say::millis(say::now()));
        options = options.delay(std::time::Duration::from_millis(left));
    }
    if let Some(priority) = value["priority"].as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0) {
        options = options.priority(priority);
    }
    Ok(NewJob::new(name, value["data"].clone()).options(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_needs_a_name_and_nothing_else() {
        assert!(read_job(r#"{"name":"n"}"#, false).is_ok());
        for bad in ["", "5", r#"{"data":1}"#, r#"{"name":5}"#, r#"{"name":"n","opts":{"attempts":"x"}}"#] {
            assert!(read_job(bad, false).is_err(), "{bad}");
        }
    }
}
