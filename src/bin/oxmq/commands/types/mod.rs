//! `oxmq types`: the types of jobs, as stored jobs show them. The types that a program declares are written by the
//! feature `schema` of the library, from within the program: this binary cannot know them.

mod shape;

use std::collections::{BTreeMap, HashSet};

use oxmq::JobState;
use oxmq::queue::Order;
use serde_json::{Map, Value, json};

use crate::args::{Global, Types};
use crate::connect::{self, AnyJob, AnyQueue};
use crate::failure::{Failure, Outcome, STOPPED};
use crate::say;
use shape::{Shape, property};

/// How many names of jobs are distinguished.
const MOST_NAMES: usize = 500;

/// How many jobs one page reads.
const PAGE: u32 = 100;

/// What was seen in the jobs of one name.
#[derive(Default)]
struct Seen {
    jobs: u64,
    data: Shape,
    result: Shape,
}

#[derive(Default)]
struct Observed {
    jobs: u64,
    /// In a small state both ends are the same jobs.
    ids: HashSet<String>,
    names: BTreeMap<String, Seen>,
    /// Jobs of further names.
    left_out: u64,
}

pub(crate) async fn run(global: &Global, args: Types) -> Outcome {
    let (_client, queue) = connect::queue(global, &args.queue).await?;
    let mut observed = Observed::default();
    let is_whole = say::unless_stopped(sample_all(&queue, args.sample, &mut observed)).await.transpose()?.is_some();
    if observed.left_out > 0 {
        eprintln!("left out: {} with names beyond the first {MOST_NAMES}", say::jobs(observed.left_out));
    }
    if global.json {
        say::json(&schema(&args.queue, &observed));
    } else if args.schema {
        let text = serde_json::to_string_pretty(&schema(&args.queue, &observed)).unwrap_or_default();
        say::line(say::escaped(&text));
    } else {
        say::line(typescript(&args.queue, &observed));
    }
    if is_whole {
        return Ok(());
    }
    let seen = say::many(observed.jobs, "job");
    Err(Failure::new(STOPPED, format!("stopped: this is of the {seen} seen so far; --sample looks at fewer")))
}

async fn sample_all(queue: &AnyQueue, most: u64, observed: &mut Observed) -> Outcome {
    for state in JobState::ALL {
        // The jobs added last may differ from those added first.
        for order in [Order::Descending, Order::Ascending] {
            sample(queue, state, order, most.div_ceil(2), observed).await?;
        }
    }
    Ok(())
}

async fn sample(queue: &AnyQueue, state: JobState, order: Order, most: u64, observed: &mut Observed) -> Outcome {
    let (mut left, mut cursor) = (most, None);
    while left > 0 {
        let mut jobs = queue.jobs(state).order(order);
        if let Some(cursor) = cursor {
            jobs = jobs.resume(cursor);
        }
        let page = jobs.page(PAGE.min(u32::try_from(left).unwrap_or(PAGE))).await?;
        left = left.saturating_sub(page.jobs.len() as u64);
        page.jobs.iter().flatten().for_each(|job| observed.meet(job));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    Ok(())
}

impl Observed {
    fn meet(&mut self, job: &AnyJob) {
        if !self.ids.insert(job.id().to_owned()) {
            return;
        }
        self.jobs += 1;
        let is_known = self.names.contains_key(job.name());
        if !is_known && self.names.len() >= MOST_NAMES {
            self.left_out += 1;
            return;
        }
        let seen = self.names.entry(job.name().to_owned()).or_default();
        seen.jobs += 1;
        if let Ok(data) = serde_json::from_str(job.data_json()) {
            seen.data.meet(&data);
        }
        if let Ok(Some(result)) = job.return_value()
            && let Ok(result) = serde_json::from_str(result.get())
        {
            seen.result.meet(&result);
        }
    }
}

fn typescript(queue: &str, observed: &Observed) -> String {
    let line = |text: &str| say::clean(text).replace("*/", "* /");
    let mut text = format!(
        "// Observed in {} of the queue {}, and not declared: other jobs may look otherwise.\n\
         // What a Rust program declares is written by the feature `schema` of oxmq, from its kinds of jobs.\n\n\
         /** From the names of jobs to their data and results, as they were seen. */\n\
         export interface ObservedJobs {{\n",
        say::many(observed.jobs, "stored job"),
        line(queue),
    );
    for (name, seen) in &observed.names {
        text += &format!("  /** Seen in {}, {}. */\n", say::jobs(seen.jobs), say::many(seen.result.seen, "result"));
        let (data, result) = (seen.data.typescript(1), seen.result.typescript(1));
        text += &format!("  {}: {{ data: {data}; result: {result} }};\n", property(name));
    }
    text + "}"
}

fn schema(queue: &str, observed: &Observed) -> Value {
    let names = observed.names.iter().map(|(name, seen)| {
        let schemas = json!({
            "type": "object",
            "description": format!("Seen in {}, {}.", say::jobs(seen.jobs), say::many(seen.result.seen, "result")),
            "properties": { "data": seen.data.schema(), "result": seen.result.schema() },
        });
        (name.clone(), schemas)
    });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": format!("Jobs of the queue {queue}"),
        "description": format!("Observed in {}, and not declared: other jobs may look otherwise.", say::many(observed.jobs, "stored job")),
        "type": "object",
        "properties": names.collect::<Map<_, _>>(),
    })
}
