//! `oxmq logs`

use oxmq::queue::Order;
use serde_json::json;

use crate::args::{Global, Logs};
use crate::connect;
use crate::failure::{Failure, Outcome};
use crate::say;

/// How many lines one call reads.
const PAGE: i64 = 1_000;

pub(crate) async fn run(global: &Global, args: Logs) -> Outcome {
    let (_client, queue) = connect::queue(global, &args.queue).await?;
    let job = queue.job(&args.id);
    let first = job.get_logs(0, 0, Order::Ascending).await?;
    if first.count == 0 && queue.get_job(&args.id).await?.is_none() {
        return Err(Failure::no_such("job", &args.id));
    }
    if first.count == 0 && !global.json {
        eprintln!("its log is empty");
    }
    let all = i64::try_from(first.count).unwrap_or(i64::MAX);
    let mut from = args.lines.map_or(0, |lines| (all - i64::from(lines)).max(0));
    while from < all {
        let page = job.get_logs(from, (from + PAGE).min(all) - 1, Order::Ascending).await?;
        for line in &page.logs {
            if global.json { say::json(&json!(line)) } else { say::line(say::clean(line)) }
        }
        from += PAGE;
    }
    Ok(())
}
