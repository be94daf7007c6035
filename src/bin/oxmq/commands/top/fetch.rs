//! Reads what the screen shows, in the background.

use std::collections::HashMap;

use oxmq::overview::QueueOverview;
use oxmq::queue::Order;
use oxmq::{Client, JobState};

use crate::connect::{AnyJob, AnyQueue};
use crate::failure::{Failure, Outcome};
use crate::say;

/// How many jobs are read for a screen.
const JOBS: u32 = 200;

/// A request.
pub(super) enum Question {
    /// These queues, and the connected workers if `workers` is set.
    Queues { names: Vec<String>, workers: bool },
    /// Jobs of a queue, and the queue.
    Jobs { queue: String, state: JobState },
    /// One job.
    Job { queue: String, id: String },
}

/// An answer.
pub(super) enum Found {
    Queues { overviews: Vec<QueueOverview>, workers: Option<HashMap<String, usize>>, problem: Option<String> },
    Jobs { overview: Box<QueueOverview>, state: JobState, jobs: Vec<JobRow> },
    Job { lines: Vec<String> },
}

/// A job as a row of the screen.
pub(super) struct JobRow {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) added: String,
    pub(super) tries: String,
    /// Why it failed, or its data; or why it cannot be read.
    pub(super) text: String,
}

impl JobRow {
    fn new(id: String, job: oxmq::Result<AnyJob>) -> Self {
        match job {
            Ok(job) => Self {
                id,
                name: say::short(job.name(), 24),
                added: job.timestamp().map_or_else(|| "-".to_owned(), |at| roughly(&say::ago(at))),
                tries: format!("{}/{}", job.attempts_made(), job.attempts().max(1)),
                text: say::short(job.failed_reason().unwrap_or_else(|| job.data_json()), 200),
            },
            Err(error) => {
                let [name, added, tries] = ["?", "?", "?"].map(ToOwned::to_owned);
                let text = format!("cannot be read: {}", say::short(&Failure::from(error).text, 180));
                Self { id, name, added, tries, text }
            }
        }
    }
}

/// Leaves out the second unit of a time, for which a column has no room: `31m ago`, `in 2h`.
fn roughly(ago: &str) -> String {
    match ago.split(' ').collect::<Vec<_>>().as_slice() {
        ["in", large, _] => format!("in {large}"),
        [large, _, "ago"] => format!("{large} ago"),
        _ => ago.to_owned(),
    }
}

pub(super) async fn ask(client: &Client, question: Question) -> Outcome<Found> {
    match question {
        Question::Queues { names, workers } => {
            let mut overviews = Vec::with_capacity(names.len());
            let mut problem = None;
            // A queue that cannot be read does not hide the others.
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
            let queue: AnyQueue = client.queue(&queue).open()?;
            let order = if state.is_finished() { Order::Descending } else { Order::Ascending };
            let page = queue.jobs(state).order(order).page(JOBS).await?;
            let rows = page.ids.into_iter().zip(page.jobs).map(|(id, job)| JobRow::new(id, job));
            Ok(Found::Jobs { overview, state, jobs: rows.collect() })
        }
        Question::Job { queue, id } => {
            let queue: AnyQueue = client.queue(&queue).open()?;
            let job = match queue.get_job(&id).await {
                Err(error @ (oxmq::Error::Undecodable { .. } | oxmq::Error::Json { .. })) => {
                    let mut lines = vec![format!("cannot be read: {}", say::clean(&Failure::from(error).text))];
                    for (name, value) in queue.job(&id).get_fields().await? {
                        lines.push(format!("{}: {}", say::clean(&name), say::short(&value, 2_000)));
                    }
                    return Ok(Found::Job { lines });
                }
                job => job?.ok_or_else(|| Failure::no_such("job", &id))?,
            };
            let why = queue.job(&id).waits_for().await?;
            let value = super::super::jobs::to_json(&job, why.as_ref().map(|why| why.state));
            let mut text = crate::say::pretty(&serde_json::to_string(&value).unwrap_or_default());
            // For a parent, the most interesting question is what it waits for.
            if let Some(why) = why.filter(|why| why.state == JobState::WaitingChildren) {
                text = format!("{why}\n\n{text}");
            }
            Ok(Found::Job { lines: crate::say::clean(&text).lines().map(ToOwned::to_owned).collect() })
        }
    }
}
