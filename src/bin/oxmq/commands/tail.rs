//! `oxmq tail`

use std::time::Duration;

use oxmq::Client;
use oxmq::events::{Delivery, EventId, EventsFrom, QueueEvent};
use serde_json::{Value, json};

use crate::args::{Global, Tail};
use crate::connect::{self, SameServer};
use crate::failure::{ERROR, Failure, Outcome};
use crate::say;

/// With `--no-follow`, the command ends after this time without an event.
const QUIET: Duration = Duration::from_secs(1);

/// After this time without an event it is asked whether the server still answers.
const SILENCE: Duration = Duration::from_secs(5);

pub(crate) async fn run(global: &Global, args: Tail) -> Outcome {
    let (client, _queue) = connect::queue(global, &args.queue).await?;
    let server = SameServer::now(&client).await;
    let from = match args.from.as_deref() {
        None => EventsFrom::Now,
        Some("0" | "beginning") => EventsFrom::Beginning,
        Some(id) => EventsFrom::After(id.parse::<EventId>().map_err(|error| Failure::argument("--from", error))?),
    };
    let mut events = client.queue_events(&args.queue).from(from).start()?;
    let mut is_away = false;
    let mut last = loop {
        match tokio::time::timeout(SILENCE, events.ready()).await {
            Ok(ready) => break ready?,
            Err(_) if args.no_follow => ping(&client).await?,
            Err(_) => is_away = tell_of_server(&client, is_away).await,
        }
    };
    if !global.json && !args.no_follow && from == EventsFrom::Now {
        eprintln!("listening to {}; Ctrl-C ends it", say::clean(&args.queue));
    }
    let mut left = args.limit.unwrap_or(u64::MAX);
    while left > 0 {
        let most = if args.no_follow { QUIET } else { SILENCE };
        let delivery = match tokio::time::timeout(most, events.recv()).await {
            Ok(Some(delivery)) => {
                if std::mem::take(&mut is_away) {
                    eprintln!("{IS_BACK}");
                }
                delivery
            }
            Ok(None) => break,
            Err(_) if args.no_follow => match newest(&client, &args.queue).await? {
                newest if newest <= last => return server.still("events may be missing").await,
                _ => continue,
            },
            Err(_) => {
                is_away = tell_of_server(&client, is_away).await;
                continue;
            }
        };
        match delivery {
            Delivery::Event { id, event } => {
                last = id;
                if is_wanted(&args, &event) {
                    show(global, id, &event);
                    left -= 1;
                }
            }
            other => note(other)?,
        }
    }
    Ok(())
}

/// Tells what is no event.
fn note(delivery: Delivery) -> Outcome {
    match delivery {
        Delivery::Gap { after, is_rollback: true, .. } => {
            eprintln!("the server has lost its latest data, up to {after}: it goes on from an earlier state");
        }
        Delivery::Gap { after, before, .. } => eprintln!("events between {after} and {before} may be missing"),
        Delivery::Lagged { missed } => eprintln!("{missed} events were missed: this reader is too slow"),
        Delivery::Restarted { problem } | Delivery::Refused { problem } => return Err(Failure::new(ERROR, problem)),
        _ => {}
    }
    Ok(())
}

/// Returns the newest event of the queue: while there is one that was not read, silence is not the end.
async fn newest(client: &Client, queue: &str) -> Outcome<EventId> {
    // Without a server there would be no answer, ever.
    ping(client).await?;
    let events = client.queue_events(queue).from(EventsFrom::Now).start()?;
    match tokio::time::timeout(SILENCE, events.ready()).await {
        Ok(newest) => Ok(newest?),
        Err(_) => Err(Failure::new(ERROR, "the server does not answer")),
    }
}

/// Asks whether the server answers; where this user may not ask, it is taken to do so.
async fn ping(client: &Client) -> oxmq::Result<()> {
    client.ping().await.or_else(|error| if error.is_not_permitted() { Ok(()) } else { Err(error) })
}

const IS_BACK: &str = "the server is back";

/// Tells once that the server is away, and once that it is back; returns whether it is away.
async fn tell_of_server(client: &Client, was_away: bool) -> bool {
    match ping(client).await {
        Err(error) if !was_away => {
            eprintln!("{}; waiting for the server", say::clean(&Failure::from(error).text));
            true
        }
        Err(_) => true,
        Ok(()) => {
            if was_away {
                eprintln!("{IS_BACK}");
            }
            false
        }
    }
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
