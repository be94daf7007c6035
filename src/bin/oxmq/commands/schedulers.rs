//! `oxmq schedulers`

use futures::future::join_all;
use oxmq::queue::{JobScheduler, Order};
use oxmq::{Client, Queue};
use serde::de::IgnoredAny;
use serde_json::json;

use super::bulk::consent;
use super::queues;
use crate::args::{Global, Schedulers};
use crate::connect;
use crate::failure::{ERROR, Failure, IN_PART, Outcome};
use crate::say::{self, Column};

/// How many queues are asked at the same time.
const AT_ONCE: usize = 16;

pub(crate) async fn run(global: &Global, args: Schedulers) -> Outcome {
    let Some(name) = &args.queue else { return of_all_queues(global, args.limit).await };
    let (_client, queue) = connect::queue(global, name).await?;
    if let Some(id) = &args.remove {
        if queue.get_job_scheduler(id).await?.is_none() {
            return Err(Failure::no_such("scheduler", id));
        }
        if consent(global, &args.consent, &format!("the scheduler '{id}' of {name} would end")).await? {
            queue.remove_job_scheduler(id).await?;
            if global.json { say::json(&json!({ "removed": id })) } else { say::line("removed") }
        }
        return Ok(());
    }
    let (found, all) = first(&queue, args.limit).await?;
    if global.json {
        found.iter().for_each(|scheduler| show_json(name, scheduler));
        return Ok(());
    }
    if found.is_empty() {
        eprintln!("no job scheduler in '{}'", say::clean(name));
        return Ok(());
    }
    let rows: Vec<Vec<String>> = found.iter().map(row).collect();
    say::table(&HEAD, &rows);
    say_rest(rows.len(), all);
    Ok(())
}

/// Lists those of all queues that run next. A queue that cannot be read does not hide the others.
async fn of_all_queues(global: &Global, limit: u32) -> Outcome {
    let client = connect::client(global).await?;
    let names = queues::find(&client).await?;
    if names.is_empty() {
        return Err(queues::none(global));
    }
    let (mut found, mut all, mut unread) = (Vec::new(), 0, Vec::new());
    for (name, answer) in names.iter().zip(of_each(&client, &names, limit).await) {
        match answer {
            Ok((schedulers, count)) => {
                all += count;
                found.extend(schedulers.into_iter().map(|scheduler| (name.as_str(), scheduler)));
            }
            Err(error) => unread.push((name.as_str(), Failure::from(error).text)),
        }
    }
    found.sort_by_key(|(_, scheduler)| scheduler.next_run);
    found.truncate(limit as usize);
    if global.json {
        found.iter().for_each(|(name, scheduler)| show_json(name, scheduler));
    } else if !found.is_empty() {
        let head = [&[("QUEUE", Column::Left)], &HEAD[..]].concat();
        let of = |(name, scheduler): &(&str, JobScheduler)| [vec![say::short(name, 40)], row(scheduler)].concat();
        say::table(&head, &found.iter().map(of).collect::<Vec<_>>());
        say_rest(found.len(), all);
    } else if unread.is_empty() {
        eprintln!("no queue has a job scheduler");
    }
    queues::tell_unread(&unread);
    match unread.len() {
        0 => Ok(()),
        all if all == names.len() => Err(Failure::new(ERROR, String::new())),
        some => Err(Failure::new(IN_PART, format!("{some} of {} queues could not be read", names.len()))),
    }
}

/// Asks each of these queues, [`AT_ONCE`] at a time; the rest all together once the server is away, since each would wait for it
/// anew.
async fn of_each(client: &Client, names: &[String], limit: u32) -> Vec<oxmq::Result<(Vec<JobScheduler>, u64)>> {
    let (mut names, mut at_once, mut answers) = (names.iter(), AT_ONCE, Vec::new());
    loop {
        let asked: Vec<_> = names.by_ref().take(at_once).map(|name| of_one(client, name, limit)).collect();
        if asked.is_empty() {
            return answers;
        }
        answers.extend(join_all(asked).await);
        if matches!(answers.last(), Some(Err(error)) if error.is_retryable()) {
            at_once = usize::MAX;
        }
    }
}

async fn of_one(client: &Client, name: &str, limit: u32) -> oxmq::Result<(Vec<JobScheduler>, u64)> {
    first(&client.queue::<IgnoredAny, IgnoredAny>(name).open()?, limit).await
}

/// Returns the schedulers of a queue that run next, and how many there are.
async fn first<D, R>(queue: &Queue<D, R>, limit: u32) -> oxmq::Result<(Vec<JobScheduler>, u64)> {
    let end = i64::from(limit) - 1;
    tokio::try_join!(queue.get_job_schedulers(0, end, Order::Ascending), queue.get_job_schedulers_count())
}

fn show_json(queue: &str, scheduler: &JobScheduler) {
    let mut value = json!(scheduler);
    value["queue"] = json!(queue);
    say::json(&value);
}

fn say_rest(shown: usize, all: u64) {
    if all > shown as u64 {
        eprintln!("{shown} of {}", say::number(all));
    }
}

const HEAD: [(&str, Column); 5] = [
    ("ID", Column::Left),
    ("NAME", Column::Left),
    ("NEXT", Column::Right),
    ("RUNS", Column::Right),
    ("WHEN", Column::Left),
];

fn row(scheduler: &JobScheduler) -> Vec<String> {
    let when = match (&scheduler.pattern, scheduler.every) {
        (Some(pattern), _) => {
            let zone = scheduler.tz.as_ref().map(|tz| format!(" ({tz})")).unwrap_or_default();
            format!("{pattern}{zone}")
        }
        (None, Some(every)) => format!("every {}", say::span(every)),
        (None, None) => "-".to_owned(),
    };
    vec![
        say::short(&scheduler.id, 40),
        say::short(&scheduler.name, 30),
        say::ago(scheduler.next_run),
        scheduler.iteration_count.map_or_else(|| "-".to_owned(), say::number),
        say::short(&when, 60),
    ]
}
