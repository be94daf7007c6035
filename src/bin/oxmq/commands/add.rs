//! `oxmq add`

use std::io::Read;

use oxmq::queue::Added;
use oxmq::{JobOptions, Queue};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::jobs::parse;
use crate::args::{Add, Global};
use crate::connect;
use crate::failure::{Failure, Outcome};
use crate::say;

pub(crate) async fn run(global: &Global, args: Add) -> Outcome {
    let text = match &args.data_file {
        None => args.data.clone(),
        Some(path) if path.as_os_str() == "-" => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            text
        }
        Some(path) => std::fs::read_to_string(path).map_err(|error| Failure::about(path.display(), error))?,
    };
    let data: Box<RawValue> = parse("the data", &text)?;
    let options = job_options(&args)?;
    if args.dry_run {
        if global.json {
            say::json(&json!({ "would": 1, "done": 0 }));
        } else {
            let (name, queue) = (say::clean(&args.name), say::clean(&args.queue));
            say::line(format!("1 job '{name}' would be added to {queue}; nothing was changed"));
        }
        return Ok(());
    }
    let client = connect::client(global).await?;
    let queue: Queue<Box<RawValue>> = client.queue(&args.queue).open()?;
    let (job, added) = queue.add(&args.name, data).options(options).outcome().await?;
    let what = match &added {
        Added::Created => "added",
        Added::Existing => "existing",
        Added::Deduplicated => "deduplicated",
        Added::SetAside { .. } => "set aside",
        Added::Replaced { .. } => "replaced",
        _ => "unknown",
    };
    if global.json {
        say::json(&json!({ "id": job.id(), "outcome": what }));
    } else {
        say::line(format!("{what}: {}", say::clean(job.id())));
    }
    Ok(())
}

fn job_options(args: &Add) -> Outcome<JobOptions> {
    let mut options = match &args.opts {
        None => JobOptions::default(),
        Some(text) => {
            // It is no option of a stored job: BullMQ 5 creates a job scheduler from it, and BullMQ 6 ignores it.
            let names = serde_json::from_str::<Map<String, Value>>(text).unwrap_or_default();
            let repeat = ("repeat", "repeat: jobs are repeated by a job scheduler, not by an option");
            let parent = ("parent", "parent: a child is added with its flow, or by its parent");
            if let Some((_, why)) = [repeat, parent].into_iter().find(|(name, _)| names.contains_key(*name)) {
                return Err(Failure::argument("--opts", why));
            }
            JobOptions::from_json(text).map_err(|error| Failure::argument("--opts", error))?
        }
    };
    if let Some(id) = &args.id {
        options = options.job_id(id);
    }
    if let Some(delay) = args.delay {
        options = options.delay(delay);
    }
    if let Some(priority) = args.priority {
        options = options.priority(priority);
    }
    if let Some(attempts) = args.attempts {
        options = options.attempts(attempts);
    }
    Ok(options)
}
