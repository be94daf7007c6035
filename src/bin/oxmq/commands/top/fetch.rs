//! What the screen shows, asked for in the background.

use std::collections::HashMap;

use oxmq::overview::QueueOverview;
use oxmq::queue::Order;
use oxmq::{Client, Job, JobState, Queue};

use crate::failure::{Failure, Outcome};

/// So many jobs are read for a screen.
const JOBS: u32 = 200;

/// What is asked.
pub(super) enum Question {
    /// These queues, and whether who works is wanted too.
    Queues { names: Vec<String>, workers: bool },
    /// Jobs of a queue, and the queue.
    Jobs { queue: String, state: JobState },
    /// One job.
    Job { queue: String, id: String },
}

/// What was found.
pub(super) enum Found {
    Queues { overviews: Vec<QueueOverview>, workers: Option<HashMap<String, usize>>, problem: Option<String> },
    Jobs { overview: Box<QueueOverview>, state: JobState, jobs: Vec<Job> },
    Job { lines: Vec<String> },
}

pub(super) async fn ask(client: &Client, question: Question) -> Outcome<Found> {
    match question {
        Question::Queues { names, workers } => {
            let mut overviews = Vec::with_capacity(names.len());
            let mut problem = None;
            // One queue that cannot be read hides no other.
            for (name, found) in names.iter().zip(client.get_queue_overviews(&names).await) {
                match found {
                    Ok(overview) => overviews.push(overview),
                    Err(error) => problem = Some(format!("{name}: {}", Failure::from(error).text)),
                }
            }
            let workers = if workers { client.get_all_workers().await.ok() } else { None };
            let count =
                |all: HashMap<String, Vec<_>>| all.into_iter().map(|(name, found)| (name, found.len())).collect();
            Ok(Found::Queues { overviews, workers: workers.map(count), problem })
        }
        Question::Jobs { queue, state } => {
            let overview = Box::new(client.get_queue_overview(&queue).await?);
            let queue: Queue = client.queue(&queue).open()?;
            let order = if state.is_finished() { Order::Descending } else { Order::Ascending };
            let page = queue.jobs(state).order(order).page(JOBS).await?;
            Ok(Found::Jobs { overview, state, jobs: page.jobs.into_iter().flatten().collect() })
        }
        Question::Job { queue, id } => {
            let queue: Queue = client.queue(&queue).open()?;
            let Some(job) = queue.get_job(&id).await? else { return Err(Failure::no_such("job", &id)) };
            let state = queue.job(&id).get_state().await?;
            let value = super::super::jobs::to_json(&job, Some(state));
            let text = serde_json::to_string_pretty(&value).unwrap_or_default();
            Ok(Found::Job { lines: crate::say::clean(&text).lines().map(ToOwned::to_owned).collect() })
        }
    }
}
