//! `oxmq queues`

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use oxmq::overview::QueueOverview;
use oxmq::{Client, JobState};
use serde_json::{Map, Value, json};

use crate::args::{Global, Queues, Sort};
use crate::connect;
use crate::failure::{ERROR, Failure, IN_PART, NOT_FOUND, Outcome};
use crate::say::{self, Column};

pub(crate) async fn run(global: &Global, args: Queues) -> Outcome {
    let client = connect::client(global).await?;
    let is_named = !args.names.is_empty();
    let names = if !is_named { find(&client).await? } else { args.names };
    // If the user may not list clients, everything else is shown.
    let workers: Option<HashMap<_, _>> = client.get_all_workers().await.ok();
    let workers_of = |name: &str| workers.as_ref().map(|all| all.get(name).map_or(0, Vec::len) as u64);
    let mut found = look_at(&client, &names, is_named).await;
    sort(&mut found.queues, args.sort);
    if global.json {
        for queue in &found.queues {
            say::json(&to_json(queue, workers_of(&queue.name)));
        }
    } else if !found.queues.is_empty() {
        let rows: Vec<Vec<String>> = found.queues.iter().map(|queue| row(queue, workers_of(&queue.name))).collect();
        say::table_without(&HEAD, &rows, &LEAST);
    }
    if names.is_empty() {
        return Err(none(global));
    }
    all_were_read(&found, names.len())
}

/// Creates the error that there is no queue at all.
pub(super) fn none(global: &Global) -> Failure {
    let prefix = connect::prefix(global);
    Failure::new(NOT_FOUND, format!("no queue under the prefix '{prefix}'; --prefix names another one"))
}

const HEAD: [(&str, Column); 13] = [
    ("QUEUE", Column::Left),
    ("WAITING", Column::Right),
    ("ACTIVE", Column::Right),
    ("DELAYED", Column::Right),
    ("CHILDREN", Column::Right),
    ("FAILED", Column::Right),
    ("COMPLETED", Column::Right),
    ("OLDEST", Column::Right),
    ("DONE/MIN", Column::Right),
    ("WAIT", Column::Right),
    ("RUN", Column::Right),
    ("WORKERS", Column::Right),
    ("", Column::Left),
];

/// The columns that a narrow terminal leaves out, the first of them first.
const LEAST: [&str; 7] = ["RUN", "WAIT", "COMPLETED", "CHILDREN", "DELAYED", "DONE/MIN", "ACTIVE"];

/// The queues of these names, as far as there are such and they can be read.
struct Found {
    queues: Vec<QueueOverview>,
    unread: usize,
    unknown: usize,
}

/// Reads all of them, and reports a wrong name at once. A queue that cannot be read does not hide the others.
async fn look_at(client: &Client, names: &[String], is_named: bool) -> Found {
    let mut found = Found { queues: Vec::with_capacity(names.len()), unread: 0, unknown: 0 };
    let mut unread = Vec::new();
    for (name, overview) in names.iter().zip(client.get_queue_overviews(names).await) {
        match overview {
            // A queue that was named and never opened is a typing error.
            Ok(overview) if is_named && overview.version.is_none() && overview.counts.total() == 0 => {
                eprintln!("there is no queue '{}'", say::clean(name));
                found.unknown += 1;
            }
            Ok(overview) => found.queues.push(overview),
            Err(error) => unread.push((name.as_str(), Failure::from(error).text)),
        }
    }
    tell_unread(&unread);
    found.unread = unread.len();
    found
}

/// Tells why queues could not be read: if all have the same reason, as when the server is away, once for all.
pub(super) fn tell_unread(unread: &[(&str, String)]) {
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, why) in unread {
        reasons.entry(why).or_default().push(name);
    }
    for (why, names) in reasons {
        let some = names.iter().take(NAMED).map(|name| say::clean(name)).collect::<Vec<_>>().join(", ");
        let others = names.len().saturating_sub(NAMED);
        let more = if others > 0 { format!(" and {} more", say::number(others as u64)) } else { String::new() };
        eprintln!("{some}{more}: {}", say::clean(why));
    }
}

/// How many queues are named that have the same problem.
const NAMED: usize = 5;

fn sort(queues: &mut [QueueOverview], by: Sort) {
    match by {
        Sort::Name => {}
        Sort::Waiting => queues.sort_by_key(|queue| Reverse(queue.waiting())),
        Sort::Failed => queues.sort_by_key(|queue| Reverse(queue.counts.failed)),
        Sort::Oldest => queues.sort_by_key(|queue| {
            (queue.oldest_waiting.is_none(), queue.oldest_waiting.as_ref().map(|oldest| oldest.added_at))
        }),
    }
}

fn all_were_read(found: &Found, all: usize) -> Outcome {
    match found.unread {
        0 if found.unknown > 0 => Err(Failure::new(NOT_FOUND, String::new())),
        0 => Ok(()),
        unread if unread == all => Err(Failure::new(ERROR, String::new())),
        unread => Err(Failure::new(IN_PART, format!("{unread} of {all} queues could not be read"))),
    }
}

/// Fails if there is no queue at all: what lists nothing then would look like an answer. If the user may not look for queues,
/// it is not known.
pub(super) async fn any(global: &Global, client: &Client) -> Outcome {
    let mut search = client.find_queues();
    loop {
        match search.next().await {
            Ok(Some(found)) if found.is_empty() => {}
            Ok(Some(_)) | Err(oxmq::Error::NotPermitted { .. }) => return Ok(()),
            Ok(None) => return Err(none(global)),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Returns all queues that exist, as far as the servers answer.
pub(super) async fn find(client: &Client) -> Result<Vec<String>, Failure> {
    let (mut search, mut names) = (client.find_queues(), Vec::new());
    while let Some(found) = search.next().await? {
        names.extend(found);
    }
    for (node, _) in search.missing() {
        eprintln!("{node} does not answer: queues that are only there are not listed");
    }
    names.sort_unstable();
    Ok(names)
}

fn row(queue: &QueueOverview, workers: Option<u64>) -> Vec<String> {
    let counts = &queue.counts;
    let span = |span: Option<std::time::Duration>| span.map_or_else(|| "-".to_owned(), say::span);
    vec![
        say::short(&queue.name, 40),
        say::number(queue.waiting()),
        say::number(counts.active),
        say::number(counts.delayed),
        say::number(counts.waiting_children),
        say::number(counts.failed),
        say::number(counts.completed),
        say::age(queue.oldest_waiting.as_ref().map(|oldest| oldest.added_at)),
        queue.completed.per_minute(5).map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}")),
        span(queue.times.wait_median),
        span(queue.times.run_median),
        workers.map_or_else(|| "?".to_owned(), say::number),
        (if queue.is_paused { "paused" } else { "" }).to_owned(),
    ]
}

pub(crate) fn to_json(queue: &QueueOverview, workers: Option<u64>) -> Value {
    let counts: Map<String, Value> =
        JobState::ALL.iter().map(|state| (state.as_str().to_owned(), json!(queue.counts.get(*state)))).collect();
    let ms = |span: Option<std::time::Duration>| span.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
    json!({
        "name": queue.name,
        "counts": counts,
        "paused": queue.is_paused,
        "oldestWaiting": queue.oldest_waiting.as_ref().map(|oldest| json!({
            "id": oldest.id, "timestamp": say::millis(oldest.added_at),
        })),
        "nextDue": queue.next_due.map(say::millis),
        "completed": { "total": queue.completed.total, "minutes": queue.completed.minutes },
        "failed": { "total": queue.failed.total, "minutes": queue.failed.minutes },
        "waitMs": ms(queue.times.wait_median),
        "runMs": ms(queue.times.run_median),
        "workers": workers,
        "concurrency": queue.global_concurrency,
        "version": queue.version,
    })
}
