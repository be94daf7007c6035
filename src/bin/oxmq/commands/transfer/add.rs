//! Adds the jobs of an import, call by call, so that it is known of each what has become of it.

use indicatif::ProgressBar;
use oxmq::queue::Added;
use oxmq::{Error, NewJob, Queue};
use serde_json::json;
use serde_json::value::RawValue;

use super::super::bulk::{PATIENCE, PAUSE, is_final};
use super::Numbered;
use crate::args::Global;
use crate::failure::{ERROR, Failure, IN_PART, Outcome, STOPPED};
use crate::say::{self, Stop};

/// How many jobs, and how many bytes of lines, are added together: so many fit into one call, and of one call that fails no
/// later job is added before an earlier one.
const JOBS: usize = 150;
const BYTES: usize = 512 * 1024;

/// What has become of the jobs.
#[derive(Default)]
pub(super) struct Imported {
    added: u64,
    existing: u64,
    refused: u64,
    /// The lines of jobs that may have been added, since the reply was lost.
    unknown: Vec<u64>,
    /// Why it ended early, unless somebody stopped it.
    problem: Option<String>,
    /// The line that was to be added next when it ended early.
    stopped: Option<u64>,
}

/// Adds the jobs; Ctrl-C ends it between two calls.
pub(super) async fn all(queue: &Queue<Box<RawValue>>, new: Vec<Numbered>, bar: &ProgressBar) -> Imported {
    let mut imported = Imported::default();
    let mut rest = new.as_slice();
    let stop = Stop::listen();
    let mut broken = 0;
    while let Some(next) = rest.first() {
        if stop.is_asked() {
            imported.stopped = Some(next.line);
            break;
        }
        let call = &rest[..call_length(rest)];
        match imported.add(queue, call).await {
            None => {
                bar.inc(call.len() as u64);
                rest = &rest[call.len()..];
                broken = 0;
            }
            Some(error) if broken < PATIENCE && !is_final(&error) => {
                broken += 1;
                tokio::time::sleep(PAUSE).await;
            }
            Some(error) => {
                (imported.stopped, imported.problem) = (Some(next.line), Some(Failure::from(error).text));
                break;
            }
        }
    }
    imported
}

/// Returns how many jobs the next call adds, at least one.
fn call_length(rest: &[Numbered]) -> usize {
    let mut bytes = 0;
    let fitting = rest.iter().take(JOBS).take_while(|new| {
        bytes += new.bytes;
        bytes <= BYTES
    });
    fitting.count().max(1)
}

impl Imported {
    /// Adds the jobs of one call; returns why, if none of them was added.
    async fn add(&mut self, queue: &Queue<Box<RawValue>>, call: &[Numbered]) -> Option<Error> {
        let jobs: Vec<NewJob<Box<RawValue>>> = call.iter().map(|new| new.job.clone()).collect();
        let mut outcomes = match queue.add_bulk(jobs).outcomes().await {
            Ok(outcomes) => outcomes,
            Err(error) => return Some(error),
        };
        // What keeps a call from being sent holds for all its jobs.
        let keeps_all =
            |error: &Error| !matches!(error, Error::Refused { .. }) && (error.is_retryable() || is_final(error));
        if matches!(outcomes.first(), Some(Err(error)) if keeps_all(error)) {
            return outcomes.swap_remove(0).err();
        }
        for (new, outcome) in call.iter().zip(outcomes) {
            match outcome {
                Ok((_, Added::Created | Added::Replaced { .. })) => self.added += 1,
                Ok(_) => self.existing += 1,
                Err(Error::OutcomeUnknown { .. }) => self.unknown.push(new.line),
                Err(error) => {
                    self.refused += 1;
                    eprintln!("line {}: {}", new.line, say::clean(&error.to_string()));
                }
            }
        }
        None
    }

    pub(super) fn tell(&self, global: &Global) {
        let Self { added, existing, refused, unknown, problem, stopped } = self;
        if global.json {
            return say::json(&json!({
                "added": added, "existing": existing, "refused": refused, "unknown": spans(unknown), "problem": problem,
                "stoppedBefore": stopped,
            }));
        }
        say::line(format!("{} added, {existing} were there already, {refused} refused", say::jobs(*added)));
        if !unknown.is_empty() {
            let lines =
                |(first, last): (u64, u64)| if first == last { first.to_string() } else { format!("{first}-{last}") };
            let lines: Vec<String> = spans(unknown).into_iter().map(lines).collect();
            say::line(format!(
                "{} perhaps added: the connection broke before the answer came; look for those of the lines {}, and add \
                 them again if they are missing",
                say::jobs(unknown.len() as u64),
                lines.join(", ")
            ));
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        let is_begun = self.added + self.existing > 0 || !self.unknown.is_empty();
        match (&self.problem, self.stopped) {
            (Some(problem), line) if is_begun => {
                let line = line.unwrap_or(1);
                Err(Failure::new(IN_PART, format!("it failed half-way: {problem}; continue with --from-line {line}")))
            }
            (Some(problem), _) => Err(Failure::new(ERROR, format!("{problem}; nothing was added"))),
            (None, Some(line)) => Err(Failure::new(STOPPED, format!("stopped; continue with --from-line {line}"))),
            (None, None) if self.refused > 0 || !self.unknown.is_empty() => Err(Failure::new(IN_PART, String::new())),
            (None, None) => Ok(()),
        }
    }
}

/// Returns the first and the last of each run of lines.
fn spans(lines: &[u64]) -> Vec<(u64, u64)> {
    let mut spans: Vec<(u64, u64)> = Vec::new();
    for line in lines {
        match spans.last_mut() {
            Some((_, last)) if *last + 1 == *line => *last = *line,
            _ => spans.push((*line, *line)),
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_follow_each_other_are_told_together() {
        assert_eq!(spans(&[]), []);
        assert_eq!(spans(&[3, 4, 5, 9, 11, 12]), [(3, 5), (9, 9), (11, 12)]);
    }

    #[test]
    fn one_call_is_bounded_in_jobs_and_bytes() {
        let of = |count, bytes| -> Vec<Numbered> {
            let job = NewJob::new("job", RawValue::NULL.to_owned());
            (0..count).map(|line| Numbered { line, bytes, job: job.clone() }).collect()
        };
        assert_eq!(call_length(&of(1_000, 10)), JOBS);
        assert_eq!(call_length(&of(10, BYTES / 2)), 2);
        assert_eq!(call_length(&of(2, BYTES * 2)), 1);
    }
}
