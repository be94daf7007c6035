//! `oxmq tail`

use std::time::Duration;

use oxmq::events::{Delivery, EventId, EventsFrom, QueueEvent};
use serde_json::{Value, json};

use crate::args::{Global, Tail};
use crate::connect;
use crate::failure::{ERROR, Failure, Outcome};
use crate::say;

/// With `--no-follow`, the command ends after this time without an event.
const QUIET: Duration = Duration::from_secs(1);

pub(crate) async fn run(global: &Global, args: Tail) -> Outcome {
    let (client, _queue) = connect::queue(global, &args.queue).await?;
    let from = match args.from.as_deref() {
        None => EventsFrom::Now,
        Some("0" | "beginning") => EventsFrom::Beginning,
        Some(id) => EventsFrom::After(id.parse::<EventId>().map_err(|error| Failure::argument("--from", error))?),
    };
    let mut events = client.queue_events(&args.queue).from(from).start()?;
    events.ready().await?;
    if !global.json && !args.no_follow && from == EventsFrom::Now {
        eprintln!("listening to {}; Ctrl-C ends it", say::clean(&args.queue));
    }
    let mut left = args.limit.unwrap_or(u64::MAX);
    while left > 0 {
        let next = async {
            if !args.no_follow {
                return events.recv().await;
            }
            tokio::time::timeout(QUIET, events.recv()).await.unwrap_or(None)
        };
        let Some(delivery) = next.await else { break };
        match delivery {
            Delivery::Event { id, event } if is_wanted(&args, &event) => {
                show(global, id, &event);
                left -= 1;
            }
            Delivery::Gap { after, is_rollback: true, .. } => {
                eprintln!("the server has lost its latest data, up to {after}: it goes on from an earlier state");
            }
            Delivery::Gap { after, before, .. } => eprintln!("events between {after} and {before} may be missing"),
            Delivery::Lagged { missed } => eprintln!("{missed} events were missed: this reader is too slow"),
            Delivery::Restarted { problem } | Delivery::Refused { problem } => {
                return Err(Failure::new(ERROR, problem));
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_wanted(args: &Tail, event: &QueueEvent) -> bool {
    let is_named = args.event.is_empty() || args.event.iter().any(|name| name == event.name());
    is_named && args.id.as_ref().is_none_or(|id| event.job_id() == Some(id))
}

fn show(global: &Global, id: EventId, event: &QueueEvent) {
    let more = details(event);
    if global.json {
        let mut value = json!({ "id": id.to_string(), "event": event.name(), "jobId": event.job_id() });
        for (name, detail) in more {
            value[name] = detail;
        }
        return say::json(&value);
    }
    let text = |detail: &Value| detail.as_str().map_or_else(|| detail.to_string(), ToOwned::to_owned);
    let more: Vec<String> = more
        .iter()
        .map(|(name, detail)| format!("{}={}", say::short(name, 40), say::short(&text(detail), 100)))
        .collect();
    let job = say::short(event.job_id().unwrap_or("-"), 40);
    let name = say::short(event.name(), 40);
    say::line(format!("{id}  {name:<18} {job}  {}", more.join(" ")).trim_end());
}

/// Returns the fields of an event besides its name and its job, with BullMQ's names.
fn details(event: &QueueEvent) -> Vec<(String, Value)> {
    let parsed = |json: &oxmq::events::JsonText| json.parse::<Value>().unwrap_or_else(|_| json!(json.as_str()));
    let one = |name: &str, value: Value| if value.is_null() { Vec::new() } else { vec![(name.to_owned(), value)] };
    match event {
        QueueEvent::Added { name, .. } => one("name", json!(name)),
        QueueEvent::Completed { return_value, .. } => one("returnvalue", parsed(return_value)),
        QueueEvent::Failed { failed_reason, .. } => one("failedReason", json!(failed_reason)),
        QueueEvent::RetriesExhausted { attempts_made, .. } => one("attemptsMade", json!(attempts_made)),
        QueueEvent::Delayed { due, .. } => one("delay", json!(due.map(say::millis))),
        QueueEvent::Progress { data, .. } => one("data", parsed(data)),
        QueueEvent::Removed { prev, .. } | QueueEvent::Waiting { prev, .. } => {
            one("prev", json!(prev.map(oxmq::JobState::as_str)))
        }
        QueueEvent::Deduplicated { deduplication_id, deduplicated_job_id, .. } => {
            let mut both = one("deduplicationId", json!(deduplication_id));
            both.extend(one("deduplicatedJobId", json!(deduplicated_job_id)));
            both
        }
        QueueEvent::Cleaned { count, .. } => one("count", json!(count)),
        QueueEvent::Other { fields, .. } => fields.iter().map(|(name, value)| (name.clone(), json!(value))).collect(),
        _ => Vec::new(),
    }
}
