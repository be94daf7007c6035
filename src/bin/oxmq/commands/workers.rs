//! `oxmq workers`

use std::collections::BTreeMap;
use std::time::Duration;

use oxmq::queue::ClientInfo;
use serde_json::{Map, Value, json};

use super::doctor::all_exist;
use super::queues;
use crate::args::{Global, Workers};
use crate::connect;
use crate::failure::Outcome;
use crate::say::{self, Column};

pub(crate) async fn run(global: &Global, args: Workers) -> Outcome {
    let client = connect::client(global).await?;
    let all: BTreeMap<_, _> = client.get_all_workers().await?.into_iter().collect();
    if let Some(name) = args.queue.as_ref().filter(|name| !all.contains_key(*name)) {
        all_exist(&client, std::slice::from_ref(name)).await?;
    }
    if all.is_empty() && args.queue.is_none() {
        queues::any(global, &client).await?;
    }
    let mut rows = Vec::new();
    for (queue, workers) in all {
        if args.queue.as_ref().is_some_and(|wanted| *wanted != queue) {
            continue;
        }
        for worker in workers {
            if global.json {
                let fields: Map<String, Value> =
                    worker.fields.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
                say::json(&json!({ "queue": queue, "client": fields }));
            } else {
                rows.push(row(&queue, &worker));
            }
        }
    }
    if global.json {
        return Ok(());
    }
    if rows.is_empty() {
        eprintln!("no worker is connected");
        return Ok(());
    }
    let head = [
        ("QUEUE", Column::Left),
        ("WORKER", Column::Left),
        ("ADDRESS", Column::Left),
        ("CONNECTED", Column::Right),
        ("IDLE", Column::Right),
        ("LIBRARY", Column::Left),
    ];
    say::table(&head, &rows);
    Ok(())
}

fn row(queue: &str, worker: &ClientInfo) -> Vec<String> {
    let field = |name: &str| worker.get(name).unwrap_or("-").to_owned();
    let seconds = |name: &str| {
        let seconds = worker.get(name).and_then(|seconds| seconds.parse().ok());
        seconds.map_or_else(|| "-".to_owned(), |seconds| say::span(Duration::from_secs(seconds)))
    };
    let name = worker.get("rawname").and_then(|name| name.split_once(":w:")).map_or("-", |(_, name)| name);
    let library = [worker.get("lib-name").unwrap_or(""), worker.get("lib-ver").unwrap_or("")].join(" ");
    vec![
        say::short(queue, 40),
        say::short(name, 40),
        field("addr"),
        seconds("age"),
        seconds("idle"),
        say::short(library.trim(), 40),
    ]
}
