//! Estimates how much memory jobs take, from a sample of each state.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt};

use super::finding::{Diagnosis, NameMemory, QueueMemory};
use crate::engine::Engine;
use crate::error::Result;
use crate::script::examine_jobs::{memory_of, name_of};
use crate::state::JobState;

/// How many jobs of a state are measured, half of them from each end.
const WEIGHED: u64 = 100;

/// How many are asked about at the same time.
const AT_ONCE: usize = 16;

/// Measures jobs of all states of a queue. If the user may not ask for it there is no number, and the report says so.
pub(super) async fn weigh(engine: &Engine, report: &mut Diagnosis) -> Result<()> {
    let counts = engine.get_job_counts(&JobState::ALL).await?;
    for state in JobState::ALL {
        let count = counts.get(state);
        if count == 0 {
            continue;
        }
        let jobs = match sample(engine, state, count).await? {
            Ok(jobs) => jobs,
            Err(problem) => {
                report.leave_out(Some(engine.keys.queue()), format!("what jobs weigh: {problem}"));
                return Ok(());
            }
        };
        tell(engine.keys.queue(), state, count, &jobs, report);
    }
    Ok(())
}

/// Returns the names and sizes of some jobs, from both ends; or why the server does not tell.
async fn sample(
    engine: &Engine,
    state: JobState,
    count: u64,
) -> Result<std::result::Result<Vec<(String, u64)>, String>> {
    let half = i64::try_from(WEIGHED / 2).unwrap_or(i64::MAX);
    let mut ids = engine.get_ranges(&[state], 0, half - 1, true).await?;
    ids.extend(engine.get_ranges(&[state], 0, half - 1, false).await?);
    ids.sort_unstable();
    ids.dedup();
    debug_assert!(ids.len() as u64 <= count.max(WEIGHED));
    let asked: Vec<_> = ids
        .into_iter()
        .map(|id| {
            let key = engine.keys.job(&id);
            async move { (engine.call(name_of(&key)).await, engine.call(memory_of(&key)).await) }
        })
        .collect();
    let answers: Vec<_> = stream::iter(asked).buffered(AT_ONCE).collect().await;
    let mut jobs = Vec::with_capacity(answers.len());
    for (name, bytes) in answers {
        match (name, bytes) {
            (Ok(name), Ok(bytes)) if bytes > 0 => jobs.push((name.unwrap_or_default(), bytes)),
            (Ok(_), Ok(_)) => {}
            (Err(error), _) | (_, Err(error)) => return Ok(Err(error.to_string())),
        }
    }
    Ok(Ok(jobs))
}

fn tell(queue: &str, state: JobState, count: u64, jobs: &[(String, u64)], report: &mut Diagnosis) {
    let weighed = jobs.len() as u64;
    let sum = |jobs: &[u64]| jobs.iter().sum::<u64>();
    let all: Vec<u64> = jobs.iter().map(|(_, bytes)| *bytes).collect();
    let Some(bytes_each) = sum(&all).checked_div(weighed) else { return };
    report.memory.push(QueueMemory { queue: queue.to_owned(), state: state.to_string(), count, bytes_each });
    let mut names: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (name, bytes) in jobs {
        names.entry(name).or_default().push(*bytes);
    }
    for (name, weights) in names {
        let found = weights.len() as u64;
        report.names.push(NameMemory {
            queue: queue.to_owned(),
            state: state.to_string(),
            name: name.to_owned(),
            about: count.saturating_mul(found) / weighed,
            bytes_each: sum(&weights) / found,
        });
    }
}
