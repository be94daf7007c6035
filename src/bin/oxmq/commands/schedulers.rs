//! `oxmq schedulers`

use oxmq::queue::{JobScheduler, Order};
use serde_json::json;

use super::bulk::consent;
use crate::args::{Global, Schedulers};
use crate::connect;
use crate::failure::{Failure, Outcome};
use crate::say::{self, Column};

pub(crate) async fn run(global: &Global, args: Schedulers) -> Outcome {
    let (_client, queue) = connect::queue(global, &args.queue).await?;
    if let Some(id) = &args.remove {
        if queue.get_job_scheduler(id).await?.is_none() {
            return Err(Failure::no_such("scheduler", id));
        }
        if consent(global, &args.consent, &format!("the scheduler '{id}' of {} would end", args.queue)).await? {
            queue.remove_job_scheduler(id).await?;
            if global.json { say::json(&json!({ "removed": id })) } else { say::line("removed") }
        }
        return Ok(());
    }
    let end = i64::from(args.limit) - 1;
    let found = queue.get_job_schedulers(0, end, Order::Ascending).await?;
    if global.json {
        for scheduler in &found {
            say::json(scheduler);
        }
        return Ok(());
    }
    let head = [
        ("ID", Column::Left),
        ("NAME", Column::Left),
        ("NEXT", Column::Right),
        ("RUNS", Column::Right),
        ("WHEN", Column::Left),
    ];
    let rows: Vec<Vec<String>> = found.iter().map(row).collect();
    say::table(&head, &rows);
    let all = queue.get_job_schedulers_count().await?;
    if all > rows.len() as u64 {
        eprintln!("{} of {}", rows.len(), say::number(all));
    }
    Ok(())
}

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
